//! What one server asks of all, on a broker that can be cut.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use serde_json::json;
use tokio::{
    sync::{Semaphore, mpsc::UnboundedReceiver},
    time::Instant,
};

use super::{CLOSINGS, KEPT, PATIENCE};
use crate::{
    Destination, EncodedEvent, History, Id, Node, PublishedEvent, Recovery, StreamEntry, SubscribeError, Subscriber,
    Subscriptions, TagError, Target, UnreachedServers,
    broker::mock::Backend,
    cluster::COMMANDS,
    commands::Command,
    testing::{Channel, Hub, TestSocket, Untyped},
};

fn server(backend: &Backend) -> Hub {
    let hub = Hub::default();
    let flow = hub.cluster().flow();
    hub.cluster().join_by(|_| Ok(Arc::new(backend.connect(flow.clone())))).unwrap();
    flow.up();
    hub
}

/// Two servers that know each other.
async fn two(backend: &Backend) -> (Hub, Hub) {
    let (here, there) = (server(backend), server(backend));
    for (one, other) in [(&here, &there), (&there, &here)] {
        let probe = TestSocket::new(other);
        // It is answered once the other has attached its streams.
        while one.emit_to(probe.socket().id(), &said("probe")).await.ok() != Some(true) {
            tokio::task::yield_now().await;
        }
    }
    (here, there)
}

fn room(name: &str) -> Untyped {
    Untyped::new(name)
}

fn said(text: &str) -> EncodedEvent {
    EncodedEvent::of_test("said", text)
}

fn name(hub: &Hub) -> String {
    hub.registry().node().to_string()
}

/// A channel that keeps what is published while a server is away.
struct Kept;

impl Channel for Kept {
    const HISTORY: History = History::of(100);

    fn name(&self) -> String {
        "kept".to_owned()
    }
}

/// A tagged socket of our own client, live in a channel, and what it is sent.
async fn tagged(hub: &Hub, client: &str) -> (Subscriber, UnboundedReceiver<String>) {
    let (subscriber, mut wire) = Subscriber::of_test(client, Some(client));
    hub.registry().connect(&subscriber);
    hub.registry().tag(&subscriber, "user:7").unwrap();
    hub.registry().add(&subscriber, Target::of(&Kept), None).await.unwrap();
    assert!(wire.recv().await.unwrap().starts_with(r#"["$join""#));
    (subscriber, wire)
}

fn unreached<T: std::fmt::Debug>(result: Result<T, UnreachedServers>) -> UnreachedServers {
    result.unwrap_err()
}

async fn until(mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it becomes so");
}

#[tokio::test]
async fn members_are_counted_listed_and_moved_on_all_servers() {
    let (here, there) = two(&Backend::default()).await;
    let (ada, bob, eve) = (TestSocket::new(&here), TestSocket::new(&there), TestSocket::new(&there));
    for socket in [&ada, &bob] {
        socket.subscribe(&room("a")).await.unwrap();
    }
    eve.subscribe(&room("b")).await.unwrap();
    for hub in [&here, &there] {
        assert_eq!((hub.count(&room("a")).await.unwrap(), hub.count(&room("b")).await.unwrap()), (2, 1));
    }
    assert_eq!(here.add_members(&room("a"), &room("b")).await.unwrap(), 2);
    let mut members = here.members(&room("b")).await.unwrap();
    members.sort();
    let mut expected = [&ada, &bob, &eve].map(|socket| socket.socket().id().to_owned());
    expected.sort();
    assert_eq!(members, expected);

    assert_eq!(here.remove_members(&room("a"), &room("b")).await.unwrap(), 2);
    assert_eq!(there.members(&room("b")).await.unwrap(), [eve.socket().id()]);
    assert_eq!(here.empty(&room("b")).await.unwrap(), 1);
    assert_eq!(here.leave_all(&room("a")).await.unwrap(), 2);
    assert_eq!((there.count(&room("a")).await.unwrap(), there.count(&room("b")).await.unwrap()), (0, 0));
}

#[tokio::test]
async fn socket_of_another_server_is_subscribed_by_its_id() {
    let (here, there) = two(&Backend::default()).await;
    there.registry().set_max_subscriptions(2);
    let mut bob = TestSocket::new(&there);
    let id = bob.socket().id().to_owned();
    for hub in [&here, &there] {
        assert!(hub.subscribe(&id, &room("a")).await.unwrap());
        assert!(hub.subscribe(&id, &room("b")).await.unwrap());
        assert_eq!(hub.channels(&id).await.unwrap().unwrap(), ["a", "b"]);
        let command = Command::Subscribe { socket: id.clone(), to: Target::of(&room("c")) };
        assert!(hub.cluster().of_socket(command).await.unwrap().full);
        assert!(!hub.subscribe("nobody", &room("a")).await.unwrap());
        assert!(!hub.unsubscribe("nobody", &room("a")).await.unwrap());
        assert_eq!(hub.channels("nobody").await.unwrap(), None);
        hub.publish(&room("a"), said("to bob")).await;
        assert!(hub.unsubscribe(&id, &room("a")).await.unwrap());
        hub.publish(&room("a"), said("to nobody")).await;
        assert_eq!(bob.received(), [r#"["said","to bob"]"#]);
        assert_eq!(bob.socket().channels(), ["b"]);
    }
    assert!(here.registry().sockets().get(&id).is_none(), "this one is local");
}

#[tokio::test(start_paused = true)]
async fn missing_server_matters_only_if_the_socket_is_not_found() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let (ada, bob) = (TestSocket::new(&here), TestSocket::new(&there));
    backend.down(1);
    assert!(here.subscribe(ada.socket().id(), &room("a")).await.unwrap());
    assert_eq!(unreached(here.subscribe(bob.socket().id(), &room("a")).await).servers, [name(&there)]);
    assert_eq!(here.channels(bob.socket().id()).await.unwrap_err().servers, [name(&there)]);
}

#[tokio::test]
async fn an_event_reaches_one_socket_or_all_wherever_they_are() {
    let (here, there) = two(&Backend::default()).await;
    let (mut ada, mut bob) = (TestSocket::new(&here), TestSocket::new(&there));
    assert!(here.emit_to(bob.socket().id(), &said("to bob")).await.unwrap());
    assert!(!here.emit_to("nobody", &said("to nobody")).await.unwrap());
    assert_eq!(there.blast(&said("to all")).await.unwrap(), 2);
    assert_eq!(here.blast_except(&said("to ada"), bob.socket()).await.unwrap(), 1);
    assert_eq!(ada.received(), [r#"["said","to all"]"#, r#"["said","to ada"]"#]);
    assert_eq!(bob.received(), [r#"["said","to bob"]"#, r#"["said","to all"]"#]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_named() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let (mut ada, mut bob) = (TestSocket::new(&here), TestSocket::new(&there));
    for socket in [&ada, &bob] {
        socket.subscribe(&room("a")).await.unwrap();
    }
    backend.down(1);
    let UnreachedServers { sockets, servers } = unreached(here.count(&room("a")).await);
    assert_eq!((sockets, servers), (1, vec![name(&there)]));
    assert!(matches!(here.blast(&said("to some")).await, Err(UnreachedServers { sockets: 1, .. })));
    assert!(here.emit_to(ada.socket().id(), &said("to ada")).await.unwrap());
    assert!(here.emit_to(bob.socket().id(), &said("to bob")).await.is_err());
    // The one that is cut off itself knows who was there.
    assert_eq!(unreached(there.count(&room("a")).await).servers, [name(&here)]);
    assert_eq!(ada.received(), [r#"["said","to some"]"#, r#"["said","to ada"]"#]);
    assert_eq!(bob.received().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_away_closes_before_it_delivers() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let (_ada, mut ada) = tagged(&here, "ada").await;
    let (bob, mut hears) = tagged(&there, "bob").await;
    backend.down(1);
    let unreached = here.close_tagged("user:7", "logged out").await.unwrap_err();
    assert_eq!((unreached.sockets, unreached.servers), (1, vec![name(&there)]));
    here.publish(&Kept, said("secret")).await;
    assert!(!bob.is_gone());
    backend.up(1);
    until(|| bob.is_gone()).await;
    until(|| there.registry().find("kept").unwrap().lock().log.top().offset == 1).await;
    for wire in [&mut ada, &mut hears] {
        while let Ok(frame) = wire.try_recv() {
            assert!(!frame.contains("secret"), "{frame}");
        }
    }
}

#[tokio::test]
async fn the_bus_is_not_asked_while_it_brings_something() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let bob = TestSocket::new(&there);
    bob.subscribe(&room("a")).await.unwrap();
    let attaches = backend.lock().attaches;
    let (a, b) = (room("a"), room("b"));
    let mut adding = Box::pin(here.add_members(&a, &b));
    assert!(adding.as_mut().now_or_never().is_none());
    assert_eq!(backend.lock().attaches, attaches);
    assert_eq!(adding.await.unwrap(), 1);
    assert_eq!(backend.lock().attaches, attaches + 1);
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_a_server_knows_whom_to_close_waits() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let (bob, mut hears) = tagged(&there, "bob").await;
    backend.down(1);
    here.close_tagged("user:7", "logged out").await.unwrap_err();
    backend.intercept(1);
    backend.up(1);
    // A broker that brings what is published at once, before it is asked for.
    here.publish(&Kept, said("secret")).await;
    backend.pile(1).into_iter().for_each(|copy| backend.flow(1).entry(copy));
    until(|| bob.is_gone()).await;
    while let Ok(frame) = hears.try_recv() {
        assert!(!frame.contains("secret"), "{frame}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_lost_closing_waits() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let (bob, mut hears) = tagged(&there, "bob").await;
    // It is read again, as what was lost on the way is.
    backend.garble(1, CLOSINGS);
    let closing = here.close_tagged("user:7", "logged out");
    let publish = async {
        until(|| here.registry().find(CLOSINGS).unwrap().lock().log.top().offset == 1).await;
        here.publish(&Kept, said("secret")).await;
    };
    let (closed, ()) = tokio::join!(closing, publish);
    assert_eq!(closed, Ok(1));
    until(|| bob.is_gone()).await;
    assert_eq!(hears.recv().await.as_deref(), Some(r#"["$left",null,"logged out"]"#));
    until(|| there.registry().find("kept").unwrap().lock().log.top().offset == 1).await;
    assert!(!there.registry().is_down());
}

#[tokio::test(start_paused = true)]
async fn what_was_closed_while_the_bus_was_away_is_closed_elsewhere_once_it_is_back() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let (bob, _wire) = tagged(&there, "bob").await;
    backend.down(0);
    assert_eq!(here.close_tagged("user:7", "logged out").await.unwrap_err().servers, [name(&there)]);
    assert!(!bob.is_gone());
    backend.up(0);
    until(|| bob.is_gone()).await;
}

#[tokio::test(start_paused = true)]
async fn closing_that_the_broker_refuses_is_given_to_it_again() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let (bob, _wire) = tagged(&there, "bob").await;
    backend.lock().refused = true;
    assert_eq!(here.close_tagged("user:7", "logged out").await.unwrap_err().servers, [name(&there)]);
    assert!(!here.is_alone());
    until(|| bob.is_gone()).await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_lost_its_memory_is_told_of_closings_again() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let (bob, _wire) = tagged(&there, "bob").await;
    backend.down(1);
    here.close_tagged("user:7", "logged out").await.unwrap_err();
    backend.down(0);
    backend.forget(CLOSINGS);
    backend.up(1);
    // It has read what the backend knows, which is nothing.
    until(|| there.registry().find(CLOSINGS).unwrap().lock().log.top().offset == 0).await;
    assert!(!bob.is_gone());
    backend.up(0);
    until(|| bob.is_gone()).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_away_for_too_long_lets_all_in_anew() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let (bob, _wire) = tagged(&there, "bob").await;
    backend.down(1);
    here.close_tagged("user:8", "").await.unwrap_err();
    here.close_tagged("user:9", "").await.unwrap_err();
    backend.trim(CLOSINGS, 1);
    backend.up(1);
    // Its login was read before: it is about to be let in.
    let (eve, _wire) = Subscriber::of_test("eve", Some("eve"));
    until(|| bob.is_gone()).await;
    assert_eq!(there.registry().sockets().all().len(), 0);
    assert!(matches!(there.registry().tag(&eve, "user:8"), Err(TagError::Gone)));
    let (ada, _wire) = Subscriber::of_test("ada", Some("ada"));
    there.registry().tag(&ada, "user:8").unwrap();
}

#[tokio::test]
async fn a_server_that_joins_closes_what_it_had_opened_before() {
    let backend = Backend::default();
    let here = server(&backend);
    let late = Hub::default();
    let flow = late.cluster().flow();
    late.cluster().join_by(|_| Ok(Arc::new(backend.connect(flow)))).unwrap();
    backend.down(1);
    let (bob, _wire) = Subscriber::of_test("bob", Some("bob"));
    late.registry().connect(&bob);
    late.registry().tag(&bob, "user:7").unwrap();
    tokio::time::timeout(Duration::from_secs(10), here.close_tagged("user:7", "")).await.unwrap().unwrap_err();
    backend.up(1);
    until(|| bob.is_gone()).await;
}

/// Two sockets of one user, on two servers, and a broker that has become a black hole.
async fn before_a_black_hole(backend: &Backend) -> ([Hub; 2], [Subscriber; 2]) {
    let (here, there) = two(backend).await;
    let (ada, _wire) = tagged(&here, "ada").await;
    let (bob, _wire) = tagged(&there, "bob").await;
    backend.lock().black_hole = true;
    ([here, there], [ada, bob])
}

async fn soon<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), call).await.expect("it is answered")
}

fn repair(backend: &Backend) {
    backend.lock().black_hole = false;
    backend.down(0);
    backend.up(0);
}

#[tokio::test(start_paused = true)]
async fn closing_goes_on_when_its_request_is_cancelled() {
    let backend = Backend::default();
    let ([here, _there], [ada, bob]) = before_a_black_hole(&backend).await;
    let mut closing = Box::pin(here.close_tagged("user:7", "logged out"));
    assert!(closing.as_mut().now_or_never().is_none());
    drop(closing);
    until(|| ada.is_gone()).await;
    assert!(!bob.is_gone());
    repair(&backend);
    until(|| bob.is_gone()).await;
}

#[tokio::test(start_paused = true)]
async fn calls_to_all_servers_end_within_2_seconds() {
    let backend = Backend::default();
    let ([here, there], [ada, bob]) = before_a_black_hole(&backend).await;
    let began = Instant::now();
    // Who is there is known since the last call that was answered.
    assert_eq!(unreached(soon(here.count(&Kept)).await), UnreachedServers { sockets: 1, servers: vec![name(&there)] });
    assert_eq!(began.elapsed(), PATIENCE);
    let began = Instant::now();
    assert_eq!(unreached(soon(here.close_tagged("user:7", "")).await).servers, [name(&there)]);
    assert_eq!(began.elapsed(), PATIENCE);
    assert!(ada.is_gone() && !bob.is_gone());
    repair(&backend);
    until(|| bob.is_gone()).await;
}

#[tokio::test(start_paused = true)]
async fn server_that_is_late_itself_is_named() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let ada = TestSocket::new(&here);
    ada.subscribe(&room("a")).await.unwrap();
    backend.lock().filter = Some(Arc::new(Semaphore::new(0)));
    let began = Instant::now();
    assert_eq!(unreached(soon(here.add_members(&room("a"), &room("b"))).await).servers, [name(&here)]);
    assert_eq!(began.elapsed(), PATIENCE);
    drop(there);
}

/// Brings a server a closing that another one gives, at the next position.
fn bring_closing(hub: &Hub, number: u64, at: SystemTime) {
    let command = Command::CloseTagged { tag: "user:7".into(), reason: "logged out".into() };
    let mut position = hub.registry().find(CLOSINGS).unwrap().lock().log.top().clone();
    position.offset += 1;
    let target = Target { channel: CLOSINGS.into(), stream: CLOSINGS.into(), history: KEPT, shape: None };
    let entry = PublishedEvent {
        id: Id { node: Node(1), number: 0 },
        message: EncodedEvent::of_test("", &(number, command)),
        except: Vec::new(),
        destinations: vec![Destination { target, position: Some(position) }],
        at,
    };
    hub.cluster().flow().entry(StreamEntry::of(Arc::new(entry), 0));
}

#[tokio::test]
async fn closing_does_not_depend_on_the_clocks_of_servers() {
    let (here, _there) = two(&Backend::default()).await;
    for minutes in [-60, 0, 60] {
        let (ada, _wire) = tagged(&here, "ada").await;
        let apart = Duration::from_secs(60 * i64::unsigned_abs(minutes));
        let at = if minutes < 0 { SystemTime::now() - apart } else { SystemTime::now() + apart };
        bring_closing(&here, minutes.unsigned_abs() + 1 + u64::from(minutes < 0), at);
        assert!(ada.is_gone(), "a clock is {minutes} minutes ahead");
    }
}

#[tokio::test]
async fn closing_that_comes_again_spares_who_logged_in_since() {
    let (here, _there) = two(&Backend::default()).await;
    let (ada, _wire) = tagged(&here, "ada").await;
    bring_closing(&here, 1, SystemTime::now());
    assert!(ada.is_gone());
    let (bob, _wire) = tagged(&here, "bob").await;
    bring_closing(&here, 1, SystemTime::now());
    assert!(!bob.is_gone());
    bring_closing(&here, 2, SystemTime::now());
    assert!(bob.is_gone());
}

#[tokio::test(start_paused = true)]
async fn closing_that_a_backend_forgot_spares_who_logged_in_since() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    here.close_tagged("user:7", "logged out").await.unwrap();
    let (bob, _wire) = tagged(&there, "bob").await;
    let before = there.registry().find(CLOSINGS).unwrap().lock().log.top().clone();
    backend.down(0);
    backend.forget(CLOSINGS);
    backend.up(0);
    until(|| {
        let top = there.registry().find(CLOSINGS).unwrap().lock().log.top().clone();
        top.epoch != before.epoch && top.offset == 1
    })
    .await;
    assert!(!bob.is_gone());
}

#[tokio::test(start_paused = true)]
async fn socket_of_an_outage_is_let_in_anew_by_a_late_closing() {
    let backend = Backend::default();
    let (here, there) = two(&backend).await;
    let (bob, mut before) = tagged(&there, "bob").await;
    backend.down(1);
    // This server cannot know whether the user logged in before the closing or after it.
    let (eve, mut meanwhile) = Subscriber::of_test("eve", Some("eve"));
    there.registry().connect(&eve);
    there.registry().tag(&eve, "user:7").unwrap();
    let (dan, mut later) = Subscriber::of_test("dan", Some("dan"));
    there.registry().connect(&dan);
    here.close_tagged("user:7", "logged out").await.unwrap_err();
    backend.up(1);
    until(|| bob.is_gone() && eve.is_gone()).await;
    assert!(matches!(there.registry().tag(&dan, "user:7"), Err(TagError::Gone)));
    assert!(dan.is_gone() && later.try_recv().is_err());
    assert_eq!(before.recv().await.unwrap(), r#"["$left",null,"logged out"]"#);
    assert!(meanwhile.try_recv().is_err(), "its client connects again");
    assert_eq!(there.registry().sockets().all().len(), 0);
}

#[tokio::test]
async fn tag_that_was_closed_since_the_connection_began_is_refused() {
    let (here, there) = two(&Backend::default()).await;
    let sockets = [TestSocket::new(&here), TestSocket::new(&there)];
    assert_eq!(here.close_tagged("user:7", "logged out").await.unwrap(), 0);
    for (hub, socket) in [&here, &there].into_iter().zip(&sockets) {
        socket.tag("user:8").unwrap();
        assert!(matches!(socket.tag("user:7"), Err(TagError::Gone)));
        assert!(socket.socket().is_gone());
        assert!(hub.registry().sockets().tagged("user:7").is_empty() && hub.registry().sockets().all().is_empty());
        TestSocket::new(hub).tag("user:7").unwrap();
    }
}

#[tokio::test]
async fn subscription_to_what_was_closed_since_its_request_began_is_refused() {
    let (here, there) = two(&Backend::default()).await;
    for hub in [&here, &there] {
        let (early, later) = (TestSocket::new(hub), TestSocket::new(hub));
        let subscribe = async |socket: &TestSocket, request: &Subscriptions| {
            request.add(hub.registry(), socket.socket(), Target::of(&room("a")), None).await
        };
        let request = Subscriptions::default();
        assert_eq!(here.close_members(&room("a"), "closed").await.unwrap(), 0);
        assert!(matches!(subscribe(&early, &request).await, Err(SubscribeError::Gone)));
        assert!(early.socket().is_gone());
        assert_eq!(here.count(&room("a")).await.unwrap(), 0);
        // This one is asked of a connection from before the closing, by a request from after it.
        assert_eq!(subscribe(&later, &Subscriptions::default()).await.unwrap(), Recovery::Fresh);
    }
}

#[tokio::test]
async fn no_channel_of_an_application_is_one_of_the_cluster() {
    let (here, there) = two(&Backend::default()).await;
    let mut bob = TestSocket::new(&there);
    bob.subscribe(&room(COMMANDS)).await.unwrap();
    let command = json!([1, { "Blast": { "event": { "name": "evil", "data": [] }, "except": [] } }]);
    here.publish(&room(COMMANDS), EncodedEvent::of_test("command", &command)).await;
    until(|| !bob.received().is_empty()).await;
    assert_eq!(here.count(&room("a")).await.unwrap(), 0);
    assert_eq!(bob.received().len(), 0);
}
