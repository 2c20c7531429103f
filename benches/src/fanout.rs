//! Publishing to a channel, and emitting to a room.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::{net::TcpStream, sync::Notify, task::JoinSet};

use crate::{
    client::Socket,
    rounds::{Plan, Rounds, Side},
    serve::Note,
    server::Server,
};

/// How many events are on their way at once; a send buffer holds far more.
const BATCH: u64 = 8;

pub(crate) async fn run(plan: Plan) {
    for (subscribers, bytes) in [(100, 60), (100, 1024), (1_000, 60), (1_000, 1024)] {
        let mut ours = Audience::gather("catamaran", Side::Catamaran, subscribers, bytes).await;
        let mut twin = Audience::gather("socketioxide", Side::Twin, subscribers, bytes).await;
        let (mut our_rate, mut twin_rate) = (Vec::new(), Vec::new());
        let rounds = Rounds::measure(plan, async |side| {
            let (audience, rates) = match side {
                Side::Catamaran => (&mut ours, &mut our_rate),
                Side::Twin => (&mut twin, &mut twin_rate),
            };
            let (cpu, rate) = audience.publish(plan).await;
            rates.push(rate);
            cpu
        });
        let what = format!("{subscribers} subscribers, {bytes} B");
        rounds.await.print_ratio(&format!("{what}, per delivery"), "µs");
        let rates = Rounds::of(our_rate, twin_rate);
        rates.print_ratio(&format!("{what}, deliveries/s"), "  ");
        // The subscribers first, since they take the end of their server for a failure.
        ours.reading.shutdown().await;
        twin.reading.shutdown().await;
    }
}

/// A server, its subscribers and a publisher.
struct Audience {
    server: Server,
    publisher: Socket<TcpStream>,
    side: Side,
    subscribers: u64,
    /// How long an event is.
    bytes: usize,
    published: u64,
    deliveries: Arc<Deliveries>,
    reading: JoinSet<()>,
}

#[derive(Default)]
struct Deliveries {
    count: AtomicU64,
    batch: Notify,
}

impl Audience {
    async fn gather(role: &str, side: Side, subscribers: u64, bytes: usize) -> Self {
        let server = Server::start(role);
        let deliveries = Arc::new(Deliveries::default());
        let mut reading = JoinSet::new();
        let watch = match side {
            Side::Catamaran => r#"["get",{"url":"/watch"}]"#,
            Side::Twin => r#"["watch",{}]"#,
        };
        for _ in 0..subscribers {
            let mut socket = Socket::connect(server.address).await;
            socket.ask(1, watch, GREETING).await;
            reading.spawn(read(socket, bytes, deliveries.clone(), subscribers * BATCH));
        }
        let publisher = Socket::connect(server.address).await;
        Self { server, publisher, side, subscribers, bytes, published: 0, deliveries, reading }
    }

    /// Publishes batch after batch, each when all of the one before was received; gives the server's microseconds of CPU
    /// per delivery, and deliveries per second.
    async fn publish(&mut self, plan: Plan) -> (f64, f64) {
        let (before, start, first) = (self.server.cpu(), Instant::now(), self.published);
        while start.elapsed() < plan.time {
            for _ in 0..BATCH {
                let note = note(self.published, self.bytes).json();
                let event = match self.side {
                    Side::Catamaran => format!(r#"["post",{{"data":{note},"url":"/publish"}}]"#),
                    Side::Twin => format!(r#"["publish",{{"data":{note},"url":"/publish"}}]"#),
                };
                self.publisher.ask(1, &event, GREETING).await;
                self.published += 1;
            }
            while self.deliveries.count.load(Ordering::SeqCst) < self.published * self.subscribers {
                tokio::select! {
                    () = self.deliveries.batch.notified() => {}
                    Some(ended) = self.reading.join_next() => panic!("a subscriber ended: {ended:?}"),
                }
            }
        }
        let delivered = ((self.published - first) * self.subscribers) as f64;
        let cpu = (self.server.cpu() - before).as_secs_f64() * 1e6 / delivered;
        (cpu, delivered / start.elapsed().as_secs_f64())
    }
}

pub(crate) const GREETING: &str = r#"[{"body":{"message":"hello"},"headers":{},"statusCode":200}]"#;

/// What the event of this number carries: a few digits more than these bytes of JSON.
pub(crate) fn note(number: u64, bytes: usize) -> Note {
    Note { id: number, ..Note::of(bytes) }
}

/// Counts what one subscriber receives, and checks that nothing is missing and nothing out of order.
async fn read(mut socket: Socket<TcpStream>, bytes: usize, deliveries: Arc<Deliveries>, batch: u64) {
    for number in 0.. {
        let expected = format!(r#"42["said",{}]"#, note(number, bytes).json());
        assert_eq!(socket.next().await, expected);
        if (deliveries.count.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(batch) {
            deliveries.batch.notify_one();
        }
    }
}
