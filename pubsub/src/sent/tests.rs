//! An event that goes to several channels is one event: whoever is in some of them hears it once.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::Recent;
use crate::{
    EncodedEvent, History, Position, Received, Recovery, Subscriber, Subscriptions, Target,
    testing::{Hub, TestSocket, Untyped},
};

const CHANNELS: usize = 5;

/// The last two share a stream.
fn target(channel: usize) -> Target {
    let name: Arc<str> = format!("c{channel}").into();
    let stream = if channel < 3 { name.clone() } else { "stream:shared".into() };
    Target { channel: name, stream, history: History::of(10_000), shape: None }
}

/// Publishes a number to these channels.
async fn publish(hub: &Hub, channels: impl IntoIterator<Item = usize>, number: u64, except: Option<&Subscriber>) {
    let argument = serde_json::value::to_raw_value(&number).unwrap();
    let message = EncodedEvent { name: "number".into(), arguments: vec![argument] };
    let except = except.map(Subscriber::excluded).into_iter().collect();
    hub.registry().publish(channels.into_iter().map(target).collect(), message, except).await;
}

/// Our own client as it is in a page: its connection, what it heard, and where it stands.
struct Page {
    client: String,
    connections: usize,
    subscriber: Subscriber,
    wire: UnboundedReceiver<String>,
    positions: BTreeMap<String, Received>,
    heard: Vec<u64>,
    /// How often it was told that it has an event already, live and in a replay.
    advances: [usize; 2],
}

impl Page {
    fn new(hub: &Hub, client: &str) -> Self {
        let (subscriber, wire) = Subscriber::of_test(client, Some(client));
        hub.registry().connect(&subscriber);
        let (positions, heard) = (BTreeMap::new(), Vec::new());
        Self { client: client.into(), connections: 1, subscriber, wire, positions, heard, advances: [0; 2] }
    }

    /// Subscribes as a request does; `meanwhile` runs before it is answered.
    async fn join(&mut self, hub: &Hub, channel: usize, meanwhile: impl AsyncFnOnce()) {
        let subscriptions = Subscriptions::default();
        let had = self.positions.get(&format!("c{channel}")).cloned();
        let resume = had.iter().map(|had| (format!("c{channel}"), had.clone())).collect();
        subscriptions.resume(resume);
        let outcome = subscriptions.add(hub.registry(), &self.subscriber, target(channel), None).await.unwrap();
        assert_ne!(outcome, Recovery::Gap);
        meanwhile().await;
        let settled = subscriptions.settle(&self.subscriber, true);
        let (name, position, _) = settled.channels[0].clone();
        if outcome == Recovery::Fresh && had.is_none() {
            self.positions.insert(name.to_string(), Received { since: position.offset, upto: position, viewer: None });
        }
        settled.live(&self.subscriber);
    }

    fn leave(&mut self, hub: &Hub, channel: usize) {
        self.read(usize::MAX);
        hub.registry().leave(&self.subscriber, &format!("c{channel}"));
        self.positions.remove(&format!("c{channel}"));
    }

    /// Its connection breaks when it has read so many frames; the next is new.
    fn reconnect(&mut self, hub: &Hub, frames: usize) {
        self.read(frames);
        self.connections += 1;
        let id = format!("{} {}", self.client, self.connections);
        let received: HashMap<_, _> = self.positions.clone().into_iter().collect();
        (self.subscriber, self.wire) = Subscriber::of_returning(&id, Some(&self.client), received);
        hub.registry().connect(&self.subscriber);
    }

    fn read(&mut self, frames: usize) {
        for _ in 0..frames {
            let Ok(frame) = self.wire.try_recv() else { return };
            let frame: Vec<Value> = serde_json::from_str(&frame).unwrap();
            let channel = frame[1].as_str().unwrap();
            match frame[0].as_str().unwrap() {
                "$" => self.entry(channel, &frame[2..], 0),
                "$replay" => {
                    for entry in frame[2].as_array().unwrap() {
                        self.entry(channel, entry.as_array().unwrap(), 1);
                    }
                }
                other => panic!("{other}: {frame:?}"),
            }
        }
    }

    fn entry(&mut self, channel: &str, entry: &[Value], path: usize) {
        let offset = entry[0].as_u64().unwrap();
        let position = self.positions.get_mut(channel).unwrap();
        assert!(position.upto.offset < offset, "{} is sent {offset} of {channel} again", self.client);
        position.upto.offset = offset;
        match entry.get(2) {
            Some(number) => self.heard.push(number.as_u64().unwrap()),
            None => self.advances[path] += 1,
        }
    }
}

/// Numbers that are random enough.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides
    }

    fn channels(&mut self) -> Vec<usize> {
        let chosen = self.roll((1 << CHANNELS) - 1) + 1;
        (0..CHANNELS).filter(|channel| chosen & (1 << channel) != 0).collect()
    }
}

#[tokio::test]
async fn every_member_hears_every_event_once_through_joins_leaves_and_cuts() {
    let mut advances = [0; 2];
    for seed in 0..60 {
        for (sum, of_storm) in advances.iter_mut().zip(storm(seed).await) {
            *sum += of_storm;
        }
    }
    println!("told that they had it: {advances:?} live and in replays");
    assert!(advances.iter().all(|&times| times > 100));
}

/// A storm of its own; how often a page was told that it has an event already.
async fn storm(seed: u64) -> [usize; 2] {
    let hub = Hub::default();
    let mut dice = Dice(seed);
    let mut pages: Vec<Page> = (0..6).map(|n| Page::new(&hub, &format!("page {n}"))).collect();
    let mut due: Vec<HashSet<u64>> = vec![HashSet::new(); pages.len()];
    let mut number = 0;
    for _ in 0..200 {
        let page = dice.roll(pages.len());
        let channel = dice.roll(CHANNELS);
        let name = format!("c{channel}");
        match dice.roll(10) {
            0 | 1 if !pages[page].positions.contains_key(&name) => pages[page].join(&hub, channel, async || {}).await,
            2 => pages[page].leave(&hub, channel),
            3 | 4 => {
                let read = dice.roll(8);
                pages[page].reconnect(&hub, read);
                let mut again: Vec<usize> = (0..CHANNELS)
                    .filter(|channel| pages[page].positions.contains_key(&format!("c{channel}")))
                    .collect();
                while !again.is_empty() {
                    let channel = again.swap_remove(dice.roll(again.len()));
                    number += 1;
                    let to = dice.channels();
                    expect(&pages, &mut due, &to, number, None);
                    let first = dice.roll(2) == 0;
                    if first {
                        publish(&hub, to.clone(), number, None).await;
                    }
                    let then = async || {
                        if !first {
                            publish(&hub, to, number, None).await;
                        }
                    };
                    pages[page].join(&hub, channel, then).await;
                }
            }
            _ => {
                number += 1;
                let to = dice.channels();
                let except = (dice.roll(4) == 0).then_some(page);
                expect(&pages, &mut due, &to, number, except);
                publish(&hub, to, number, except.map(|page| &pages[page].subscriber)).await;
            }
        }
    }
    let mut advances = [0; 2];
    for (page, due) in pages.iter_mut().zip(due) {
        page.read(usize::MAX);
        let heard: HashSet<u64> = page.heard.iter().copied().collect();
        assert_eq!(heard.len(), page.heard.len(), "seed {seed}: {} heard one twice", page.client);
        assert_eq!(heard, due, "seed {seed}: {}", page.client);
        for (sum, of_page) in advances.iter_mut().zip(page.advances) {
            *sum += of_page;
        }
    }
    advances
}

/// Whoever is in one of the channels is to hear the number.
fn expect(pages: &[Page], due: &mut [HashSet<u64>], to: &[usize], number: u64, except: Option<usize>) {
    for (n, page) in pages.iter().enumerate().filter(|(n, _)| Some(*n) != except) {
        if to.iter().any(|channel| page.positions.contains_key(&format!("c{channel}"))) {
            due[n].insert(number);
        }
    }
}

#[tokio::test]
async fn what_was_published_before_a_channel_was_joined_is_not_taken_for_received() {
    let hub = Hub::default();
    let mut ada = Page::new(&hub, "ada");
    ada.join(&hub, 0, async || {}).await;
    // Somebody has to be there, or channel 1 does not count.
    Page::new(&hub, "bob").join(&hub, 1, async || {}).await;
    publish(&hub, [0, 1], 1, None).await;
    // Ada's position in channel 1 lies after the event, which she has not read as one of channel 0.
    ada.join(&hub, 1, async || {}).await;
    ada.reconnect(&hub, 0);
    ada.join(&hub, 1, async || {}).await;
    ada.join(&hub, 0, async || {}).await;
    ada.read(usize::MAX);
    assert_eq!(ada.heard, [1]);
}

#[tokio::test]
async fn a_second_copy_is_a_bare_advance_live_and_in_a_replay() {
    let hub = Hub::default();
    let mut ada = Page::new(&hub, "ada");
    ada.join(&hub, 0, async || {}).await;
    ada.join(&hub, 1, async || {}).await;
    publish(&hub, [0, 1], 1, None).await;
    assert_eq!(ada.wire.try_recv().unwrap(), r#"["$","c0",1,"number",1]"#);
    assert_eq!(ada.wire.try_recv().unwrap(), r#"["$","c1",1]"#);
    let at = |channel: &str, offset| {
        let epoch = hub.registry().find(channel).unwrap().lock().log.top().epoch.clone();
        Received { since: 0, upto: Position { epoch, offset }, viewer: None }
    };
    ada.positions = [("c0".into(), at("c0", 1)), ("c1".into(), at("c1", 0))].into();
    ada.reconnect(&hub, 0);
    ada.join(&hub, 1, async || {}).await;
    assert_eq!(ada.wire.try_recv().unwrap(), r#"["$replay","c1",[[1]],false]"#);
}

/// More events than the ids that are remembered come between the two copies of one.
#[tokio::test]
async fn copies_that_are_far_apart_are_one_event() {
    let hub = Hub::default();
    let mut ada = Page::new(&hub, "ada");
    ada.join(&hub, 0, async || {}).await;
    // Channel 2 counts only if somebody is there.
    Page::new(&hub, "bob").join(&hub, 2, async || {}).await;
    let many = crate::history::MAX_HELD as u64 + 1;
    let meanwhile = async || {
        publish(&hub, [0, 1], 0, None).await;
        for number in 1..=many {
            publish(&hub, [0, 2], number, None).await;
        }
    };
    ada.join(&hub, 1, meanwhile).await;
    ada.read(usize::MAX);
    assert_eq!(ada.heard, (0..=many).collect::<Vec<_>>());
    assert_eq!(ada.advances, [0, 1]);
}

/// What came while the socket was away from a channel was not sent as one of that.
#[tokio::test]
async fn event_of_a_channel_that_was_left_meanwhile_comes_by_the_other() {
    let hub = Hub::default();
    let mut ada = Page::new(&hub, "ada");
    let mut bob = Page::new(&hub, "bob");
    bob.join(&hub, 0, async || {}).await;
    ada.join(&hub, 0, async || {}).await;
    publish(&hub, [0, 2], 1, None).await;
    let meanwhile = async || {
        hub.registry().leave(&ada.subscriber, "c0");
        publish(&hub, [0, 1], 2, None).await;
        hub.registry().add(&ada.subscriber, target(0), None).await.unwrap();
        publish(&hub, [0, 2], 3, None).await;
    };
    let subscriptions = Subscriptions::default();
    subscriptions.add(hub.registry(), &ada.subscriber, target(1), None).await.unwrap();
    meanwhile().await;
    subscriptions.settle(&ada.subscriber, true).live(&ada.subscriber);
    let heard: Vec<_> = std::iter::from_fn(|| ada.wire.try_recv().ok()).collect();
    assert_eq!(heard.last().unwrap(), r#"["$replay","c1",[[1,"number",2]],false]"#, "{heard:?}");
}

fn said(text: &str) -> EncodedEvent {
    EncodedEvent::of_test("said", &json!(text))
}

#[tokio::test]
async fn a_stock_client_in_two_of_the_channels_gets_one_frame_and_who_is_left_out_none() {
    let hub = Hub::default();
    let (mut ada, mut bob) = (TestSocket::new(&hub), TestSocket::new(&hub));
    let rooms = ["a", "b", "c"].map(Untyped::new);
    for room in &rooms {
        ada.subscribe(room).await.unwrap();
        bob.subscribe(room).await.unwrap();
    }
    let publish = rooms.iter().fold(hub.publish(&rooms[0], said("once")), |publish, room| publish.and(room));
    publish.except(bob.socket()).await;
    hub.publish(&rooms[1], said("to b")).await;
    assert_eq!(ada.received(), [r#"["said","once"]"#, r#"["said","to b"]"#]);
    assert_eq!(bob.received(), [r#"["said","to b"]"#]);
}

#[test]
fn the_oldest_ids_are_forgotten() {
    let (mut recent, id) = (Recent::default(), |number| crate::Id { node: crate::Node(0), number });
    assert!((0..10 * crate::history::MAX_HELD as u64).all(|number| recent.add(id(number))));
    assert_eq!((recent.ids.len(), recent.order.len()), (crate::history::MAX_HELD, crate::history::MAX_HELD));
    assert!(recent.add(id(0)) && !recent.add(id(10 * crate::history::MAX_HELD as u64 - 1)));
}
