//! Whoever may have missed something learns of it: a catamaran client from a gap, a standard client from the end of its
//! connection.

use std::sync::Arc;

use tokio::{sync::mpsc::UnboundedReceiver, time::sleep};

use crate::{
    Command, EncodedEvent, History, PublishOutcome, Subscriber, Subscriptions, Target,
    broker::mock::Backend,
    entry::Shape,
    expiry::JITTER,
    history::{MAX_HELD, MAX_HELD_BYTES},
    testing::Hub,
};

const ROOM: &str = "room:7";

fn target(name: &str) -> Target {
    Target { channel: name.into(), stream: name.into(), history: History::of(100), shape: None }
}

fn server(backend: &Backend) -> Hub {
    let hub = Hub::default();
    hub.cluster().join_by(|flow| Ok(Arc::new(backend.connect(flow)))).unwrap();
    assert!(hub.registry().end_outage(hub.registry().outage()));
    hub
}

async fn publish_to(hub: &Hub, to: Target, text: &str) -> PublishOutcome {
    hub.registry().publish(vec![to], EncodedEvent::of_test("said", text), Vec::new()).await
}

async fn publish(hub: &Hub, text: &str) -> PublishOutcome {
    publish_to(hub, target(ROOM), text).await
}

/// A catamaran client and a standard client that do the same.
struct Pair {
    channel: &'static str,
    clients: [(Subscriber, UnboundedReceiver<String>); 2],
}

/// What became of a pair.
#[derive(Debug, Default, PartialEq, Eq)]
struct Learned {
    gap: bool,
    disconnected: bool,
    /// The texts of the events that each received.
    texts: [Vec<String>; 2],
}

impl Pair {
    fn new(hub: &Hub, id: &str, channel: &'static str) -> Self {
        let [ours, standard] = [Some(format!("{id} {channel}")), None];
        let clients = [ours, standard].map(|client| {
            let kind = if client.is_some() { "ours" } else { "standard" };
            Subscriber::of_test(&format!("{kind} {id} {channel}"), client.as_deref())
        });
        clients.iter().for_each(|(subscriber, _)| assert!(hub.registry().connect(subscriber)));
        Self { channel, clients }
    }

    async fn of(hub: &Hub, id: &str, channel: &'static str) -> Self {
        let pair = Self::new(hub, id, channel);
        for (subscriber, _) in &pair.clients {
            hub.registry().add(subscriber, target(channel), None).await.unwrap();
        }
        pair
    }

    /// As requests, with what happens before they are answered.
    async fn ask(&self, hub: &Hub, meanwhile: impl AsyncFnOnce(), aloud: bool) {
        let requests = [Subscriptions::default(), Subscriptions::default()];
        for (request, (subscriber, _)) in requests.iter().zip(&self.clients) {
            request.add(hub.registry(), subscriber, target(self.channel), None).await.unwrap();
        }
        meanwhile().await;
        for (request, (subscriber, _)) in requests.iter().zip(&self.clients) {
            let settled = request.settle(subscriber, true);
            if aloud {
                settled.live_aloud(subscriber);
            } else {
                settled.live(subscriber);
            }
        }
    }

    /// Waits until a disconnect would have come.
    async fn learned(&mut self) -> Learned {
        sleep(2 * JITTER).await;
        let [(_, ours), (subscriber, standard)] = &mut self.clients;
        let mut learned = Learned { disconnected: subscriber.is_gone(), ..Learned::default() };
        let read = |wire: &mut UnboundedReceiver<String>| {
            let frames = std::iter::from_fn(|| wire.try_recv().ok());
            frames.map(|frame| serde_json::from_str(&frame).unwrap()).collect::<Vec<Vec<serde_json::Value>>>()
        };
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        for frame in read(ours) {
            match frame[0].as_str().unwrap() {
                "$gap" => learned.gap = true,
                "$" if frame.len() > 3 => learned.texts[0].push(text(&frame[4])),
                "$replay" => {
                    let entries = frame[2].as_array().unwrap();
                    learned.texts[0].extend(entries.iter().map(|entry| text(&entry[2])));
                }
                "said" => learned.texts[0].push(text(&frame[1])),
                "$" | "$join" => {}
                other => panic!("{other}"),
            }
        }
        learned.texts[1].extend(read(standard).iter().map(|frame| text(&frame[1])));
        learned
    }
}

/// Why a subscriber of `ROOM` at the second server may have missed something.
#[derive(Clone, Copy, Debug)]
enum Reason {
    HoleStaysOpen,
    NewsLost,
    TooMuchCameEarly,
    MissedInOutage,
    DeliveredHereInOutage,
    DeliveredThereInOutage,
    BackendIsEmpty,
    BackendIsOlder,
    EntryOfAnotherEpoch,
    ServerWasBehind,
    EverybodyIsTold,
    EventOfAnotherType,
    ClosingsMissed,
    HoldOverflows(bool),
    HeldHistoryIsEvicted(bool),
}

const REASONS: [Reason; 17] = [
    Reason::HoleStaysOpen,
    Reason::NewsLost,
    Reason::TooMuchCameEarly,
    Reason::MissedInOutage,
    Reason::DeliveredHereInOutage,
    Reason::DeliveredThereInOutage,
    Reason::BackendIsEmpty,
    Reason::BackendIsOlder,
    Reason::EntryOfAnotherEpoch,
    Reason::ServerWasBehind,
    Reason::EverybodyIsTold,
    Reason::EventOfAnotherType,
    Reason::ClosingsMissed,
    Reason::HoldOverflows(false),
    Reason::HoldOverflows(true),
    Reason::HeldHistoryIsEvicted(false),
    Reason::HeldHistoryIsEvicted(true),
];

/// Brings it about, and gives those whom it concerns.
async fn cause(reason: Reason, backend: &Backend, there: &Hub, here: &Hub) -> Pair {
    let live = || Pair::of(here, "pair", ROOM);
    let mebibyte = "x".repeat(1024 * 1024);
    match reason {
        Reason::HoleStaysOpen => {
            let pair = live().await;
            backend.intercept(1);
            publish(there, "lost").await;
            publish(there, "next").await;
            backend.trim(ROOM, 1);
            backend.flow(1).entry(backend.pile(1).remove(1));
            pair
        }
        Reason::NewsLost => {
            let pair = live().await;
            backend.intercept(1);
            publish(there, "lost").await;
            backend.trim(ROOM, 1);
            backend.flow(1).lost(ROOM);
            pair
        }
        Reason::TooMuchCameEarly => {
            let pair = live().await;
            backend.intercept(1);
            for _ in 0..7 {
                publish(there, &mebibyte).await;
            }
            backend.trim(ROOM, 7);
            backend.pile(1).drain(1..).for_each(|copy| backend.flow(1).entry(copy));
            pair
        }
        Reason::MissedInOutage => {
            let pair = live().await;
            backend.down(1);
            publish(there, "missed").await;
            backend.trim(ROOM, 1);
            backend.up(1);
            pair
        }
        Reason::DeliveredHereInOutage => {
            let pair = live().await;
            backend.down(1);
            assert_eq!(publish(here, "here").await, PublishOutcome::LocalOnly);
            backend.up(1);
            pair
        }
        Reason::DeliveredThereInOutage => {
            let pair = live().await;
            backend.down(0);
            assert_eq!(publish(there, "there").await, PublishOutcome::LocalOnly);
            backend.up(0);
            pair
        }
        Reason::BackendIsEmpty => {
            let pair = live().await;
            publish(there, "before").await;
            backend.down(1);
            backend.forget(ROOM);
            backend.up(1);
            pair
        }
        Reason::BackendIsOlder => {
            let pair = live().await;
            publish(there, "before").await;
            backend.down(1);
            backend.rewind(ROOM, 0);
            backend.up(1);
            pair
        }
        Reason::EntryOfAnotherEpoch => {
            let pair = live().await;
            backend.intercept(1);
            backend.forget(ROOM);
            publish(there, "of the next epoch").await;
            backend.flow(1).entry(backend.pile(1).remove(0));
            pair
        }
        Reason::ServerWasBehind => {
            let (mut ada, _wire) = Subscriber::of_test("ada", Some("ada"));
            there.registry().add(&ada, target(ROOM), None).await.unwrap();
            let pair = live().await;
            backend.intercept(1);
            publish(there, "lost").await;
            backend.trim(ROOM, 1);
            let (had, _) = there.registry().joined(&ada, ROOM).unwrap();
            ada = Subscriber::of_test("ada at the other server", Some("ada")).0;
            here.registry().add(&ada, target(ROOM), Some(&had)).await.unwrap();
            pair
        }
        Reason::EverybodyIsTold => {
            let pair = live().await;
            // The other server has not joined the cluster yet, and does not answer.
            assert!(here.cluster().everywhere(Command::Turn).await.is_err());
            pair
        }
        Reason::EventOfAnotherType => {
            let pair = Pair::new(here, "pair", ROOM);
            let of = |shape| Target { shape: Some(Shape(shape)), ..target(ROOM) };
            for (subscriber, _) in &pair.clients {
                here.registry().add(subscriber, of(1), None).await.unwrap();
            }
            publish_to(there, of(2), "secret").await;
            pair
        }
        Reason::ClosingsMissed => {
            // All sockets are disconnected, whatever their clients understand.
            let pair = live().await;
            here.cluster().missed(false);
            pair
        }
        Reason::HoldOverflows(aloud) => {
            let pair = Pair::new(here, "pair", ROOM);
            let overflow = async || {
                for _ in 0..=MAX_HELD_BYTES / mebibyte.len() {
                    publish(there, &mebibyte).await;
                }
                for n in 0..=MAX_HELD {
                    publish(there, &n.to_string()).await;
                }
            };
            pair.ask(here, overflow, aloud).await;
            pair
        }
        Reason::HeldHistoryIsEvicted(aloud) => {
            let pair = Pair::new(here, "pair", ROOM);
            let evict = async || {
                publish(there, "evicted").await;
                here.registry().find(ROOM).unwrap().lock().log.clear();
            };
            pair.ask(here, evict, aloud).await;
            pair
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_loss_disconnects_a_standard_client() {
    for reason in REASONS {
        let backend = Backend::default();
        let (there, here) = (server(&backend), server(&backend));
        let mut pair = cause(reason, &backend, &there, &here).await;
        let learned = pair.learned().await;
        assert!(learned.disconnected, "{reason:?}");
        let ends_all = matches!(reason, Reason::ClosingsMissed);
        // In the ack of a request, a gap stands instead of its frame.
        let in_ack = matches!(reason, Reason::HoldOverflows(false) | Reason::HeldHistoryIsEvicted(false));
        assert_eq!(learned.gap, !ends_all && !in_ack, "{reason:?}");
    }
}

/// Two servers, two channels, and a broker that fails at random: no standard client misses an event and stays.
#[tokio::test(start_paused = true)]
async fn standard_clients_that_stay_missed_nothing() {
    const STORMS: u64 = 40;
    let (mut stayed, mut ended) = (0, 0);
    for seed in 0..STORMS {
        let mut random = fastrand::Rng::with_seed(seed);
        let backend = Backend::default();
        let servers = [server(&backend), server(&backend)];
        let channels = [ROOM, "room:8"];
        let mut pairs = Vec::new();
        for hub in &servers {
            for channel in channels {
                pairs.push(Pair::of(hub, "pair", channel).await);
            }
        }
        let (mut down, mut published) = ([false; 2], vec![Vec::new(); 2]);
        for step in 0..random.usize(5..30) {
            let (node, room) = (random.usize(..2), random.usize(..2));
            match random.u8(..12) {
                0 => {
                    down[node] = true;
                    backend.down(node);
                }
                1 | 2 if down[node] => {
                    down[node] = false;
                    backend.up(node);
                }
                3 => backend.trim(channels[room], u64::MAX),
                4 => backend.flow(node).lost(channels[room]),
                5 => sleep(std::time::Duration::from_millis(random.u64(..100))).await,
                _ => {
                    let text = format!("{step}");
                    publish_to(&servers[node], target(channels[room]), &text).await;
                    published[room].push(text);
                }
            }
        }
        for node in 0..2 {
            backend.up(node);
        }
        for (n, mut pair) in pairs.into_iter().enumerate() {
            let learned = pair.learned().await;
            assert_eq!(learned.gap, learned.disconnected, "seed {seed}: {learned:?}");
            if learned.disconnected {
                ended += 1;
            } else {
                stayed += 1;
                assert_eq!(learned.texts[1], published[n % 2], "seed {seed}");
                assert_eq!(learned.texts[0], learned.texts[1], "seed {seed}");
            }
        }
    }
    assert!(stayed > 20 && ended > 20, "{stayed} stayed, {ended} ended");
}

#[tokio::test(start_paused = true)]
async fn standard_clients_are_disconnected_one_after_the_other() {
    const CLIENTS: usize = 400;
    let backend = Backend::default();
    let (there, here) = (server(&backend), server(&backend));
    let mut subscribers = Vec::new();
    for n in 0..CLIENTS {
        let (subscriber, _) = Subscriber::of_test(&n.to_string(), None);
        for channel in [ROOM, "room:8"] {
            here.registry().add(&subscriber, target(channel), None).await.unwrap();
        }
        subscribers.push(subscriber);
    }
    backend.down(1);
    for channel in [ROOM, "room:8"] {
        publish_to(&there, target(channel), "missed").await;
        backend.trim(channel, 1);
    }
    backend.up(1);
    let gone = || subscribers.iter().filter(|subscriber| subscriber.is_gone()).count();
    let mut before = 0;
    for _ in 0..8 {
        sleep(JITTER / 8).await;
        let now = gone();
        assert!((20..=90).contains(&(now - before)), "{before}, then {now} of {CLIENTS}");
        before = now;
    }
    sleep(JITTER / 8).await;
    assert_eq!(gone(), CLIENTS);
}
