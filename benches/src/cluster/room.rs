//! A room with publishers on one server and subscribers on another.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{net::TcpStream, sync::Notify, task::JoinSet, time::timeout};

use crate::{
    client::Socket,
    rounds::{Plan, Side, percentile},
    serve::Note,
    server::Server,
};

/// How long an event is in JSON, with a number of one digit.
const BYTES: usize = 100;
/// How many numbers each publisher has for its events.
const NUMBERS: u64 = 1_000_000_000;
/// An event that has not arrived by then is missing.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one round has shown.
pub(super) struct Figures {
    /// Milliseconds until the last subscriber had an event, with one under way: half of them took less.
    pub(super) p50: f64,
    /// All but one in a hundred took less.
    pub(super) p99: f64,
    /// Deliveries per second, with many publishes under way.
    pub(super) rate: f64,
    /// Microseconds of all servers' CPU per delivery, meanwhile.
    pub(super) cpu: f64,
}

pub(super) struct Room {
    /// The publishers' server first, the subscribers' last.
    servers: Vec<Server>,
    publishers: Vec<Publisher>,
    subscribers: u64,
    reading: JoinSet<()>,
}

impl Room {
    pub(super) async fn open(
        name: &'static str,
        servers: Vec<Server>,
        side: Side,
        publishers: usize,
        subscribers: u64,
    ) -> Self {
        let progress: Arc<[Progress]> = (0..publishers).map(|_| Progress::default()).collect();
        let watch = match side {
            Side::Catamaran => r#"["get",{"url":"/watch"}]"#,
            Side::Twin => r#"["watch",{}]"#,
        };
        let mut reading = JoinSet::new();
        for _ in 0..subscribers {
            let mut socket = Socket::connect(servers[servers.len() - 1].address).await;
            socket.ask(1, watch, GREETING).await;
            reading.spawn(read(socket, progress.clone(), subscribers));
        }
        let publisher = |index| Publisher { name, side, index, published: 0, progress: progress.clone() };
        let publishers = (0..publishers).map(publisher).collect();
        Self { servers, publishers, subscribers, reading }
    }

    pub(super) async fn measure(&mut self, plan: Plan) -> Figures {
        // New ones each time, since nobody answers pings for them while it is the turn of others.
        let connect = |_: &Publisher| Socket::connect(self.servers[0].address);
        let mut sockets = join_all(self.publishers.iter().map(connect)).await;
        let latencies = self.publishers[0].publish(&mut sockets[0], plan.time).await;

        let (cpu, start) = (self.cpu(), Instant::now());
        let publishing = self.publishers.iter_mut().zip(&mut sockets);
        let publishing = publishing.map(|(publisher, socket)| publisher.publish(socket, plan.time));
        let published: usize = join_all(publishing).await.iter().map(Vec::len).sum();
        let deliveries = (published as u64 * self.subscribers) as f64;
        Figures {
            p50: percentile(latencies.clone(), 50) * 1e3,
            p99: percentile(latencies, 99) * 1e3,
            rate: deliveries / start.elapsed().as_secs_f64(),
            cpu: (self.cpu() - cpu).as_secs_f64() * 1e6 / deliveries,
        }
    }

    fn cpu(&self) -> Duration {
        self.servers.iter().map(Server::cpu).sum()
    }

    /// Ends the subscribers before their server, since they take its end for a failure.
    pub(super) async fn close(mut self) {
        self.reading.shutdown().await;
    }
}

struct Publisher {
    name: &'static str,
    side: Side,
    index: usize,
    published: u64,
    progress: Arc<[Progress]>,
}

impl Publisher {
    /// Publishes event after event, each when all subscribers have the one before; gives how many seconds each took.
    async fn publish(&mut self, socket: &mut Socket<TcpStream>, time: Duration) -> Vec<f64> {
        let (start, mut latencies) = (Instant::now(), Vec::new());
        while start.elapsed() < time {
            let note = Note { id: id(self.index, self.published), ..Note::of(BYTES) }.json();
            let event = match self.side {
                Side::Catamaran => format!(r#"["post",{{"data":{note},"url":"/publish"}}]"#),
                Side::Twin => format!(r#"["publish",{{"data":{note}}}]"#),
            };
            let sent = Instant::now();
            socket.ask(1, &event, GREETING).await;
            self.published += 1;
            let progress = &self.progress[self.index];
            timeout(PATIENCE, progress.complete.notified()).await.unwrap_or_else(|_| {
                panic!("event {} of publisher {} is missing: {}", self.published, self.index, self.name)
            });
            latencies.push((*progress.last.lock().expect("no panic") - sent).as_secs_f64());
        }
        latencies
    }
}

/// How far the events of one publisher have come, of which one is under way at a time.
struct Progress {
    deliveries: AtomicU64,
    /// When the last subscriber had the last event.
    last: Mutex<Instant>,
    complete: Notify,
}

impl Default for Progress {
    fn default() -> Self {
        Self { deliveries: AtomicU64::new(0), last: Mutex::new(Instant::now()), complete: Notify::new() }
    }
}

impl Progress {
    fn delivered(&self, subscribers: u64) {
        let now = Instant::now();
        if (self.deliveries.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(subscribers) {
            *self.last.lock().expect("no panic") = now;
            self.complete.notify_one();
        }
    }
}

const GREETING: &str = r#"[{"body":{"message":"hello"},"headers":{},"statusCode":200}]"#;

/// The number of a publisher's event, which tells both.
fn id(publisher: usize, number: u64) -> u64 {
    publisher as u64 * NUMBERS + number
}

/// Reads what one subscriber receives, and checks that of no publisher's events one is missing or out of order.
async fn read(mut socket: Socket<TcpStream>, progress: Arc<[Progress]>, subscribers: u64) {
    let note = Note::of(BYTES).json();
    let expected = note.strip_prefix(r#"{"id":0"#).expect("the number comes first");
    let mut received = vec![0; progress.len()];
    loop {
        let packet = socket.next().await;
        let event = packet.strip_prefix(r#"42["said",{"id":"#).and_then(|event| event.strip_suffix(']'));
        let (number, rest) = event.and_then(|event| event.split_at_checked(event.find(',')?)).expect("a note");
        let number: u64 = number.parse().expect("a number");
        let publisher = (number / NUMBERS) as usize;
        assert_eq!((number, rest), (id(publisher, received[publisher]), expected), "the next of this publisher");
        received[publisher] += 1;
        progress[publisher].delivered(subscribers);
    }
}
