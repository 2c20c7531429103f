//! What the hub makes of a broker that is late, repeats, loses, goes away and comes back.

mod outages;

use std::{collections::HashMap, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc::UnboundedReceiver},
    time::timeout,
};

use crate::{
    EncodedEvent, History, Position, PublishOutcome, Recovery,
    broker::mock::Backend,
    entry::Target,
    known::MAX_UNSENT,
    sent::Received,
    subscriber::Subscriber,
    testing::{Channel, Hub, Untyped},
};

const ROOM: &str = "room:7";
const EVENTUALLY: Duration = Duration::from_secs(60);

/// A channel that keeps 100 events.
struct Room(&'static str);

impl Channel for Room {
    const HISTORY: History = History::of(100);

    fn name(&self) -> String {
        self.0.to_owned()
    }
}

fn node(backend: &Backend) -> Hub {
    let hub = Hub::default();
    let flow = hub.cluster().flow();
    hub.cluster().join_by(|_| Ok(Arc::new(backend.connect(flow)))).unwrap();
    assert!(hub.registry().end_outage(hub.registry().outage()));
    hub
}

/// A socket of our own client, and what it is sent.
struct Client {
    subscriber: Subscriber,
    wire: UnboundedReceiver<String>,
}

impl Client {
    fn new(client: &str) -> Self {
        Self::returning(client, HashMap::new())
    }

    fn returning(client: &str, received: HashMap<String, Received>) -> Self {
        let (subscriber, wire) = Subscriber::of_returning(client, Some(client), received);
        Self { subscriber, wire }
    }

    /// One that is live in a channel.
    async fn of(hub: &Hub, client: &str, channel: &Room) -> Self {
        let mut subscriber = Self::new(client);
        assert!(subscriber.join(hub, channel, None).await.is_some());
        subscriber.next("$join").await;
        subscriber
    }

    async fn join(&mut self, hub: &Hub, channel: &Room, resume: Option<&Position>) -> Option<Recovery> {
        hub.registry().add(&self.subscriber, Target::of(channel), resume).await
    }

    /// The next frame, which has this name: its other arguments.
    async fn next(&mut self, name: &str) -> Vec<serde_json::Value> {
        let frame = timeout(EVENTUALLY, self.wire.recv()).await.unwrap_or_else(|_| panic!("waited for {name}"));
        let mut frame: Vec<serde_json::Value> = serde_json::from_str(&frame.expect("a frame")).unwrap();
        assert_eq!(frame.remove(0), name, "{frame:?}");
        frame
    }

    /// The next frame is the event of this offset, with this text.
    async fn hears(&mut self, offset: u64, text: &str) {
        assert_eq!(self.next("$").await[1..], serde_json::json!([offset, "said", text]).as_array().unwrap()[..]);
    }

    async fn hears_gap(&mut self) -> Position {
        let gap = self.next("$gap").await;
        Position { epoch: gap[1].as_str().unwrap().into(), offset: gap[2].as_u64().unwrap() }
    }

    fn hears_nothing_more(&mut self) {
        assert_eq!(self.wire.try_recv().ok(), None);
    }
}

fn said(text: &str) -> EncodedEvent {
    EncodedEvent::of_test("said", text)
}

async fn publish(hub: &Hub, texts: &[&str]) {
    for text in texts {
        assert_eq!(hub.publish(&Room(ROOM), said(text)).await, PublishOutcome::Delivered);
    }
}

fn top(hub: &Hub) -> Position {
    hub.registry().find(ROOM).expect("a known stream").lock().log.top().clone()
}

/// Lets tasks run until it is so.
async fn until(mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(EVENTUALLY, waiting).await.expect("it becomes so");
}

#[tokio::test]
async fn entries_are_delivered_once_and_in_order_however_they_come() {
    let backend = Backend::default();
    let (there, here) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(1);
    publish(&there, &["a", "b", "c"]).await;
    let (flow, pile) = (backend.flow(1), backend.pile(1));
    for destination in [2, 0, 0, 1, 1, 2] {
        flow.entry(pile[destination].clone());
    }
    for (offset, text) in [(1, "a"), (2, "b"), (3, "c")] {
        ada.hears(offset, text).await;
    }
    ada.hears_nothing_more();
    assert_eq!(backend.lock().reads, 0);
}

#[tokio::test]
async fn a_hole_that_does_not_close_is_read() {
    let backend = Backend::default();
    let (there, here) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(1);
    publish(&there, &["a", "b", "c"]).await;
    let pile = backend.pile(1);
    backend.flow(1).entry(pile[2].clone());
    for (offset, text) in [(1, "a"), (2, "b"), (3, "c")] {
        ada.hears(offset, text).await;
    }
    backend.flow(1).entry(pile[1].clone());
    ada.hears_nothing_more();
    assert_eq!(backend.lock().reads, 1);
}

#[tokio::test]
async fn a_hole_that_cannot_be_read_is_a_gap_and_what_follows_it_comes() {
    let backend = Backend::default();
    let (there, here) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(1);
    publish(&there, &["a", "b", "c", "d", "e"]).await;
    backend.trim(ROOM, 2);
    let pile = backend.pile(1);
    for destination in [0, 2, 4] {
        backend.flow(1).entry(pile[destination].clone());
    }
    ada.hears(1, "a").await;
    assert_eq!(ada.hears_gap().await, Position { offset: 2, ..top(&here) });
    ada.hears(3, "c").await;
    ada.hears(4, "d").await;
    ada.hears(5, "e").await;
    assert_eq!(here.registry().joined(&ada.subscriber, ROOM).unwrap().1, Recovery::Gap);
}

#[tokio::test]
async fn a_publish_ends_when_its_own_node_has_applied_it() {
    let backend = Backend::default();
    let here = node(&backend);
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(0);
    for end in ["it comes", "the broker goes down"] {
        let mut publishing = pin!(here.publish(&Room(ROOM), said(end)).into_future());
        let first = poll_fn(|cx| Poll::Ready(publishing.as_mut().poll(cx))).await;
        assert!(first.is_pending(), "{end}");
        if end == "it comes" {
            backend.flow(0).entry(backend.pile(0).remove(0));
        } else {
            backend.down(0);
        }
        assert_eq!(timeout(EVENTUALLY, publishing).await.unwrap(), PublishOutcome::Delivered);
    }
    ada.hears(1, "it comes").await;
}

#[tokio::test]
async fn what_one_publish_did_not_bring_to_the_bus_is_a_gap_for_all_although_the_bus_stays_up() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut bob = Client::of(&there, "bob", &Room(ROOM)).await;
    backend.lock().refused = true;
    assert_eq!(here.publish(&Room(ROOM), said("here alone")).await, PublishOutcome::LocalOnly);
    bob.hears_gap().await;
}

#[tokio::test]
async fn a_loss_that_is_found_twice_at_once_is_one_gap() {
    let backend = Backend::default();
    let here = node(&backend);
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    publish(&here, &["before"]).await;
    ada.hears(1, "before").await;
    backend.forget(ROOM);
    let filter = Arc::new(Semaphore::new(0));
    backend.lock().filter = Some(filter.clone());
    let stream = here.registry().find(ROOM).expect("it is attached");
    let renew = || stream.renew_now(&**here.registry().broker());
    let open = async {
        tokio::task::yield_now().await;
        filter.add_permits(2);
    };
    tokio::join!(renew(), renew(), open);
    ada.hears_gap().await;
    ada.hears_nothing_more();
}

/// Nobody has counted so far, and what is counted is on its way here, or lost.
#[tokio::test]
async fn false_position_is_a_gap_for_that_client_alone() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut bob = Client::of(&there, "bob", &Room(ROOM)).await;
    publish(&here, &["a"]).await;
    bob.hears(1, "a").await;
    backend.intercept(1);
    publish(&here, &["b", "c"]).await;
    backend.trim(ROOM, 3);
    let (before, claimed) = (top(&there), Position { offset: 1_000_000, ..top(&there) });
    let mut forger = Client::new("forger");
    assert_eq!(forger.join(&there, &Room(ROOM), Some(&claimed)).await, Some(Recovery::Gap));
    assert_eq!(forger.hears_gap().await, before);
    bob.hears_nothing_more();
    assert_eq!(top(&there), before);
    backend.pile(1).into_iter().for_each(|copy| backend.flow(1).entry(copy));
    for client in [&mut bob, &mut forger] {
        client.hears(2, "b").await;
        client.hears(3, "c").await;
        client.hears_nothing_more();
    }
}

#[tokio::test]
async fn many_positions_at_once_are_one_question_to_the_broker() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut bob = Client::of(&there, "bob", &Room(ROOM)).await;
    backend.intercept(1);
    publish(&here, &["a", "b"]).await;
    let claim = |offset| {
        let (there, claimed) = (&there, Position { offset, ..top(&there) });
        async move {
            let mut client = Client::new(&format!("at {offset}"));
            (client.join(there, &Room(ROOM), Some(&claimed)).await.unwrap(), client)
        }
    };
    let claims = futures_util::future::join_all((1..100).map(claim)).await;
    let outcomes: Vec<_> = claims.iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(outcomes[..2], [Recovery::Recovered; 2]);
    assert!(outcomes[2..].iter().all(|outcome| *outcome == Recovery::Gap));
    let asked = {
        let state = backend.lock();
        (state.reads, state.attaches)
    };
    assert_eq!(asked, (1, 1), "it had attached before");
    bob.hears(1, "a").await;
    bob.hears(2, "b").await;
    bob.hears_nothing_more();
}

#[tokio::test]
async fn early_entries_are_bounded_in_bytes() {
    let backend = Backend::default();
    let (there, here) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(1);
    let large = "x".repeat(1024 * 1024);
    publish(&there, &[&*large; 7]).await;
    // The first is late, so the others wait; there is room for some of them, and the rest is read later.
    let (flow, pile) = (backend.flow(1), backend.pile(1));
    for copy in &pile[1..] {
        flow.entry(copy.clone());
        let early = here.registry().find(ROOM).unwrap().lock().early.len();
        assert!(early <= 4, "{early}");
    }
    for offset in 1..=7 {
        ada.hears(offset, &large).await;
    }
    ada.hears_nothing_more();
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_the_bus_does_not_bring_is_read() {
    let backend = Backend::default();
    let here = node(&backend);
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(0);
    publish(&here, &["a"]).await;
    ada.hears(1, "a").await;
}

#[tokio::test]
async fn a_loss_on_the_way_is_read() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(0);
    publish(&there, &["a"]).await;
    backend.flow(0).lost(ROOM);
    ada.hears(1, "a").await;
}

#[tokio::test]
async fn a_publish_of_unknown_outcome_is_neither_repeated_nor_delivered_here() {
    let backend = Backend::default();
    let here = node(&backend);
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.lock().unknown = Some(false);
    assert_eq!(here.publish(&Room(ROOM), said("lost")).await, PublishOutcome::Unknown);
    ada.hears_nothing_more();
    backend.lock().unknown = Some(true);
    assert_eq!(here.publish(&Room(ROOM), said("arrived")).await, PublishOutcome::Unknown);
    ada.hears(1, "arrived").await;
    publish(&here, &["next"]).await;
    ada.hears(2, "next").await;
}

#[tokio::test]
async fn a_stream_is_attached_and_read_once_however_many_come_back() {
    let backend = Backend::default();
    let (there, here) = (node(&backend), node(&backend));
    let bob = Client::of(&there, "bob", &Room(ROOM)).await;
    publish(&there, &["a", "b"]).await;
    let had = Position { offset: 1, ..top(&there) };
    let filter = Arc::new(Semaphore::new(0));
    {
        let mut state = backend.lock();
        (state.attaches, state.reads, state.filter) = (0, 0, Some(filter.clone()));
    }
    let mut returning: Vec<_> = (0..50).map(|n| Client::new(&format!("client {n}"))).collect();
    let room = Room(ROOM);
    let joins = returning.iter_mut().map(|one| one.join(&here, &room, Some(&had)));
    let ((), outcomes) = tokio::join!(
        async {
            until(|| backend.lock().attaches == 1).await;
            // It comes before the answer to the attach, and is not lost.
            publish(&there, &["c"]).await;
            filter.add_permits(50);
        },
        futures_util::future::join_all(joins)
    );
    assert_eq!(outcomes, [Some(Recovery::Recovered); 50]);
    for one in &mut returning {
        one.next("$join").await;
        let replayed = one.next("$replay").await.remove(1);
        assert_eq!(replayed, serde_json::json!([[2, "said", "b"], [3, "said", "c"]]));
    }
    let state = backend.lock();
    assert_eq!((state.attaches, state.reads), (1, 1));
    drop(bob);
}

#[tokio::test]
async fn a_client_that_another_node_told_more_is_recovered_when_this_one_knows_it() {
    let backend = Backend::default();
    let (there, here) = (node(&backend), node(&backend));
    let _ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(1);
    publish(&there, &["a", "b", "c"]).await;
    let had = Position { offset: 2, ..top(&here) };
    let mut back = Client::new("back");
    assert_eq!(back.join(&here, &Room(ROOM), Some(&had)).await, Some(Recovery::Recovered));
    let forged = Position { offset: 9, ..had };
    let mut mallory = Client::new("mallory");
    assert_eq!(mallory.join(&here, &Room(ROOM), Some(&forged)).await, Some(Recovery::Gap));
}

#[tokio::test]
async fn a_stream_that_nobody_needs_is_detached_and_read_again_by_who_comes_back() {
    let backend = Backend::default();
    backend.lock().linger = Some(Duration::from_millis(5));
    let (there, here) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    publish(&there, &["a"]).await;
    ada.hears(1, "a").await;
    let had = top(&here);
    assert!(backend.lock().detached.is_empty());
    here.registry().leave_all(&ada.subscriber);
    until(|| !backend.lock().detached.is_empty()).await;
    assert!(here.registry().find(ROOM).is_none());
    publish(&there, &["b"]).await;

    let mut ada = Client::new("ada");
    assert_eq!(ada.join(&here, &Room(ROOM), Some(&had)).await, Some(Recovery::Recovered));
    ada.next("$join").await;
    assert_eq!(ada.next("$replay").await[1], serde_json::json!([[2, "said", "b"]]));
}

#[tokio::test]
async fn standard_client_gets_plain_events_until_it_is_disconnected() {
    let backend = Backend::default();
    let here = node(&backend);
    let (subscriber, mut wire) = Subscriber::of_test("sails", None);
    here.registry().add(&subscriber, Target::of(&Untyped::new(ROOM)), None).await.unwrap();
    publish(&here, &["up"]).await;
    backend.down(0);
    here.publish(&Room(ROOM), said("down")).await;
    backend.up(0);
    until(|| subscriber.is_gone()).await;
    let heard: Vec<_> = std::iter::from_fn(|| wire.try_recv().ok()).collect();
    assert_eq!(heard, [r#"["said","up"]"#, r#"["said","down"]"#]);
}

#[tokio::test]
async fn an_entry_of_another_count_tells_of_that_count() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    // A new count of which this node hears nothing but its first entry.
    backend.intercept(0);
    backend.forget(ROOM);
    publish(&there, &["a"]).await;
    backend.flow(0).entry(backend.pile(0).remove(0));
    let told = ada.hears_gap().await;
    assert_eq!(told.offset, 1);
    publish(&there, &["b"]).await;
    backend.flow(0).entry(backend.pile(0).remove(0));
    ada.hears(2, "b").await;
}

#[tokio::test]
async fn a_loss_while_a_stream_attaches_anew_is_not_forgotten() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(0);
    let filter = Arc::new(Semaphore::new(0));
    backend.lock().filter = Some(filter.clone());
    let attaches = backend.lock().attaches;
    backend.flow(0).lost(ROOM);
    until(|| backend.lock().attaches == attaches + 1).await;
    // After the stream stood at 0 by the answer that is on its way.
    publish(&there, &["a"]).await;
    backend.flow(0).lost(ROOM);
    filter.add_permits(10);
    ada.hears(1, "a").await;
}

#[tokio::test(start_paused = true)]
async fn hole_is_read_although_the_task_that_waits_for_it_panics() {
    let backend = Backend::default();
    let (there, here) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(1);
    publish(&there, &["a", "b"]).await;
    backend.lock().panics = 1;
    backend.flow(1).entry(backend.pile(1)[1].clone());
    ada.hears(1, "a").await;
    ada.hears(2, "b").await;
    assert_eq!(backend.lock().panics, 0);
}

#[tokio::test(start_paused = true)]
async fn loss_is_read_although_the_task_that_reads_it_panics() {
    let backend = Backend::default();
    let (there, here) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(1);
    publish(&there, &["a"]).await;
    backend.lock().panics = 1;
    backend.flow(1).lost(ROOM);
    ada.hears(1, "a").await;
    assert_eq!(backend.lock().panics, 0);
}
