//! What an ack says of the subscriptions of its request.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::{
    EncodedEvent, History, Received,
    testing::{Hub, Untyped},
};

fn target() -> Target {
    Target { channel: "room:7".into(), stream: "room:7".into(), history: History::NONE, shape: None }
}

#[tokio::test]
async fn a_channel_stands_once_in_an_ack_however_often_it_was_asked_for() {
    let (hub, (subscriber, _wire)) = (Hub::default(), Subscriber::of_test("ada", None));
    let first = Subscriptions::default();
    assert_eq!(first.add(hub.registry(), &subscriber, target(), None).await.unwrap(), Recovery::Fresh);
    assert_eq!(first.add(hub.registry(), &subscriber, target(), None).await.unwrap(), Recovery::Fresh);
    assert_eq!(first.lock().held.len(), 1);
    first.settle(&subscriber, true).live(&subscriber);

    let second = Subscriptions::default();
    second.add(hub.registry(), &subscriber, target(), None).await.unwrap();
    second.add(hub.registry(), &subscriber, target(), None).await.unwrap();
    assert_eq!(second.lock().had.len(), 1);
    assert!(second.lock().held.is_empty());
}

fn frames(wire: &mut UnboundedReceiver<String>) -> Vec<String> {
    std::iter::from_fn(|| wire.try_recv().ok()).collect()
}

async fn subscribed(hub: &Hub, subscriber: &Subscriber) {
    let first = Subscriptions::default();
    first.add(hub.registry(), subscriber, target(), None).await.unwrap();
    first.settle(subscriber, true).live(subscriber);
}

async fn asks_again(hub: &Hub, subscriber: &Subscriber, resume: Option<Position>) -> (Subscriptions, Recovery) {
    let request = Subscriptions::default();
    if let Some(upto) = resume {
        request.resume([("room:7".to_owned(), Received { since: 0, upto, viewer: None })].into());
    }
    let outcome = request.add(hub.registry(), subscriber, target(), None).await.unwrap();
    (request, outcome)
}

fn names(settled: &Settled) -> Vec<&str> {
    settled.channels.iter().map(|(channel, ..)| &**channel).collect()
}

/// The socket leaves in these ways while a request runs that asks for the channel again.
#[tokio::test(start_paused = true)]
async fn ack_names_no_channel_that_was_left_meanwhile() {
    for way in ["another request", "the server", "expiry"] {
        let (hub, (subscriber, mut wire)) = (Hub::default(), Subscriber::of_test("ada", Some("ada")));
        let first = Subscriptions::default();
        first.expire_at(Instant::now() + Duration::from_secs(60));
        first.add(hub.registry(), &subscriber, target(), None).await.unwrap();
        first.settle(&subscriber, true).live(&subscriber);
        let (again, _) = asks_again(&hub, &subscriber, None).await;
        match way {
            "another request" => Subscriptions::default().remove(hub.registry(), &subscriber, "room:7"),
            "the server" => drop(hub.empty(&Untyped::new("room:7")).await.unwrap()),
            _ => assert!(wire.recv().await.unwrap().contains("expired")),
        }
        let settled = again.settle(&subscriber, true);
        assert_eq!(names(&settled), [""; 0], "{way}");
        settled.live(&subscriber);
        assert!(subscriber.joined().is_empty(), "{way}");
    }
}

/// The ack that names the channel waits for room, and meanwhile the socket leaves.
#[tokio::test]
async fn leaving_before_the_ack_is_sent_is_told_after_it() {
    let (hub, (subscriber, mut wire)) = (Hub::default(), Subscriber::of_test("ada", Some("ada")));
    subscribed(&hub, &subscriber).await;
    let (again, _) = asks_again(&hub, &subscriber, None).await;
    let settled = again.settle(&subscriber, true);
    assert_eq!(names(&settled), ["room:7"]);
    Subscriptions::default().remove(hub.registry(), &subscriber, "room:7");
    frames(&mut wire);
    settled.live(&subscriber);
    assert_eq!(frames(&mut wire), [r#"["$left","room:7","removed"]"#]);
}

#[tokio::test]
async fn request_that_subscribes_again_after_a_leave_is_live() {
    let (hub, (subscriber, mut wire)) = (Hub::default(), Subscriber::of_test("ada", Some("ada")));
    subscribed(&hub, &subscriber).await;
    let (again, _) = asks_again(&hub, &subscriber, None).await;
    hub.empty(&Untyped::new("room:7")).await.unwrap();
    again.add(hub.registry(), &subscriber, target(), None).await.unwrap();
    let settled = again.settle(&subscriber, true);
    assert_eq!(names(&settled), ["room:7"]);
    frames(&mut wire);
    settled.live(&subscriber);
    hub.publish(&Untyped::new("room:7"), EncodedEvent::of_test("said", "hi")).await;
    assert_eq!(frames(&mut wire), [r#"["$","room:7",1,"said","hi"]"#]);
}

/// It leaves a channel and subscribes again, or another request does.
#[tokio::test]
async fn ack_does_not_call_left_what_the_socket_has() {
    for by_itself in [true, false] {
        let (hub, (subscriber, _wire)) = (Hub::default(), Subscriber::of_test("ada", Some("ada")));
        subscribed(&hub, &subscriber).await;
        let leaves = Subscriptions::default();
        leaves.remove(hub.registry(), &subscriber, "room:7");
        if by_itself {
            leaves.add(hub.registry(), &subscriber, target(), None).await.unwrap();
        } else {
            subscribed(&hub, &subscriber).await;
        }
        assert_eq!(leaves.settle(&subscriber, true).left, [""; 0], "by itself: {by_itself}");
    }
}

#[tokio::test]
async fn recovered_is_only_for_who_says_where_it_was() {
    let (hub, (subscriber, _wire)) = (Hub::default(), Subscriber::of_test("ada", Some("ada")));
    subscribed(&hub, &subscriber).await;
    let at = hub.registry().joined(&subscriber, "room:7").unwrap().0;
    hub.registry().leave_all(&subscriber);
    let (back, _wire) = Subscriber::of_test("back", Some("ada"));
    let (first, outcome) = asks_again(&hub, &back, Some(at.clone())).await;
    assert_eq!(outcome, Recovery::Recovered);
    first.settle(&back, true).live(&back);
    for (resume, expected) in [(None, Recovery::Fresh), (Some(at), Recovery::Recovered)] {
        let (again, outcome) = asks_again(&hub, &back, resume).await;
        assert_eq!(outcome, expected, "the action");
        assert_eq!(again.settle(&back, true).channels[0].2, expected, "the ack");
    }
}

/// The client may have forgotten where it was by the time of the answer: then it starts at the offset of the ack.
#[tokio::test]
async fn ack_of_recovered_names_where_its_replay_begins() {
    let (hub, (subscriber, _wire)) = (Hub::default(), Subscriber::of_test("ada", Some("ada")));
    subscribed(&hub, &subscriber).await;
    let at = hub.registry().joined(&subscriber, "room:7").unwrap().0;
    hub.registry().leave_all(&subscriber);
    let (back, mut wire) = Subscriber::of_test("back", Some("ada"));
    let (again, _) = asks_again(&hub, &back, Some(at.clone())).await;
    hub.publish(&Untyped::new("room:7"), EncodedEvent::of_test("said", "hi")).await;
    let settled = again.settle(&back, true);
    assert_eq!(settled.channels, [("room:7".into(), at, Recovery::Recovered)]);
    settled.live(&back);
    assert_eq!(frames(&mut wire), [r#"["$replay","room:7",[[1,"said","hi"]],false]"#]);
}

#[tokio::test]
async fn refused_subscriptions_make_no_streams() {
    let (hub, (subscriber, _wire)) = (Hub::default(), Subscriber::of_test("ada", None));
    let memory = hub.registry().memory();
    hub.registry().set_max_subscriptions(2);
    hub.registry().set_max_channel_bytes(10);
    let subscriptions = Subscriptions::default();
    let add = |name: String| {
        let target =
            Target { channel: name.as_str().into(), stream: name.as_str().into(), history: History::NONE, shape: None };
        subscriptions.add(hub.registry(), &subscriber, target, None)
    };
    let too_long = add("x".repeat(11)).await.unwrap_err();
    assert!(too_long.to_string().contains("at most 10 bytes"), "{too_long}");
    for n in 0..2 {
        add(format!("{n:0>10}")).await.unwrap();
    }
    for n in 2..1000 {
        assert!(matches!(add(n.to_string()).await, Err(SubscribeError::TooMany(2))));
    }
    assert_eq!(hub.registry().all().len(), 2);
    // Had the broker been asked for those, it would count them.
    assert_eq!(memory.streams(), 2);
}

#[tokio::test]
async fn a_socket_that_is_gone_cannot_subscribe() {
    let (hub, (subscriber, _wire)) = (Hub::default(), Subscriber::of_test("ada", None));
    let subscriptions = Subscriptions::default();
    subscriptions.add(hub.registry(), &subscriber, target(), None).await.unwrap();
    subscriber.end();
    assert!(matches!(subscriptions.add(hub.registry(), &subscriber, target(), None).await, Err(SubscribeError::Gone)));
    subscriptions.settle(&subscriber, true).live(&subscriber);
    assert!(subscriber.joined().is_empty());
}
