//! What one server asks of all, on a bus that can be cut.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;

use super::CLOSINGS;
use crate::{
    History, Message, Subscriber, Target, Unreached,
    broker::mock::Backend,
    cluster::COMMANDS,
    command::Command,
    testing::{Channel, Hub, TestSocket, Untyped},
};

fn server(backend: &Backend) -> Hub {
    let hub = Hub::default();
    let flow = hub.streams().flow();
    hub.streams().join_by(|_| Ok(Arc::new(backend.connect(flow.clone())))).unwrap();
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

fn said(text: &str) -> Message {
    Message::of_test("said", text)
}

fn name(hub: &Hub) -> String {
    hub.streams().node().to_string()
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
    hub.streams().connect(&subscriber);
    hub.streams().sockets().tag(&subscriber, "user:7").unwrap();
    hub.streams().add(&subscriber, Target::of(&Kept), None).await.unwrap();
    assert!(wire.recv().await.unwrap().starts_with(r#"["$join""#));
    (subscriber, wire)
}

fn unreached<T: std::fmt::Debug>(result: Result<T, Unreached>) -> Unreached {
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
    there.streams().set_max_subscriptions(2);
    let mut bob = TestSocket::new(&there);
    let id = bob.socket().id().to_owned();
    for hub in [&here, &there] {
        assert!(hub.subscribe(&id, &room("a")).await.unwrap());
        assert!(hub.subscribe(&id, &room("b")).await.unwrap());
        assert_eq!(hub.channels(&id).await.unwrap().unwrap(), ["a", "b"]);
        let command = Command::Subscribe { socket: id.clone(), to: Target::of(&room("c")) };
        assert!(hub.streams().of_socket(command).await.unwrap().full);
        assert!(!hub.subscribe("nobody", &room("a")).await.unwrap());
        assert!(!hub.unsubscribe("nobody", &room("a")).await.unwrap());
        assert_eq!(hub.channels("nobody").await.unwrap(), None);
        hub.publish(&room("a"), said("to bob")).await;
        assert!(hub.unsubscribe(&id, &room("a")).await.unwrap());
        hub.publish(&room("a"), said("to nobody")).await;
        assert_eq!(bob.received(), [r#"["said","to bob"]"#]);
        assert_eq!(bob.socket().channels(), ["b"]);
    }
    assert!(here.streams().sockets().get(&id).is_none(), "this one is local");
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
    let Unreached { sockets, servers } = unreached(here.count(&room("a")).await);
    assert_eq!((sockets, servers), (1, vec![name(&there)]));
    assert!(matches!(here.blast(&said("to some")).await, Err(Unreached { sockets: 1, .. })));
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
    until(|| there.streams().find("kept").unwrap().lock().log.top().offset == 1).await;
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
    // A bus that brings what is published at once, before it is asked for.
    here.publish(&Kept, said("secret")).await;
    backend.pile(1).into_iter().for_each(|copy| backend.flow(1).entry(copy));
    until(|| bob.is_gone()).await;
    while let Ok(frame) = hears.try_recv() {
        assert!(!frame.contains("secret"), "{frame}");
    }
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
    until(|| there.streams().find(CLOSINGS).unwrap().lock().log.top().offset == 0).await;
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
    until(|| bob.is_gone()).await;
    assert_eq!(there.streams().sockets().all().len(), 0);
}

#[tokio::test]
async fn a_server_that_joins_closes_what_it_had_opened_before() {
    let backend = Backend::default();
    let here = server(&backend);
    let late = Hub::default();
    let flow = late.streams().flow();
    late.streams().join_by(|_| Ok(Arc::new(backend.connect(flow)))).unwrap();
    backend.down(1);
    let (bob, _wire) = Subscriber::of_test("bob", Some("bob"));
    late.streams().connect(&bob);
    late.streams().sockets().tag(&bob, "user:7").unwrap();
    tokio::time::timeout(Duration::from_secs(10), here.close_tagged("user:7", "")).await.unwrap().unwrap_err();
    backend.up(1);
    until(|| bob.is_gone()).await;
}

#[tokio::test]
async fn a_closing_that_comes_late_spares_who_logged_in_since() {
    let hub = Hub::default();
    let (bob, _wire) = tagged(&hub, "bob").await;
    let close = || Command::CloseTagged { tag: "user:7".into(), reason: String::new() };
    assert_eq!(hub.streams().carry_out(close(), bob.opened() - Duration::from_secs(60)).await.count, 0);
    assert_eq!(hub.streams().carry_out(close(), bob.opened() - Duration::from_secs(5)).await.count, 1);
}

#[tokio::test]
async fn no_channel_of_an_application_is_one_of_the_cluster() {
    let (here, there) = two(&Backend::default()).await;
    let mut bob = TestSocket::new(&there);
    bob.subscribe(&room(COMMANDS)).await.unwrap();
    let command = json!([1, { "Blast": { "event": { "name": "evil", "data": [] }, "except": [] } }]);
    here.publish(&room(COMMANDS), Message::of_test("command", &command)).await;
    until(|| !bob.received().is_empty()).await;
    assert_eq!(here.count(&room("a")).await.unwrap(), 0);
    assert_eq!(bob.received().len(), 0);
}
