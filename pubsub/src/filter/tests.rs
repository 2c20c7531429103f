//! What passes filters: live, in replays, of several viewers, and when one panics.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use serde_json::value::to_raw_value;
use tokio::{sync::mpsc::UnboundedReceiver, time::Instant};

use super::*;
use crate::{
    FILTERED, History, Position, PublishOutcome, Received, SubscribeError, Subscriber, Subscriptions, Target,
    active::UNTOLD,
    broker::mock,
    expiry::JITTER,
    log::Recovery,
    testing::{Hub, Untyped},
};

/// Lets numbers through that it knows, doubled.
#[derive(Debug)]
struct Numbers {
    viewer: &'static str,
    known: Mutex<HashSet<u64>>,
}

impl Numbers {
    fn of(numbers: impl IntoIterator<Item = u64>) -> Arc<Self> {
        Self::of_viewer("", numbers)
    }

    fn of_viewer(viewer: &'static str, numbers: impl IntoIterator<Item = u64>) -> Arc<Self> {
        Arc::new(Self { viewer, known: Mutex::new(numbers.into_iter().collect()) })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventFilter for Numbers {
    fn pass(&self, event: &FilterInput<'_>) -> Option<Arc<EncodedEvent>> {
        let number: u64 = serde_json::from_str(event.message.arguments[0].get()).unwrap();
        self.known().contains(&number).then(|| Arc::new(message(2 * number)))
    }

    fn same_viewer(&self, other: &dyn EventFilter) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<Self>().is_some_and(|other| other.viewer == self.viewer)
    }

    fn viewer(&self) -> u64 {
        self.viewer.len() as u64
    }

    fn widen(&self, by: &dyn EventFilter) {
        let by: &dyn Any = by;
        let by: Vec<u64> = by.downcast_ref::<Self>().into_iter().flat_map(|by| by.known().clone()).collect();
        self.known().extend(by);
    }
}

/// Lets all numbers through, and panics at 13.
#[derive(Debug)]
struct Faulty;

impl EventFilter for Faulty {
    fn pass(&self, event: &FilterInput<'_>) -> Option<Arc<EncodedEvent>> {
        assert_ne!(event.message.arguments[0].get(), "13", "a policy that unwraps a column");
        Some(Arc::new(event.message.clone()))
    }

    fn same_viewer(&self, _: &dyn EventFilter) -> bool {
        true
    }

    fn viewer(&self) -> u64 {
        0
    }

    fn widen(&self, _: &dyn EventFilter) {
        panic!("a policy that cannot be widened");
    }
}

fn message(number: u64) -> EncodedEvent {
    EncodedEvent { name: "n".into(), arguments: vec![to_raw_value(&number).unwrap()] }
}

fn channel() -> Target {
    let stream = format!("{FILTERED}numbers").into();
    Target { channel: "numbers".into(), stream, history: History::of(100), shape: None }
}

async fn publish(hub: &Hub, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        hub.registry().publish(vec![channel()], message(number), Vec::new()).await;
    }
}

/// A request that subscribes behind a filter, with what is done before it is answered, and what the answer says.
async fn subscribe(
    hub: &Hub,
    subscriber: &Subscriber,
    filter: Arc<dyn EventFilter>,
    resume: Option<Position>,
    before: impl AsyncFnOnce(),
) -> Vec<Recovery> {
    let subscriptions = Subscriptions::default();
    if let Some(upto) = resume {
        let received = Received { since: 0, upto, viewer: Some(filter.viewer()) };
        subscriptions.resume([("numbers".to_owned(), received)].into());
    }
    subscriptions.add(hub.registry(), subscriber, channel(), Some(filter)).await.unwrap();
    before().await;
    let settled = subscriptions.settle(subscriber, true);
    assert!(settled.is_filtered("numbers"));
    let outcomes = settled.channels.iter().map(|(.., outcome)| *outcome).collect();
    settled.live(subscriber);
    outcomes
}

/// As a relay does that was killed before it could say that it had published.
async fn publish_once(hub: &Hub, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        assert!(hub.registry().publish_once((7, number), channel(), message(number), Vec::new()).await);
    }
}

fn frames(wire: &mut UnboundedReceiver<String>) -> Vec<String> {
    std::iter::from_fn(|| wire.try_recv().ok()).collect()
}

#[tokio::test]
async fn request_for_a_channel_that_a_full_socket_has_is_accepted() {
    let hub = Hub::default();
    hub.registry().set_max_subscriptions(1);
    let (ada, mut wire) = Subscriber::of_test("ada", None);
    subscribe(&hub, &ada, Numbers::of([1]), None, async || {}).await;
    subscribe(&hub, &ada, Numbers::of([2]), None, async || {}).await;
    publish(&hub, [1, 2]).await;
    assert_eq!(frames(&mut wire), [r#"["n",2]"#, r#"["n",4]"#]);
    let another = Target { channel: "others".into(), ..channel() };
    let refused = Subscriptions::default().add(hub.registry(), &ada, another, None).await;
    assert!(matches!(refused, Err(SubscribeError::TooMany(1))));
}

#[tokio::test]
async fn each_socket_is_sent_what_its_gate_makes_of_an_event() {
    let hub = Hub::default();
    let (ada, mut ours) = Subscriber::of_test("ada", Some("ada"));
    let (bob, mut stock) = Subscriber::of_test("bob", None);
    subscribe(&hub, &ada, Numbers::of([1, 3]), None, async || publish(&hub, [1, 2]).await).await;
    subscribe(&hub, &bob, Numbers::of([3]), None, async || {}).await;
    publish(&hub, [3, 4]).await;
    assert_eq!(frames(&mut ours), [r#"["$replay","numbers",[[1,"n",2]],false]"#, r#"["$","numbers",3,"n",6]"#]);
    assert_eq!(frames(&mut stock), [r#"["n",6]"#]);
    // The client is told now and then how far it is, though nothing was for it.
    publish(&hub, (0..UNTOLD).map(|_| 4)).await;
    assert_eq!(frames(&mut ours), [format!(r#"["$","numbers",{}]"#, 3 + UNTOLD)]);
    assert_eq!(frames(&mut stock).len(), 0);
}

#[tokio::test]
async fn a_replay_passes_the_gate_of_who_comes_back() {
    let hub = Hub::default();
    let (ada, _wire) = Subscriber::of_test("ada", Some("ada"));
    subscribe(&hub, &ada, Numbers::of([1, 2, 3]), None, async || {}).await;
    let start = hub.registry().joined(&ada, "numbers").unwrap().0;
    publish(&hub, [1, 2, 3]).await;
    let (back, mut wire) = Subscriber::of_test("back", Some("ada"));
    subscribe(&hub, &back, Numbers::of([2]), Some(start), async || {}).await;
    assert_eq!(frames(&mut wire), [r#"["$replay","numbers",[[2,"n",4]],false]"#]);
}

#[tokio::test]
async fn a_second_subscription_misses_nothing_and_doubles_nothing() {
    let hub = Hub::default();
    let (ada, mut wire) = Subscriber::of_test("ada", Some("ada"));
    subscribe(&hub, &ada, Numbers::of([1]), None, async || {}).await;
    // What the second wants is published while it is asked for.
    subscribe(&hub, &ada, Numbers::of([1, 2]), None, async || publish(&hub, [1, 2, 3]).await).await;
    publish(&hub, [2, 3]).await;
    assert_eq!(frames(&mut wire), [r#"["$","numbers",1,"n",2]"#, r#"["n",4]"#, r#"["$","numbers",4,"n",4]"#]);
    assert!(hub.registry().find(&channel().stream).unwrap().lock().is_free());
}

#[tokio::test]
async fn a_second_subscription_recovers_only_if_it_says_since_when() {
    let hub = Hub::default();
    let (ada, _wire) = Subscriber::of_test("ada", Some("ada"));
    subscribe(&hub, &ada, Numbers::of([1, 2]), None, async || {}).await;
    let start = hub.registry().joined(&ada, "numbers").unwrap().0;
    publish(&hub, [1, 2]).await;
    for (resume, outcome, hidden) in [(Some(start.clone()), Recovery::Recovered, 1), (None, Recovery::Fresh, 0)] {
        let (back, mut wire) = Subscriber::of_test("back", Some("ada"));
        subscribe(&hub, &back, Numbers::of([1]), Some(start.clone()), async || {}).await;
        frames(&mut wire);
        let settled = subscribe(&hub, &back, Numbers::of([2]), resume, async || {}).await;
        assert_eq!(settled, [outcome]);
        assert_eq!(frames(&mut wire).len(), hidden);
        hub.registry().leave_all(&back);
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const LEFT: &str = r#"["$left","numbers","expired"]"#;

/// A request whose authorization ends after this time.
async fn held(
    hub: &Hub,
    subscriber: &Subscriber,
    filter: Arc<Numbers>,
    end: Option<Duration>,
    resume: Option<Position>,
) -> (Subscriptions, Recovery) {
    let subscriptions = Subscriptions::default();
    if let Some(time) = end {
        subscriptions.expire_at(Instant::now() + time);
    }
    if let Some(upto) = resume {
        let received = Received { since: 0, upto, viewer: Some(filter.viewer()) };
        subscriptions.resume([("numbers".to_owned(), received)].into());
    }
    let outcome = subscriptions.add(hub.registry(), subscriber, channel(), Some(filter)).await.unwrap();
    (subscriptions, outcome)
}

async fn subscribe_until(hub: &Hub, subscriber: &Subscriber, filter: Arc<Numbers>, end: Option<Duration>) {
    held(hub, subscriber, filter, end, None).await.0.settle(subscriber, true).live(subscriber);
}

/// Lets the clock go on, and everybody do what is due by then.
async fn wait(time: Duration) {
    tokio::time::advance(time).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn another_viewer_replaces_the_first() {
    let hub = Hub::default();
    let (ada, mut ours) = Subscriber::of_test("ada", Some("ada"));
    let (bob, mut stock) = Subscriber::of_test("bob", None);
    for socket in [&ada, &bob] {
        subscribe(&hub, socket, Numbers::of_viewer("first", [1, 2]), None, async || {}).await;
    }
    for socket in [&ada, &bob] {
        subscribe(&hub, socket, Numbers::of_viewer("second", [2, 3]), None, async || {}).await;
    }
    publish(&hub, [1, 2, 3]).await;
    let heard = frames(&mut ours);
    assert!(heard[0].starts_with(r#"["$gap","numbers""#) && heard[0].ends_with(r#"0,"missed"]"#), "{heard:?}");
    assert_eq!(heard[1..], [r#"["$","numbers",2,"n",4]"#, r#"["$","numbers",3,"n",6]"#]);
    assert!(!bob.is_gone(), "a client that knows no gaps asked for this itself");
    assert_eq!(frames(&mut stock), [r#"["n",4]"#, r#"["n",6]"#]);
}

#[tokio::test]
async fn another_viewer_misses_nothing_since_it_subscribed() {
    let hub = Hub::default();
    let (ada, mut wire) = Subscriber::of_test("ada", Some("ada"));
    subscribe(&hub, &ada, Numbers::of_viewer("first", [1]), None, async || {}).await;
    let second = Numbers::of_viewer("second", [1, 2]);
    subscribe(&hub, &ada, second, None, async || publish(&hub, [1, 2]).await).await;
    let heard = frames(&mut wire);
    assert_eq!(heard[..2], [r#"["$","numbers",1,"n",2]"#, r#"["n",4]"#]);
    assert!(heard[2].starts_with(r#"["$gap","numbers""#) && heard.len() == 3, "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn another_viewer_neither_extends_nor_shortens() {
    for (first, second) in [(Some(MINUTE), None), (None, Some(MINUTE)), (Some(MINUTE), Some(3 * MINUTE))] {
        let hub = Hub::default();
        let (ada, mut wire) = Subscriber::of_test("ada", Some("ada"));
        subscribe_until(&hub, &ada, Numbers::of_viewer("first", [1]), first).await;
        subscribe_until(&hub, &ada, Numbers::of_viewer("second", [2]), second).await;
        frames(&mut wire);
        wait(2 * MINUTE).await;
        publish(&hub, [1, 2]).await;
        match second {
            Some(MINUTE) => assert_eq!(frames(&mut wire), [LEFT]),
            _ => assert_eq!(frames(&mut wire), [r#"["$","numbers",2,"n",4]"#], "{first:?} {second:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn same_viewer_extends() {
    let hub = Hub::default();
    let (ada, mut wire) = Subscriber::of_test("ada", Some("ada"));
    for end in [Some(2 * MINUTE), Some(MINUTE), None] {
        subscribe_until(&hub, &ada, Numbers::of([1]), end).await;
    }
    wait(3 * MINUTE).await;
    publish(&hub, [1]).await;
    assert_eq!(frames(&mut wire), [r#"["$","numbers",1,"n",2]"#]);
}

/// It was asked for before the socket had its present viewer, and is answered after.
#[tokio::test]
async fn slow_request_of_a_former_viewer_does_not_come_back() {
    let hub = Hub::default();
    let (ada, mut wire) = Subscriber::of_test("ada", Some("ada"));
    subscribe(&hub, &ada, Numbers::of_viewer("former", [1]), None, async || {}).await;
    let (slow, _) = held(&hub, &ada, Numbers::of_viewer("former", [1]), None, None).await;
    subscribe(&hub, &ada, Numbers::of_viewer("present", [2]), None, async || {}).await;
    slow.settle(&ada, true).live(&ada);
    frames(&mut wire);
    publish(&hub, [1, 2]).await;
    assert_eq!(frames(&mut wire), [r#"["$","numbers",2,"n",4]"#]);
}

/// What is kept after an end is for the viewer whose subscription it was.
#[tokio::test(start_paused = true)]
async fn another_viewer_does_not_use_up_a_renewal() {
    let hub = Hub::default();
    let (ada, mut wire) = Subscriber::of_test("ada", Some("ada"));
    subscribe_until(&hub, &ada, Numbers::of_viewer("first", [1]), Some(MINUTE)).await;
    let start = hub.registry().joined(&ada, "numbers").unwrap().0;
    // More than the history holds, and nothing of it for the first.
    publish(&hub, (0..200).map(|_| 2)).await;
    wait(2 * MINUTE).await;
    assert_eq!(frames(&mut wire).last().unwrap(), LEFT);
    let again = async |viewer, number| {
        let (request, outcome) =
            held(&hub, &ada, Numbers::of_viewer(viewer, [number]), None, Some(start.clone())).await;
        request.settle(&ada, true).live(&ada);
        outcome
    };
    assert_eq!(again("second", 2).await, Recovery::Gap, "the second was not subscribed, and has missed 200");
    assert_eq!(again("first", 1).await, Recovery::Recovered);
}

/// The position of one viewer, in the request of another: neither is it recovered, nor is anything sent of what came since.
#[tokio::test]
async fn position_of_another_viewer_is_a_gap() {
    let hub = Hub::default();
    let (ada, _wire) = Subscriber::of_test("ada", Some("ada"));
    let [first, second] = ["first", "second"].map(|viewer| Numbers::of_viewer(viewer, [1, 2]));
    subscribe(&hub, &ada, first.clone(), None, async || {}).await;
    let upto = hub.registry().joined(&ada, "numbers").unwrap().0;
    hub.registry().leave_all(&ada);
    publish(&hub, [1, 2]).await;
    let viewer = |filter: &Numbers| Some(filter.viewer());
    for (viewer, outcome, replays) in
        [(viewer(&first), Recovery::Gap, 0), (None, Recovery::Gap, 0), (viewer(&second), Recovery::Recovered, 1)]
    {
        let (back, mut wire) = Subscriber::of_test("back", Some("ada"));
        let request = Subscriptions::default();
        request.resume([("numbers".to_owned(), Received { since: 0, upto: upto.clone(), viewer })].into());
        assert_eq!(request.add(hub.registry(), &back, channel(), Some(second.clone())).await.unwrap(), outcome);
        let settled = request.settle(&back, true);
        assert_eq!(settled.viewer("numbers"), Some(second.viewer()));
        settled.live(&back);
        assert_eq!(frames(&mut wire).len(), replays, "{viewer:?}");
        hub.registry().leave_all(&back);
    }
}

#[tokio::test]
async fn what_is_published_twice_is_sent_once() {
    let backend = mock::Backend::default();
    let [hub, other] = [0, 1].map(|node| {
        let hub = Hub::default();
        hub.cluster().join_by(|flow| Ok(Arc::new(backend.connect(flow)))).unwrap();
        backend.up(node);
        hub
    });
    while hub.is_alone() || other.is_alone() {
        tokio::task::yield_now().await;
    }
    let (ada, mut ours) = Subscriber::of_test("ada", Some("ada"));
    subscribe(&hub, &ada, Numbers::of(1..9), None, async || {}).await;
    let start = hub.registry().joined(&ada, "numbers").unwrap().0;
    publish_once(&hub, [1, 2]).await;
    publish_once(&other, [2, 3]).await;
    publish_once(&hub, [1]).await;
    assert_eq!(
        frames(&mut ours),
        [r#"["$","numbers",1,"n",2]"#, r#"["$","numbers",2,"n",4]"#, r#"["$","numbers",4,"n",6]"#]
    );
    // Nor is it sent twice to whoever comes back, here or to a server that has all of it from the broker.
    for hub in [hub, other] {
        let (back, mut wire) = Subscriber::of_test("back", Some("ada"));
        subscribe(&hub, &back, Numbers::of(1..9), Some(start.clone()), async || {}).await;
        assert_eq!(frames(&mut wire), [r#"["$replay","numbers",[[1,"n",2],[2,"n",4],[4,"n",6]],false]"#]);
    }
}

/// Two servers that can reach each other.
fn two() -> [Hub; 2] {
    let backend = mock::Backend::default();
    [0, 1].map(|_| {
        let hub = Hub::default();
        hub.cluster().join_by(|flow| Ok(Arc::new(backend.connect(flow)))).unwrap();
        assert!(hub.registry().end_outage(hub.registry().outage()));
        hub
    })
}

/// The gap of a channel without its epoch.
fn gap(offset: u64, reason: &str) -> impl Fn(&String) -> bool {
    let end = format!(",{offset},\"{reason}\"]");
    move |frame| frame.starts_with(r#"["$gap","numbers","#) && frame.ends_with(&end)
}

#[tokio::test]
async fn panicking_filter_is_a_gap_for_its_subscriber_alone() {
    let [here, there] = two();
    let (ada, mut ours) = Subscriber::of_test("ada", Some("ada"));
    let (stock, mut plain) = Subscriber::of_test("stock", None);
    let (bob, mut theirs) = Subscriber::of_test("bob", Some("bob"));
    for faulty in [&ada, &stock] {
        subscribe(&here, faulty, Arc::new(Faulty), None, async || {}).await;
    }
    subscribe(&here, &bob, Numbers::of([1, 13, 2]), None, async || {}).await;
    for (hub, number) in [(&there, 1), (&there, 13), (&here, 13), (&there, 2)] {
        let published = hub.registry().publish(vec![channel()], message(number), Vec::new()).await;
        assert_eq!(published, PublishOutcome::Delivered);
    }
    let frames_of_ada = frames(&mut ours);
    assert_eq!(frames_of_ada.len(), 4, "{frames_of_ada:?}");
    assert_eq!(frames_of_ada[0], r#"["$","numbers",1,"n",1]"#);
    assert!(gap(2, "missed")(&frames_of_ada[1]) && gap(3, "missed")(&frames_of_ada[2]), "{frames_of_ada:?}");
    assert_eq!(frames_of_ada[3], r#"["$","numbers",4,"n",2]"#);
    assert_eq!(outcome(&here, &ada), Recovery::Gap);
    disconnected(&stock).await;
    // It may be sent what follows until then.
    let plain = frames(&mut plain);
    assert!(plain[0] == r#"["n",1]"# && plain.iter().all(|frame| !frame.contains("13")), "{plain:?}");
    let numbers = [(1, 2), (2, 26), (3, 26), (4, 4)];
    assert_eq!(frames(&mut theirs), numbers.map(|(at, n)| format!(r#"["$","numbers",{at},"n",{n}]"#)));
}

#[tokio::test]
async fn event_that_a_panicking_filter_withheld_is_sent_by_another_channel() {
    let backend = mock::Backend::default();
    let hub = Hub::default();
    hub.cluster().join_by(|flow| Ok(Arc::new(backend.connect(flow)))).unwrap();
    assert!(hub.registry().end_outage(hub.registry().outage()));
    let (ada, mut ours) = Subscriber::of_test("ada", Some("ada"));
    subscribe(&hub, &ada, Arc::new(Faulty), None, async || {}).await;
    let other = || Target::of(&Untyped::new("other"));
    hub.registry().add(&ada, other(), None).await.unwrap();
    frames(&mut ours);
    // The other stream is late.
    backend.intercept(0);
    for number in [1, 13, 2] {
        let publish = hub.registry().bring(hub.registry().next_id(), vec![channel(), other()], message(number), vec![]);
        assert!(publish.now_or_never().is_none(), "nothing has come yet");
    }
    assert_eq!(frames(&mut ours).len(), 3);
    backend.pile(0).into_iter().for_each(|copy| backend.flow(0).entry(copy));
    assert_eq!(frames(&mut ours), [r#"["$","other",1]"#, r#"["$","other",2,"n",13]"#, r#"["$","other",3]"#]);
}

/// A client that knows no gaps is disconnected, after a pause of its own.
async fn disconnected(subscriber: &Subscriber) {
    let gone = async {
        while !subscriber.is_gone() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(10 * JITTER, gone).await.expect("it is disconnected");
}

fn outcome(hub: &Hub, subscriber: &Subscriber) -> Recovery {
    hub.registry().joined(subscriber, "numbers").unwrap().1
}

#[tokio::test]
async fn panicking_filter_in_an_outage_is_a_gap() {
    let [here, _there] = two();
    let (ada, mut ours) = Subscriber::of_test("ada", Some("ada"));
    let (stock, _plain) = Subscriber::of_test("stock", None);
    for faulty in [&ada, &stock] {
        subscribe(&here, faulty, Arc::new(Faulty), None, async || {}).await;
    }
    publish(&here, [1]).await;
    frames(&mut ours);
    here.registry().begin_outage();
    let stream = here.registry().find(&channel().stream).unwrap();
    let entry = PublishedEvent {
        id: here.registry().next_id(),
        message: message(13),
        except: Vec::new(),
        destinations: Vec::new(),
        at: std::time::SystemTime::now(),
    };
    stream.lock().deliver_uncounted(&entry, "numbers");
    assert!(matches!(&*frames(&mut ours), [frame] if gap(1, "missed")(frame)));
    disconnected(&stock).await;
    assert!(!ada.is_gone());
}

#[tokio::test]
async fn replay_of_a_panicking_filter_is_a_gap() {
    let hub = Hub::default();
    let (ada, mut ours) = Subscriber::of_test("ada", Some("ada"));
    subscribe(&hub, &ada, Arc::new(Faulty), None, async || publish(&hub, [1, 13]).await).await;
    assert!(matches!(&*frames(&mut ours), [frame] if gap(2, "not retained")(frame)));
    publish(&hub, [2]).await;
    assert_eq!(frames(&mut ours), [r#"["$","numbers",3,"n",2]"#]);
    let (stock, mut plain) = Subscriber::of_test("stock", None);
    subscribe(&hub, &stock, Arc::new(Faulty), None, async || publish(&hub, [13]).await).await;
    assert!(stock.is_gone() && frames(&mut plain).is_empty());
}

#[tokio::test]
async fn second_filter_that_panics_is_a_gap() {
    let hub = Hub::default();
    let (ada, mut ours) = Subscriber::of_test("ada", Some("ada"));
    subscribe(&hub, &ada, Numbers::of([1]), None, async || {}).await;
    subscribe(&hub, &ada, Arc::new(Faulty), None, async || publish(&hub, [2, 13]).await).await;
    assert!(matches!(&*frames(&mut ours), [frame] if gap(2, "not retained")(frame)));
    // It is another viewer's, so it takes the destination of the first.
    publish(&hub, [1]).await;
    assert_eq!(frames(&mut ours), [r#"["$","numbers",3,"n",1]"#]);
}

#[tokio::test]
async fn second_filter_that_cannot_be_merged_disconnects() {
    let hub = Hub::default();
    let (ada, mut ours) = Subscriber::of_test("ada", Some("ada"));
    for _ in 0..2 {
        assert!(!ada.is_gone());
        subscribe(&hub, &ada, Arc::new(Faulty), None, async || {}).await;
    }
    assert!(ada.is_gone() && frames(&mut ours).is_empty());
}

#[tokio::test]
async fn a_channel_of_the_same_name_is_another() {
    let hub = Hub::default();
    let (ada, mut wire) = Subscriber::of_test("ada", None);
    hub.registry().add(&ada, Target::of(&Untyped::new("numbers")), None).await.unwrap();
    hub.registry().add(&ada, Target::of(&Untyped::new("catamaran:gated:numbers")), None).await.unwrap();
    publish(&hub, [1]).await;
    assert_eq!(frames(&mut wire).len(), 0);
}
