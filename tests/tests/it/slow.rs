//! Sockets that read slowly, or not at all: they are served or cut off, and nobody else notices.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use catamaran::{Hub, prelude::*};
use serde::Serialize;
use serde_json::{Value, json};
use socketioxide::TransportType;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{interval, timeout},
};

#[cfg(target_os = "linux")]
use crate::leak::memory;
use crate::{
    readers::{Poller, number, slow_line, subscribe},
    support::{Client, Eio, Packet, Server, count, get, until, within},
};

/// How many bytes may wait for a socket in these tests.
const LIMIT: usize = 256 * 1024;
/// The name of our own client.
const ADA: &str = "ada-0123456789abcdef0123456789";
/// A heartbeat for tests of what it ends.
const BEAT: Duration = Duration::from_secs(1);

#[channel("news", event = NewsEvent, history = 100_000)]
struct News;

#[derive(Event, Serialize)]
enum NewsEvent {
    Line { number: u64, text: String },
}

#[derive(Clone, Default)]
struct Lab {
    hub: Arc<OnceLock<Hub>>,
    answers: Arc<AtomicUsize>,
}

#[controller("/")]
mod actions {
    use axum::extract::State;

    use super::*;

    #[action(get "/news")]
    pub(crate) async fn news(ctx: Ctx<Socket>, hub: Hub, State(lab): State<Lab>) -> catamaran::Result {
        let _ = lab.hub.set(hub);
        ctx.subscribe(&News).await?;
        Ok(())
    }

    #[action(get "/answer/{bytes}")]
    pub(crate) async fn answer(State(lab): State<Lab>, bytes: usize) -> String {
        lab.answers.fetch_add(1, Ordering::SeqCst);
        "x".repeat(bytes)
    }
}

fn application(lab: &Lab) -> App<Lab> {
    let app = App::new(lab.clone()).mount(routes![actions]).max_backlog_bytes(LIMIT);
    app.transports([TransportType::Websocket, TransportType::Polling])
}

/// A server, and three subscribers that read all the time and miss nothing.
struct Stage {
    server: Server,
    lab: Lab,
    published: u64,
    readers: Vec<watch::Receiver<u64>>,
    _reading: JoinSet<()>,
}

impl Stage {
    async fn new() -> Self {
        Self::of(|app| app).await
    }

    async fn of(set_up: impl FnOnce(App<Lab>) -> App<Lab>) -> Self {
        let lab = Lab::default();
        let server = Server::start(set_up(application(&lab))).await;
        let (mut readers, mut reading) = (Vec::new(), JoinSet::new());
        for _ in 0..3 {
            let mut client = Client::connect(&server).await;
            subscribe(&mut client).await;
            let (count, reader) = watch::channel(0);
            readers.push(reader);
            reading.spawn(async move {
                loop {
                    assert_eq!(number(&client.next().await), *count.borrow());
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Self { server, lab, published: 0, readers, _reading: reading }
    }

    fn hub(&self) -> &Hub {
        self.lab.hub.get().expect("somebody subscribed")
    }

    /// Publishes an event of about this size, and waits until all readers have it.
    async fn publish(&mut self, bytes: usize) {
        publish(self.hub(), self.published, bytes).await;
        self.published += 1;
        for reader in &mut self.readers {
            let read = within("the readers", reader.wait_for(|count| *count == self.published)).await;
            read.expect("a reader that is not cut off");
        }
    }

    /// Publishes until a socket more is cut off because it reads too slowly; returns how many bytes that took.
    async fn flood(&mut self) -> usize {
        let (before, first) = (self.hub().slow_sockets(), self.published);
        while self.hub().slow_sockets() == before {
            assert!(self.published - first < 10_000, "nobody is cut off");
            self.publish(4096).await;
        }
        assert_eq!(self.hub().slow_sockets(), before + 1);
        (self.published - first) as usize * 4096
    }

    /// Waits until nobody but the readers is left, anywhere; no longer than is promised of this heartbeat.
    async fn is_left_alone_within(&mut self, beat: Duration) {
        let left = until("the slow socket to be gone", || {
            self.server.io.sockets().len() == 3 && count(self.hub(), &News) == 3
        });
        timeout(2 * beat + Duration::from_secs(5), left).await.expect("gone in time");
        self.publish(10).await;
    }
}

async fn publish(hub: &Hub, number: u64, bytes: usize) {
    hub.publish(&News, NewsEvent::Line { number, text: "x".repeat(bytes) }).await.expect("JSON");
}

/// Reads events in order to the end of the connection, and returns how many there were.
async fn read_to_the_end(client: &mut Client) -> u64 {
    let mut expected = 0;
    loop {
        match client.next().await {
            Packet::Closed => return expected,
            packet => assert_eq!(number(&packet), expected),
        }
        expected += 1;
    }
}

/// Comes back as our own client does, after so many events; returns what the ack says, and the numbers that follow it.
async fn resume(stage: &Stage, epoch: &Value, received: u64) -> (String, Vec<u64>) {
    let mut client = Client::resuming(&stage.server, ADA).await;
    let answer = client.resume("/news", &json!({"news": [epoch, received]}).to_string()).await;
    let outcome =
        answer.channels["news"][2].as_str().unwrap_or_else(|| panic!("expected an outcome, got {answer:?}")).to_owned();
    let mut numbers = Vec::new();
    let mut more = outcome == "recovered";
    while more {
        let Packet::Event(replay) = client.next().await else { panic!("expected a replay") };
        let replay: Value = serde_json::from_str(&replay).expect("JSON");
        assert_eq!(replay[0], "$replay");
        numbers.extend(replay[2].as_array().expect("entries").iter().map(|entry| entry[2]["number"].as_u64().unwrap()));
        more = replay[3] == true;
    }
    (outcome, numbers)
}

/// It is cut off when too many bytes wait, and learns the truth when it comes back.
#[tokio::test]
async fn a_socket_that_never_reads_is_cut_off() {
    let mut stage = Stage::new().await;
    let mut stuck = Client::resuming(&stage.server, ADA).await;
    let epoch = subscribe(&mut stuck).await.channels["news"][0].clone();
    let bytes = stage.flood().await;
    // What the kernel takes for it is bounded too.
    assert!((LIMIT..LIMIT + 8 * 1024 * 1024).contains(&bytes), "{bytes}");
    stage.is_left_alone_within(BEAT).await;

    let received = read_to_the_end(&mut stuck).await;
    assert!(received < stage.published);
    let (outcome, numbers) = resume(&stage, &epoch, received).await;
    if stage.published as usize * 4200 < 1024 * 1024 {
        assert_eq!(outcome, "recovered");
    }
    if outcome == "recovered" {
        assert_eq!(numbers, (received..stage.published).collect::<Vec<_>>());
    }

    // After more than is kept, there is a gap, and no silence.
    for _ in 0..8 {
        stage.publish(200 * 1024).await;
    }
    assert_eq!(resume(&stage, &epoch, received).await.0, "gap");
}

/// It is served, as long as little enough waits for it; then it is cut off.
#[tokio::test]
async fn a_socket_that_reads_slowly_is_served_until_too_much_waits() {
    let mut stage = Stage::new().await;
    let (address, _line) = slow_line(stage.server.address).await;
    let mut slow = Client::returning_at(address, ADA, "{}").await;
    let epoch = subscribe(&mut slow).await.channels["news"][0].clone();
    for _ in 0..20 {
        stage.publish(50).await;
    }
    for expected in 0..20 {
        assert_eq!(number(&slow.next().await), expected);
    }
    assert_eq!(slow.ask(&get("/answer/1")).await.status, 200);

    stage.flood().await;
    stage.is_left_alone_within(BEAT).await;
    let mut received = 20;
    while let Packet::Event(event) = slow.next().await {
        assert_eq!(number(&Packet::Event(event)), received);
        received += 1;
    }
    let (outcome, numbers) = resume(&stage, &epoch, received).await;
    assert_eq!((&*outcome, numbers), ("recovered", (received..stage.published).collect()));
}

/// Its connection stays open and nothing comes back, as when its process is stopped. The heartbeat finds it.
#[tokio::test]
async fn a_frozen_socket_is_gone_in_time() {
    let mut stage = Stage::of(|app| app.heartbeat(BEAT, BEAT)).await;
    for events in [0, 3] {
        let mut frozen = Client::connect(&stage.server).await;
        subscribe(&mut frozen).await;
        for _ in 0..events {
            stage.publish(100).await;
        }
        stage.is_left_alone_within(BEAT).await;
    }
    assert_eq!(stage.hub().slow_sockets(), 0);
}

/// It answers pings and reads nothing, and what waits for it is not too much: its connection makes no progress.
#[tokio::test]
async fn a_socket_that_answers_pings_and_never_reads_is_gone_in_time() {
    let mut stage = Stage::of(|app| app.heartbeat(BEAT, BEAT).max_backlog_bytes(1024 * 1024 * 1024)).await;
    let mut stuck = Client::connect(&stage.server).await;
    subscribe(&mut stuck).await;
    for _ in 0..64 {
        stage.publish(200 * 1024).await;
    }
    let mut pings = JoinSet::new();
    pings.spawn(async move {
        let mut pause = interval(BEAT / 4);
        loop {
            pause.tick().await;
            stuck.try_send("3".into()).await;
        }
    });
    stage.is_left_alone_within(BEAT).await;
    assert_eq!(stage.hub().slow_sockets(), 0);
}

/// In the end it has read far more than may wait for it, and is still there.
#[tokio::test]
async fn a_socket_that_polls_slowly_is_served() {
    let mut stage = Stage::new().await;
    let mut poller = Poller::subscribe(stage.server.address).await;
    for round in 0..40 {
        stage.publish(LIMIT / 4).await;
        stage.publish(LIMIT / 4).await;
        for number in [2 * round, 2 * round + 1] {
            assert_eq!(poller.number().await, number);
        }
    }
    assert_eq!(stage.hub().slow_sockets(), 0);
}

#[tokio::test]
async fn a_socket_that_polls_no_more_is_cut_off() {
    let mut stage = Stage::new().await;
    let poller = Poller::subscribe(stage.server.address).await;
    let bytes = stage.flood().await;
    assert!((LIMIT..2 * LIMIT).contains(&bytes), "{bytes}");
    stage.is_left_alone_within(BEAT).await;
    // Its client hears that there is no such session.
    let answer = poller.send("3").await;
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("1")));
}

#[tokio::test]
async fn a_socket_that_polls_no_more_and_answers_no_pings_is_gone_in_time() {
    let mut stage = Stage::of(|app| app.heartbeat(BEAT, BEAT)).await;
    let _poller = Poller::subscribe(stage.server.address).await;
    stage.publish(100).await;
    stage.is_left_alone_within(BEAT).await;
    assert_eq!(stage.hub().slow_sockets(), 0);
}

/// What it read on both transports counts; then it stops.
#[tokio::test]
async fn a_socket_that_was_upgraded_is_served_and_cut_off() {
    let mut stage = Stage::new().await;
    let mut poller = Poller::subscribe(stage.server.address).await;
    for _ in 0..10 {
        stage.publish(LIMIT / 2).await;
        poller.number().await;
    }
    let mut client = Client::upgrade(stage.server.address, &poller.session).await;
    for expected in 10..30 {
        stage.publish(LIMIT / 2).await;
        assert_eq!(number(&client.next().await), expected);
    }
    assert_eq!(stage.hub().slow_sockets(), 0);

    stage.flood().await;
    stage.is_left_alone_within(BEAT).await;
    while client.next().await != Packet::Closed {}
    assert_eq!(poller.send("3").await.status, 400);
}

/// Through a server of others nobody can count what leaves, so nothing of it is held against anybody.
#[tokio::test]
async fn a_socket_on_a_connection_of_others_is_served() {
    let lab = Lab::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let mut server = JoinSet::new();
    let router = application(&lab).into_router().expect("a well-formed application");
    server.spawn(async move { axum::serve(listener, router).await.expect("a server") });

    let mut client = Client::open(address, "/socket.io", Eio::V4, &[]).await;
    client.enter().await;
    subscribe(&mut client).await;
    let mut poller = Poller::subscribe(address).await;
    let hub = lab.hub.get().expect("somebody subscribed");
    for expected in 0..10 {
        publish(hub, expected, LIMIT / 2).await;
        assert_eq!((number(&client.next().await), poller.number().await), (expected, expected));
    }
    let mut upgraded = Client::upgrade(address, &poller.session).await;
    for expected in 10..30 {
        publish(hub, expected, LIMIT / 2).await;
        assert_eq!((number(&client.next().await), number(&upgraded.next().await)), (expected, expected));
    }
    assert_eq!((count(hub, &News), hub.slow_sockets()), (2, 0));
}

/// Answers wait until there is room, however large they are, and no event is held against whoever asked for them.
#[tokio::test]
async fn a_socket_is_not_cut_off_for_the_answers_it_asked_for() {
    let mut stage = Stage::new().await;
    let mut client = Client::connect(&stage.server).await;
    subscribe(&mut client).await;
    let ids = [client.start(&get("/answer/8000000")).await, client.start(&get("/answer/8000000")).await];
    // One thread runs everything here, so the first is on its way when the second has been asked for.
    let answers = stage.lab.answers.clone();
    until("the actions", || answers.load(Ordering::SeqCst) == 2).await;
    for _ in 0..10 {
        stage.publish(1000).await;
    }
    for expected in 0..10 {
        assert_eq!(number(&client.next().await), expected);
    }
    for id in ids {
        assert_eq!(client.ack(id).await.status, 200);
    }
    assert_eq!(stage.hub().slow_sockets(), 0);
}

/// Set in the process that measures.
#[cfg(target_os = "linux")]
const MEASURES: &str = "CATAMARAN_SLOW_MEASURES";

/// What waits for sockets that never read is bounded while it waits, and given back when they are gone.
///
/// Without a limit in bytes it grew to the 256 MiB at which this test stops publishing.
#[cfg(target_os = "linux")]
#[test]
fn sockets_that_never_read_cost_little_memory() {
    if std::env::var_os(MEASURES).is_none() {
        let this = std::env::current_exe().expect("the path of this test");
        let name = "slow::sockets_that_never_read_cost_little_memory";
        let status = std::process::Command::new(this)
            .args(["--exact", name, "--nocapture"])
            .env(MEASURES, "1")
            .env_remove(crate::support::canary::VARIABLE)
            .status();
        assert!(status.expect("this test runs again").success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut stage = Stage::new().await;
        let (mut before, mut most) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            before.push(memory());
            most.push(stuck_together(&mut stage, 40).await);
            stage.is_left_alone_within(BEAT).await;
        }
        println!("KiB before each round: {before:?}, at most: {most:?}");
        // For each the limit, 128 KiB in the writer's buffer and as much in the kernel, which does not count here; and
        // the socket itself, without optimizations.
        assert!(most[0] - before[0] < 40 * (LIMIT / 1024 + 192) + 4096);
        // An allocator keeps some of what it once had, so the later rounds must get by with that.
        assert!(most[5] < most[2] + 2048 && before[5] < before[2] + 2048);
    });
}

/// Publishes until so many sockets that never read are disconnected, half of them over long-polling; returns the most KiB that
/// the process had meanwhile.
#[cfg(target_os = "linux")]
async fn stuck_together(stage: &mut Stage, sockets: u64) -> usize {
    let (mut clients, mut pollers, mut most) = (Vec::new(), Vec::new(), 0);
    let readers = count(stage.hub(), &News);
    for _ in 0..sockets / 2 {
        let mut client = Client::connect(&stage.server).await;
        subscribe(&mut client).await;
        clients.push(client);
        pollers.push(Poller::subscribe(stage.server.address).await);
    }
    let enough = stage.hub().slow_sockets() + sockets;
    // On a busy machine a heartbeat may end some of them first.
    while stage.hub().slow_sockets() < enough && count(stage.hub(), &News) > readers && memory() < 256 * 1024 {
        stage.publish(4096).await;
        most = most.max(memory());
    }
    most
}
