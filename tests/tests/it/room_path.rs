//! Many sockets in one channel, which are sent most events together: order, ends and slow consumers are those of sockets that are sent
//! each event alone.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use catamaran::{Hub, prelude::*};
use serde::Serialize;
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Packet, Server, get, post, within};

#[channel("feed:{id}", event = FeedEvent, history = 100_000)]
struct Feed {
    id: u64,
}

#[derive(Event, Serialize)]
enum FeedEvent {
    Line { number: u64 },
    Said { number: u64 },
}

#[derive(Clone, Default)]
struct Lab {
    hub: Arc<OnceLock<Hub>>,
    said: Arc<AtomicU64>,
}

#[controller("/feeds/{id}")]
mod actions {
    use axum::extract::State;

    use super::*;

    #[action(get "/")]
    pub(crate) async fn watch(ctx: Ctx<Socket>, hub: Hub, State(lab): State<Lab>, id: u64) -> catamaran::Result {
        let _ = lab.hub.set(hub);
        ctx.subscribe(&Feed { id }).await?;
        Ok(())
    }

    #[action(delete "/")]
    pub(crate) async fn leave(ctx: Ctx<Socket>, id: u64) {
        ctx.socket().unsubscribe(&Feed { id }).await;
    }

    /// Answers with the number of what it published.
    #[action(post "/")]
    pub(crate) async fn say(ctx: Ctx, State(lab): State<Lab>, id: u64) -> catamaran::Result<String> {
        let number = lab.said.fetch_add(1, SeqCst);
        ctx.publish(&Feed { id }, FeedEvent::Said { number }).await?;
        Ok(number.to_string())
    }
}

async fn start() -> (Lab, Server) {
    let lab = Lab::default();
    let app = App::new(lab.clone()).mount(routes![actions]).max_backlog_bytes(256 * 1024);
    // Some clients of these tests read nothing for a while, pings neither.
    let app = app.max_messages_per_second(1_000_000).heartbeat(Duration::from_secs(60), Duration::from_secs(60));
    let server = Server::start(app).await;
    (lab, server)
}

/// A client of either kind, subscribed.
async fn member(server: &Server, n: usize) -> Client {
    let mut client = if n.is_multiple_of(2) {
        Client::connect(server).await
    } else {
        Client::resuming(server, &format!("member-{n}-0123456789abcdef01234567")).await
    };
    assert_eq!(client.ask(&get("/feeds/1")).await.status, 200);
    client
}

/// The number that an event carries; none for what else a channel says.
fn number(packet: &Packet) -> Option<u64> {
    let Packet::Event(event) = packet else { panic!("expected an event, got {packet:.200?}") };
    let event: Value = serde_json::from_str(event).expect("JSON");
    event.as_array().and_then(|event| event.last())?.get("number")?.as_u64()
}

/// Publishes numbered lines, and is never far ahead of those who read all of them.
struct Publisher {
    begun: AtomicU64,
    done: AtomicU64,
    readers: Vec<watch::Receiver<u64>>,
}

impl Publisher {
    const AHEAD: u64 = 50;

    async fn publish(&mut self, hub: &Hub, outsider: &str) {
        let number = self.begun.fetch_add(1, SeqCst);
        let (feed, line) = (Feed { id: 1 }, FeedEvent::Line { number });
        // Some go to the members alone, for different reasons.
        match number % 7 {
            2 => hub.publish(&feed, line).except(&hub.socket(outsider).expect("connected")).await.expect("JSON"),
            5 => hub.publish(&feed, line).and(&Feed { id: 2 }).await.expect("JSON"),
            _ => hub.publish(&feed, line).await.expect("JSON"),
        };
        self.done.store(number + 1, SeqCst);
        for reader in &mut self.readers {
            let near = reader.wait_for(|read| number < read + Self::AHEAD);
            within("the readers", near).await.expect("a reader that is not disconnected");
        }
    }
}

/// Reads the lines that follow, without a hole, and says how far it is.
async fn read_on(mut client: Client, read: watch::Sender<u64>) {
    loop {
        let packet = client.next().await;
        if let Some(number) = number(&packet) {
            assert_eq!(number, *read.borrow(), "lost, doubled or out of order");
            read.send_replace(number + 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_that_come_and_go_miss_nothing_between_their_acks() {
    const STEADY: usize = 6;
    const FICKLE: usize = 6;
    const VISITS: usize = 20;
    let (lab, server) = start().await;
    let _outsider = Client::connect(&server).await;
    let outsider_id = server.io.sockets()[0].id.to_string();
    let mut tasks = JoinSet::new();
    let mut readers = Vec::new();
    for n in 0..STEADY {
        let (read, reader) = watch::channel(0);
        readers.push(reader);
        let client = member(&server, n).await;
        tasks.spawn(read_on(client, read));
    }
    let (begun, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut visitors = JoinSet::new();
    for n in 0..FICKLE {
        let (begun, done) = (begun.clone(), done.clone());
        let mut client = member(&server, STEADY + n).await;
        let leave = crate::support::Ask::new("delete", "/feeds/1");
        visitors.spawn(async move {
            assert_eq!(client.ask(&leave).await.status, 200);
            let mut random = fastrand::Rng::with_seed(n as u64);
            for _ in 0..VISITS {
                // What came before the last ack is read, and nothing may come after it.
                let before = done.load(SeqCst);
                let id = client.start(&get("/feeds/1")).await;
                let first = client.receive().await;
                let Packet::Ack(acked, answer) = first else { panic!("an event before the ack: {first:?}") };
                assert_eq!((acked, answer.status), (id, 200));
                let after = begun.load(SeqCst);
                let mut next = None;
                let mut leaving = None;
                let mut left = random.u64(0..30);
                loop {
                    if left == 0 && leaving.is_none() {
                        leaving = Some(client.start(&leave).await);
                    }
                    match client.receive().await {
                        Packet::Ack(id, answer) => {
                            assert_eq!((Some(id), answer.status), (leaving, 200));
                            break;
                        }
                        packet => {
                            let Some(number) = number(&packet) else { continue };
                            match next {
                                None => assert!((before..=after).contains(&number), "{before} {number} {after}"),
                                Some(next) => assert_eq!(number, next, "lost, doubled or out of order"),
                            }
                            next = Some(number + 1);
                            left = left.saturating_sub(1);
                        }
                    }
                }
            }
        });
    }
    let mut publisher = Publisher { begun: AtomicU64::new(0), done: AtomicU64::new(0), readers };
    let hub = lab.hub.get().expect("somebody subscribed").clone();
    while !visitors.is_empty() {
        begun.store(publisher.begun.load(SeqCst) + 1, SeqCst);
        publisher.publish(&hub, &outsider_id).await;
        done.store(publisher.done.load(SeqCst), SeqCst);
        while let Some(visited) = visitors.try_join_next() {
            visited.expect("a visitor that misses nothing");
        }
        assert!(tasks.try_join_next().is_none(), "a reader ended");
    }
    let all = publisher.done.load(SeqCst);
    for reader in &mut publisher.readers {
        within("the last line", reader.wait_for(|read| *read == all)).await.expect("a reader");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_come_in_one_order_and_before_the_acks_of_their_requests() {
    const MEMBERS: usize = 6;
    const REQUESTS: usize = 100;
    let (_lab, server) = start().await;
    let mut clients = Vec::new();
    for n in 0..MEMBERS {
        clients.push(member(&server, n).await);
    }
    let mut members = JoinSet::new();
    for mut client in clients {
        members.spawn(async move {
            for _ in 0..REQUESTS {
                client.buffer(&post("/feeds/1", "null")).await;
            }
            client.flush().await;
            let (mut heard, mut acks) = (Vec::new(), 0);
            while heard.len() < MEMBERS * REQUESTS || acks < REQUESTS {
                match client.receive().await {
                    Packet::Ack(_, answer) => {
                        assert_eq!(answer.status, 200);
                        let own: u64 = answer.json().as_str().expect("text").parse().expect("a number");
                        assert!(heard.contains(&own), "the ack came before the event of its request");
                        acks += 1;
                    }
                    packet => heard.extend(number(&packet)),
                }
            }
            heard
        });
    }
    let mut orders = Vec::new();
    while let Some(heard) = members.join_next().await {
        orders.push(heard.expect("a member that misses nothing"));
    }
    assert!(orders.iter().all(|heard| *heard == orders[0]), "two members heard another order");
    let mut sorted = orders[0].clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..(MEMBERS * REQUESTS) as u64), "lost or doubled");
}

/// The packets that answer such a client are queued unasked, so nobody counts them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn flood_of_answers_nobody_reads_harms_its_client_alone() {
    const PACKETS: usize = 100_000;
    let (lab, server) = start().await;
    let _outsider = Client::connect(&server).await;
    let outsider = server.io.sockets()[0].id.to_string();
    let mut tasks = JoinSet::new();
    let mut readers = Vec::new();
    for n in 0..6 {
        let (read, reader) = watch::channel(0);
        readers.push(reader);
        let client = member(&server, n).await;
        tasks.spawn(read_on(client, read));
    }
    let mut hostile = member(&server, 6).await;
    let mut publisher = Publisher { begun: AtomicU64::new(0), done: AtomicU64::new(0), readers };
    let hub = lab.hub.get().expect("somebody subscribed").clone();
    for _ in 0..PACKETS / 500 {
        let flood = async {
            for _ in 0..500 {
                if !hostile.try_send(Message::text("40/nowhere,")).await {
                    return;
                }
            }
        };
        // A connection that is full takes no more, and the others go on.
        let _ = timeout(Duration::from_millis(5), flood).await;
        publisher.publish(&hub, &outsider).await;
        assert!(tasks.try_join_next().is_none(), "a reader ended");
    }
    let all = publisher.done.load(SeqCst);
    for reader in &mut publisher.readers {
        within("the last line", reader.wait_for(|read| *read == all)).await.expect("a reader");
    }
    // It is served or disconnected, and has missed nothing before that.
    let mut next = 0;
    while next < all {
        match hostile.receive().await {
            Packet::Closed => break,
            Packet::Other(answer) => assert!(answer.starts_with("44/nowhere,"), "{answer}"),
            packet => {
                if let Some(number) = number(&packet) {
                    assert_eq!(number, next, "lost, doubled or out of order");
                    next += 1;
                }
            }
        }
    }
}
