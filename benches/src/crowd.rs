//! What others hear of a crowd's slow sockets: how late an event reaches those that read, with a fifth that does not and
//! without it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::interval,
};

use crate::{
    client::{Http, Socket, affordable},
    fanout::{GREETING, note},
    rounds::{Plan, Rounds, Side},
    server::Server,
};

/// How long an event is, and how many a round has. Together they are more than the kernel and the server's 256 KiB hold
/// for a socket, so that in each round all slow ones are cut off.
const BYTES: usize = 4096;
const EVENTS: u64 = 160;
/// How many connect at once.
const AT_ONCE: usize = 64;
const WATCH: &str = r#"["get",{"url":"/watch"}]"#;

pub(crate) async fn run(plan: Plan) {
    let wanted = if plan.smoke { 20 } else { 2_000 };
    let sockets = affordable(wanted, 1);
    let slow = sockets / 5;
    let readers = sockets - slow;
    let plan = Plan { rounds: plan.rounds.min(7), ..plan };
    let mut crowd = Crowd::gather(readers).await;
    // What the first events make room for, the later ones find.
    crowd.round(0).await;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let medians = Rounds::measure(plan, async |side| {
        let (slow, p99s) = match side {
            Side::Catamaran => (slow, &mut with),
            Side::Twin => (0, &mut without),
        };
        let mut delays = crowd.round(slow).await;
        delays.sort_by(f64::total_cmp);
        p99s.push(delays[delays.len() * 99 / 100]);
        delays[delays.len() / 2]
    });
    medians.await.print_ratio_to("without", &format!("{readers} beside {slow} slow, median"), "ms");
    Rounds::of(with, without).print_ratio_to("without", &format!("{readers} beside {slow} slow, p99"), "ms");
    // The readers first, since they take the end of their server for a failure.
    crowd.reading.shutdown().await;
}

/// A server, its readers and a publisher.
struct Crowd {
    server: Server,
    publisher: Socket<TcpStream>,
    readers: usize,
    published: u64,
    deliveries: Arc<Deliveries>,
    reading: JoinSet<()>,
}

/// The deliveries of the event that is on its way.
struct Deliveries {
    /// When it was about to be published, and how many milliseconds later it reached each so far.
    event: Mutex<(Instant, Vec<f64>)>,
    all: Notify,
}

impl Crowd {
    async fn gather(readers: usize) -> Self {
        let server = Server::start("crowd");
        let deliveries = Arc::new(Deliveries { event: Mutex::new((Instant::now(), Vec::new())), all: Notify::new() });
        let mut reading = JoinSet::new();
        for _ in 0..readers {
            let mut socket = Socket::connect(server.address).await;
            socket.ask(1, WATCH, GREETING).await;
            reading.spawn(read(socket, deliveries.clone(), readers));
        }
        let publisher = Socket::connect(server.address).await;
        Self { server, publisher, readers, published: 0, deliveries, reading }
    }

    /// Publishes one event after the other, each when all readers have the one before; gives the milliseconds that each
    /// delivery took.
    async fn round(&mut self, slow: usize) -> Vec<f64> {
        let server = &self.server;
        let joining = stream::iter(0..slow).map(|number| join(server, number)).buffer_unordered(AT_ONCE);
        let slow: Vec<_> = joining.collect().await;
        self.expect_present(self.readers + slow.len()).await;
        let mut delays = Vec::new();
        for _ in 0..EVENTS {
            delays.append(&mut self.publish().await);
        }
        self.expect_present(self.readers).await;
        delays
    }

    async fn publish(&mut self) -> Vec<f64> {
        let note = note(self.published, BYTES).json();
        self.deliveries.lock().0 = Instant::now();
        self.publisher.ask(1, &format!(r#"["post",{{"data":{note},"url":"/publish"}}]"#), GREETING).await;
        self.published += 1;
        tokio::select! {
            () = self.deliveries.all.notified() => {}
            Some(ended) = self.reading.join_next() => panic!("a reader ended: {ended:?}"),
        }
        std::mem::take(&mut self.deliveries.lock().1)
    }

    async fn expect_present(&mut self, sockets: usize) {
        let ack = self.publisher.request(r#"["get",{"url":"/present"}]"#).await;
        assert!(ack.starts_with(&format!(r#"[{{"body":{sockets},"#)), "{sockets} sockets, not {ack}");
    }
}

impl Deliveries {
    fn lock(&self) -> MutexGuard<'_, (Instant, Vec<f64>)> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Times what one reader receives, and checks that nothing is missing and nothing out of order.
async fn read(mut socket: Socket<TcpStream>, deliveries: Arc<Deliveries>, readers: usize) {
    for number in 0.. {
        let event = socket.next().await;
        let mut delivered = deliveries.lock();
        let delay = delivered.0.elapsed().as_secs_f64() * 1e3;
        delivered.1.push(delay);
        if delivered.1.len() == readers {
            deliveries.all.notify_one();
        }
        drop(delivered);
        assert_eq!(event, format!(r#"42["said",{}]"#, note(number, BYTES).json()));
    }
}

/// A slow socket, for as long as the value lives. Each fourth reads nothing, reads 1,000 bytes a second, polls no more, or
/// reads nothing after it began by long-polling. A frozen one is one that reads nothing, until the heartbeat finds it.
async fn join(server: &Server, number: usize) -> (Option<TcpStream>, JoinSet<()>) {
    let mut reading = JoinSet::new();
    let stuck = match number % 4 {
        0 => Some(subscribe(server).await),
        1 => {
            reading.spawn(drip(subscribe(server).await));
            None
        }
        2 => {
            poll(server).await;
            None
        }
        _ => Some(Socket::upgrade(narrow(server).await, &poll(server).await).await.into_stream()),
    };
    (stuck, reading)
}

async fn subscribe(server: &Server) -> TcpStream {
    let mut socket = Socket::over(narrow(server).await).await;
    socket.ask(1, WATCH, GREETING).await;
    socket.into_stream()
}

async fn drip(mut stream: TcpStream) {
    let (mut pace, mut bytes) = (interval(Duration::from_millis(100)), [0; 100]);
    while let Ok(1..) = stream.read(&mut bytes).await {
        pace.tick().await;
    }
}

/// Subscribes over long-polling; gives the part of the query that says who it is.
async fn poll(server: &Server) -> String {
    let mut http = Http::connect(server.address).await;
    let opened = http.poll("GET", "", "").await;
    let session = format!("&sid={}", opened.split('"').nth(3).expect("an id"));
    http.poll("POST", &session, "40").await;
    assert!(packet(&mut http, &session).await.starts_with("40"), "the namespace opens");
    http.poll("POST", &session, &format!("420{WATCH}")).await;
    assert_eq!(packet(&mut http, &session).await, format!("430{GREETING}"));
    session
}

/// The next packet that is no ping.
async fn packet(http: &mut Http, session: &str) -> String {
    loop {
        let packets = http.poll("GET", session, "").await;
        if packets.split('\u{1e}').any(|packet| packet == "2") {
            http.poll("POST", session, "3").await;
        }
        if let Some(packet) = packets.split('\u{1e}').find(|packet| *packet != "2") {
            return packet.to_owned();
        }
    }
}

/// A connection for which the kernel takes little that is not read.
async fn narrow(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(server.address).await.expect("a connection")
}
