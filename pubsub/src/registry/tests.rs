//! Which streams are kept and dropped, and what is held.

use super::*;
use crate::{
    EncodedEvent, PublishOutcome,
    known::{IDLE_BYTES, IDLE_STREAMS},
};
use crate::{History, broker::mock, testing::Hub};

impl StreamRegistry {
    /// The broker in memory, which is not needed yet.
    pub(crate) fn memory(&self) -> Arc<Memory> {
        let memory = Arc::new(Memory::new(self.flow()));
        assert!(self.broker.set(memory.clone()).is_ok(), "it was needed already");
        memory
    }
}

fn target(name: &str, history: History) -> Target {
    Target { channel: name.into(), stream: name.into(), history, shape: None }
}

async fn publish(hub: &Hub, to: Target, message: &str) {
    let message = EncodedEvent { name: message.into(), arguments: Vec::new() };
    assert_eq!(hub.registry().publish(vec![to], message, Vec::new()).await, PublishOutcome::Delivered);
}

/// A socket that is live in so many channels, each of which has had an event.
async fn crowd(hub: &Hub, id: &str, channels: std::ops::Range<usize>) -> Subscriber {
    let (subscriber, _wire) = Subscriber::of_test(id, None);
    for n in channels {
        let name = format!("{n:0>250}");
        hub.registry().add(&subscriber, target(&name, History::NONE), None).await.unwrap();
        publish(hub, target(&name, History::NONE), "x").await;
    }
    subscriber
}

#[tokio::test]
async fn idle_streams_are_bounded_and_those_in_use_are_kept() {
    let hub = Hub::default();
    let streams = hub.registry();
    let memory = streams.memory();
    let stays = crowd(&hub, "stays", 0..10).await;
    // All of them leave at once, after which nothing new comes.
    let leaves = crowd(&hub, "leaves", 10..2 * IDLE_STREAMS).await;
    assert_eq!(streams.all().len(), 2 * IDLE_STREAMS);
    streams.leave_all(&leaves);
    let known = streams.known();
    assert!(known.streams.len() <= IDLE_STREAMS + 10 && known.idle.len() <= IDLE_STREAMS, "{}", known.streams.len());
    assert!(known.idle_bytes <= IDLE_BYTES);
    assert_eq!(memory.streams(), known.streams.len());
    assert!((0..10).all(|n| known.streams.get(&format!("{n:0>250}")).is_some()));
    drop(known);
    streams.leave_all(&stays);
}

fn on_a_broker(linger: Duration) -> (Hub, mock::Backend) {
    let (hub, backend) = (Hub::default(), mock::Backend::default());
    backend.lock().linger = Some(linger);
    hub.cluster().join_by(|flow| Ok(Arc::new(backend.connect(flow)))).unwrap();
    assert!(hub.registry().end_outage(hub.registry().outage()));
    (hub, backend)
}

#[tokio::test(start_paused = true)]
async fn streams_in_use_cost_no_task_and_no_look() {
    const STREAMS: usize = 10_000;
    const LINGER: Duration = Duration::from_secs(10);
    let (hub, backend) = on_a_broker(LINGER);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (subscriber, _wire) = Subscriber::of_test("ada", None);
    for n in 0..STREAMS {
        hub.registry().add(&subscriber, target(&n.to_string(), History::NONE), None).await.unwrap();
    }
    assert_eq!(tasks() - before, 1);
    sleep(100 * LINGER).await;
    assert_eq!(tasks() - before, 1);
    // Each once, since it was idle as it was made.
    assert!(hub.registry().known().looks <= STREAMS, "{}", hub.registry().known().looks);
    assert_eq!(backend.lock().detached.len(), 0);
    hub.registry().leave_all(&subscriber);
}

#[tokio::test(start_paused = true)]
async fn stream_that_was_used_again_lingers_again() {
    const LINGER: Duration = Duration::from_secs(10);
    let (hub, backend) = on_a_broker(LINGER);
    let (subscriber, _wire) = Subscriber::of_test("ada", None);
    let visit = async || {
        hub.registry().add(&subscriber, target("room:7", History::NONE), None).await.unwrap();
        assert!(hub.registry().leave(&subscriber, "room:7"));
    };
    for _ in 0..20 {
        visit().await;
        sleep(LINGER / 2).await;
        assert_eq!(backend.lock().detached.len(), 0);
    }
    sleep(4 * LINGER).await;
    assert_eq!(backend.lock().detached.len(), 1);
    assert!(hub.registry().find("room:7").is_none());
    // One that comes and goes later is detached too.
    visit().await;
    sleep(4 * LINGER).await;
    assert_eq!(backend.lock().detached.len(), 2);
}

#[tokio::test]
async fn idle_streams_are_bounded_by_their_bytes() {
    let hub = Hub::default();
    hub.registry().set_max_channel_bytes(100_000);
    let (subscriber, _wire) = Subscriber::of_test("ada", None);
    for n in 0..110 {
        let name = format!("{n}{}", "x".repeat(90_000));
        hub.registry().add(&subscriber, target(&name, History::NONE), None).await.unwrap();
        publish(&hub, target(&name, History::NONE), "x").await;
        hub.registry().leave_all(&subscriber);
    }
    let known = hub.registry().known();
    let bytes: usize = known.streams.names().iter().map(|name| name.len()).sum();
    assert!(bytes <= IDLE_BYTES && known.idle_bytes <= IDLE_BYTES && known.streams.len() > 70, "{bytes}");
}

#[tokio::test]
async fn streams_without_events_go_with_their_last_subscriber() {
    let hub = Hub::default();
    let streams = hub.registry();
    let memory = streams.memory();
    let (subscriber, _wire) = Subscriber::of_test("ada", Some("ada"));
    for n in 0..1000 {
        streams.add(&subscriber, target(&format!("room:{n}"), History::NONE), None).await.unwrap();
    }
    // One that a request held and did not get.
    drop(streams.hold(&subscriber, target("held", History::NONE), None, None).await);
    let (before, _) = streams.joined(&subscriber, "room:7").unwrap();
    assert!(streams.leave(&subscriber, "room:8"));
    assert_eq!(streams.all().len(), 999);
    streams.leave_all(&subscriber);
    assert_eq!((streams.all().len(), memory.streams(), streams.known().idle.len()), (0, 0, 0));

    // Silence is known to be silence, and what was published meanwhile to be missed.
    let (back, _wire) = Subscriber::of_test("back", Some("ada"));
    let add =
        async |name: &str, at: &Position| streams.add(&back, target(name, History::NONE), Some(at)).await.unwrap();
    assert_eq!(add("room:7", &before).await, Recovery::Recovered);
    assert_eq!(streams.joined(&back, "room:7").unwrap().0, before);
    assert_eq!(add("room:9", &before).await, Recovery::Gap, "a position is that of one stream");
    streams.leave_all(&back);
    publish(&hub, target("room:7", History::NONE), "to nobody").await;
    assert_eq!(add("room:7", &before).await, Recovery::Gap);
    // Nor does a stream that had events and was dropped come back as one that had none.
    let (start, _) = streams.joined(&back, "room:7").unwrap();
    publish(&hub, target("room:7", History::NONE), "to ada").await;
    streams.leave_all(&back);
    streams.broker().detach(&"room:7".into());
    streams.known().streams.clear();
    assert_eq!(add("room:7", &start).await, Recovery::Gap);

    // A history is kept for those who come back, also where it has yet to begin.
    let kept = || target("kept", History::of(10));
    streams.add(&back, kept(), None).await.unwrap();
    let (start, _) = streams.joined(&back, "kept").unwrap();
    streams.leave_all(&back);
    publish(&hub, kept(), "meanwhile").await;
    assert_eq!(streams.add(&back, kept(), Some(&start)).await, Some(Recovery::Recovered));
}

#[tokio::test]
async fn a_long_channel_name_is_published_to_nobody() {
    let hub = Hub::default();
    let (subscriber, mut wire) = Subscriber::of_test("ada", None);
    let long = "x".repeat(MAX_CHANNEL_BYTES + 1);
    assert!(hub.registry().add(&subscriber, target(&long, History::NONE), None).await.is_none());
    publish(&hub, target(&long, History::NONE), "lost").await;
    hub.registry().add(&subscriber, target(&long[1..], History::NONE), None).await.unwrap();
    publish(&hub, target(&long[1..], History::NONE), "said").await;
    assert_eq!((wire.try_recv().unwrap().as_str(), wire.try_recv().is_err()), (r#"["said"]"#, true));
    assert_eq!(hub.registry().all().len(), 1);
}

#[tokio::test]
async fn held_events_are_bounded_over_all_streams() {
    let hub = Hub::default();
    let streams = hub.registry();
    let (subscriber, _wire) = Subscriber::of_test("ada", Some("ada"));
    let event = "x".repeat(1024 * 1024);
    let mut holds = Vec::new();
    for n in 0..40 {
        let to = || target(&format!("room:{n}"), History::NONE);
        holds.push(streams.hold(&subscriber, to(), None, None).await);
        for _ in 0..3 {
            publish(&hub, to(), &event).await;
            assert!(streams.shared.kept.load(Ordering::Relaxed) <= MAX_KEPT);
        }
    }
    // What could not be held is a gap, and nothing else.
    let outcomes: Vec<_> = holds.iter_mut().map(|held| (held.settle(), held.outcome()).1).collect();
    assert!(outcomes.contains(&Recovery::Gap) && outcomes.contains(&Recovery::Fresh));
}

#[tokio::test]
async fn two_requests_that_hold_one_channel_miss_nothing_together() {
    let hub = Hub::default();
    let (subscriber, mut wire) = Subscriber::of_test("ada", None);
    let target = || target("room:7", History::NONE);
    let first = hub.registry().hold(&subscriber, target(), None, None).await;
    publish(&hub, target(), "one").await;
    let second = hub.registry().hold(&subscriber, target(), None, None).await;
    second.join(None);
    publish(&hub, target(), "two").await;
    first.join(None);
    publish(&hub, target(), "three").await;
    drop((first, second));
    let received: Vec<_> = std::iter::from_fn(|| wire.try_recv().ok()).collect();
    assert_eq!(received, [r#"["one"]"#, r#"["two"]"#, r#"["three"]"#]);
    assert!(hub.registry().find("room:7").unwrap().lock().is_free());
}

#[tokio::test]
async fn what_is_published_where_nobody_ever_was_leaves_nothing() {
    let hub = Hub::default();
    publish(&hub, target("room:7", History::of(256)), "to nobody").await;
    assert!(hub.registry().all().is_empty());
    assert_eq!(hub.registry().members(&target("room:7", History::NONE)).len(), 0);
    assert!(hub.registry().all().is_empty());
}

#[tokio::test]
async fn all_histories_together_are_bounded_and_the_least_used_goes_first() {
    const EACH: usize = MAX_KEPT / 4 + 1;
    let hub = Hub::default();
    let streams = hub.registry();
    let (subscriber, _wire) = Subscriber::of_test("ada", None);
    let target = |n: usize| target(&format!("room:{n}"), History::of(1).bytes(2 * EACH));
    let event = "x".repeat(EACH);
    let mut holds = Vec::new();
    for n in 0..3 {
        drop(streams.hold(&subscriber, target(n), None, None).await);
        publish(&hub, target(n), &event).await;
    }
    let kept = |n: usize| {
        let top = streams.find(&format!("room:{n}")).unwrap().lock().log.top().clone();
        let start = Position { offset: top.offset - 1, ..top };
        streams.find(&format!("room:{n}")).unwrap().lock().log.after(&start).is_some()
    };
    // The oldest is used again, so the second has to go.
    holds.push(streams.hold(&subscriber, target(0), None, None).await);
    streams.hold(&subscriber, target(3), None, None).await;
    publish(&hub, target(3), &event).await;
    assert_eq!([0, 1, 2, 3].map(kept), [true, false, true, true]);
    assert!(streams.shared.kept.load(Ordering::Relaxed) <= MAX_KEPT);
    drop(hub);
    drop(holds);
}
