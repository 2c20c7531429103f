use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{advance, timeout},
};

use super::*;
use crate::{
    EncodedEvent, History, Subscriptions,
    entry::Target,
    log::Recovery,
    pending::RENEWAL,
    sent::{Received, Resume},
    testing::{Hub, Untyped},
};

const MINUTE: Duration = Duration::from_secs(60);

/// A client of one channel without a history, on a clock that stands still while anybody has something to do.
struct Ada {
    hub: Hub,
    subscriber: Subscriber,
    wire: UnboundedReceiver<String>,
}

impl Ada {
    fn new(client: Option<&str>) -> Self {
        let (subscriber, wire) = Subscriber::of_test("ada", client);
        Self { hub: Hub::default(), subscriber, wire }
    }

    /// Subscribes by a request whose authorization ends after this time.
    async fn subscribe(&self, ends_after: Option<Duration>, resume: Option<Resume>) -> Option<Recovery> {
        let subscriptions = Subscriptions::default();
        subscriptions.resume(resume.unwrap_or_default());
        if let Some(time) = ends_after {
            subscriptions.expire_at(Instant::now() + time);
        }
        let target = Target { channel: "room".into(), stream: "room".into(), history: History::NONE, shape: None };
        let outcome = subscriptions.add(self.hub.registry(), &self.subscriber, target, None).await;
        subscriptions.settle(&self.subscriber, true).live(&self.subscriber);
        outcome.ok()
    }

    async fn publish(&self, text: &str) {
        self.hub.publish(&Untyped::new("room"), EncodedEvent::of_test("said", text)).await;
    }

    /// Where the client stands after it heard what was published first.
    fn position(&self) -> Resume {
        let stream = self.hub.registry().find("room").unwrap();
        let epoch = stream.lock().log.top().epoch.clone();
        let upto = crate::Position { epoch, offset: 1 };
        Resume::from([("room".into(), Received { since: 0, upto, viewer: None })])
    }

    async fn next(&mut self) -> String {
        timeout(10 * MINUTE, self.wire.recv()).await.expect("something is sent").expect("the hub is there")
    }

    fn is_live(&self) -> bool {
        !self.hub.registry().members(&Target::of(&Untyped::new("room"))).is_empty()
    }

    /// Lets the clock go on, and everybody do what is due by then.
    async fn wait(&self, time: Duration) {
        advance(time).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    fn alarms(&self) -> usize {
        self.hub.registry().shared.alarms.lock().by_time.len()
    }
}

const LEFT: &str = r#"["$left","room","expired"]"#;

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_its_authorization_and_is_renewed_without_a_loss() {
    let mut ada = Ada::new(Some("ada"));
    ada.subscribe(Some(MINUTE), None).await;
    ada.publish("one").await;
    assert_eq!(ada.next().await, r#"["$","room",1,"said","one"]"#);
    ada.wait(MINUTE - Duration::from_millis(5)).await;
    assert!(ada.is_live());
    assert_eq!(ada.next().await, LEFT);
    assert!(!ada.is_live() && ada.subscriber.joined().is_empty());

    ada.publish("two").await;
    assert!(ada.wire.is_empty());
    ada.wait(RENEWAL / 2).await;
    assert_eq!(ada.subscribe(Some(MINUTE), Some(ada.position())).await, Some(Recovery::Recovered));
    assert_eq!(ada.next().await, r#"["$replay","room",[[2,"said","two"]],false]"#);
    ada.publish("three").await;
    assert_eq!(ada.next().await, r#"["$","room",3,"said","three"]"#);
    assert_eq!(ada.next().await, LEFT);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_renewed_often_is_sent_each_time_what_it_missed_alone() {
    let mut ada = Ada::new(Some("ada"));
    let second = Duration::from_secs(1);
    ada.subscribe(Some(second), None).await;
    ada.publish("heard").await;
    ada.next().await;
    for offset in 2..30 {
        assert_eq!(ada.next().await, LEFT);
        ada.publish("missed").await;
        assert_eq!(ada.subscribe(Some(second), Some(ada.position())).await, Some(Recovery::Recovered));
        assert_eq!(ada.next().await, format!(r#"["$replay","room",[[{offset},"said","missed"]],false]"#));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_a_renewal_is_dropped_in_the_end() {
    let mut ada = Ada::new(Some("ada"));
    ada.subscribe(Some(MINUTE), None).await;
    ada.publish("one").await;
    ada.next().await;
    assert_eq!(ada.next().await, LEFT);
    ada.publish("two").await;
    ada.wait(RENEWAL + Duration::from_millis(5)).await;
    assert!(ada.hub.registry().find("room").unwrap().lock().is_free());
    assert_eq!(ada.subscribe(Some(MINUTE), Some(ada.position())).await, Some(Recovery::Gap));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_knows_no_positions_is_sent_nothing_more() {
    let mut ada = Ada::new(None);
    ada.subscribe(Some(MINUTE), None).await;
    ada.wait(MINUTE).await;
    ada.publish("one").await;
    assert!(!ada.is_live() && ada.wire.is_empty());
    assert!(ada.hub.registry().find("room").is_none_or(|stream| stream.lock().is_free()));
    assert_eq!(ada.subscribe(None, None).await, Some(Recovery::Fresh));
    ada.publish("two").await;
    assert_eq!(ada.next().await, r#"["said","two"]"#);
}

#[tokio::test(start_paused = true)]
async fn the_last_authorization_of_several_requests_counts() {
    let ada = Ada::new(Some("ada"));
    ada.subscribe(Some(MINUTE), None).await;
    ada.subscribe(Some(3 * MINUTE), None).await;
    ada.subscribe(Some(2 * MINUTE), None).await;
    assert_eq!(ada.alarms(), 1);
    ada.wait(2 * MINUTE).await;
    assert!(ada.is_live());
    ada.wait(MINUTE).await;
    assert!(!ada.is_live());

    // One that never ends is the last.
    ada.subscribe(Some(MINUTE), None).await;
    ada.subscribe(None, None).await;
    ada.subscribe(Some(MINUTE), None).await;
    ada.wait(RENEWAL).await;
    assert_eq!(ada.alarms(), 0);
    ada.wait(10 * MINUTE).await;
    assert!(ada.is_live());
}

#[tokio::test(start_paused = true)]
async fn two_requests_that_are_answered_after_each_other_end_with_the_later() {
    let ada = Ada::new(Some("ada"));
    let target = || Target { channel: "room".into(), stream: "room".into(), history: History::NONE, shape: None };
    let (short, long) = (Subscriptions::default(), Subscriptions::default());
    short.expire_at(Instant::now() + MINUTE);
    long.expire_at(Instant::now() + 2 * MINUTE);
    for subscriptions in [&short, &long] {
        subscriptions.add(ada.hub.registry(), &ada.subscriber, target(), None).await.unwrap();
    }
    for subscriptions in [short, long] {
        subscriptions.settle(&ada.subscriber, true).live(&ada.subscriber);
    }
    ada.wait(MINUTE).await;
    assert!(ada.is_live());
    ada.wait(MINUTE).await;
    assert!(!ada.is_live());
}

#[tokio::test(start_paused = true)]
async fn the_first_of_several_times_in_one_request_counts_and_a_past_one_leaves_nothing() {
    let ada = Ada::new(Some("ada"));
    let target = Target { channel: "room".into(), stream: "room".into(), history: History::NONE, shape: None };
    let subscriptions = Subscriptions::default();
    for time in [2 * MINUTE, MINUTE, 3 * MINUTE] {
        subscriptions.expire_at(Instant::now() + time);
    }
    subscriptions.add(ada.hub.registry(), &ada.subscriber, target, None).await.unwrap();
    subscriptions.settle(&ada.subscriber, true).live(&ada.subscriber);
    ada.wait(MINUTE).await;
    assert!(!ada.is_live());

    ada.subscribe(Some(Duration::ZERO), None).await;
    assert!(!ada.is_live());
    ada.wait(RENEWAL).await;
    assert_eq!(ada.alarms(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_alarm_goes_with_its_subscription() {
    let ada = Ada::new(Some("ada"));
    ada.subscribe(Some(MINUTE), None).await;
    assert_eq!(ada.alarms(), 1);
    ada.hub.empty(&Untyped::new("room")).await.unwrap();
    assert_eq!(ada.alarms(), 0);
    ada.subscribe(Some(MINUTE), None).await;
    ada.subscriber.end();
    ada.hub.registry().leave_all(&ada.subscriber);
    ada.wait(Duration::from_millis(1)).await;
    let alarms = ada.hub.registry().shared.alarms.lock();
    assert!(alarms.by_time.is_empty() && !alarms.running);
}

/// A subscriber that cannot be told that its subscription has ended.
struct Faulty;

impl crate::Outlet for Faulty {
    fn deliver(&self, delivery: &crate::Delivery<'_>) {
        assert!(!matches!(delivery, crate::Delivery::Left { .. }), "a mistake in the code of an outlet");
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn close(&self, _: &str) -> bool {
        false
    }

    fn disconnect(&self) {}

    fn group(&self) -> Option<Box<dyn crate::Group>> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_end_although_the_end_of_one_panicked() {
    let mut ada = Ada::new(Some("ada"));
    let outlet = Arc::new(Faulty);
    let bob = Ada {
        hub: ada.hub.clone(),
        subscriber: Subscriber::new("bob".into(), None, 0, Resume::new(), outlet),
        wire: tokio::sync::mpsc::unbounded_channel().1,
    };
    bob.subscribe(Some(MINUTE), None).await;
    ada.subscribe(Some(2 * MINUTE), None).await;
    assert_eq!(ada.next().await, r#"["$left","room","expired"]"#);
    assert!(!ada.is_live());
}
