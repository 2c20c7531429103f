//! The engine as the simulation uses it: the only file here that names its types.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::future::BoxFuture;
use serde_json::{json, value::to_raw_value};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, sleep},
};

use super::{
    broker::{At, Broker as SimulatedBroker, Kept, News, Sent},
    plan::{CHANNELS, is_shown},
};
use crate::{
    BrokerEvents, Delivery, EncodedEvent, EventFilter, Excluded, FilterInput, History, Node, Position, PublishOutcome,
    PublishedEvent, Received, Recovery, StreamEntry, Subscriber, Subscriptions, Target,
    broker::{self, Attached, Broker, Down, Read},
    commands::Command,
    environment,
    testing::Hub,
};

/// What a panicking filter says.
pub(super) const PLANNED: &str = "a planned panic of a filter";

/// The broker of a simulation.
pub(super) type Backend = SimulatedBroker<Arc<PublishedEvent>>;

/// Counts what happens, so that two events have an order.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamps(Arc<AtomicU64>);

impl Stamps {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// Where a client stands in a channel: it has all that follows `since`, up to `offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) epoch: String,
    pub(super) offset: u64,
    pub(super) since: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Delivered,
    LocalOnly,
    Unknown,
}

/// Who is left out of an event.
#[derive(Clone, Debug)]
pub(super) struct LeftOut(Excluded);

/// What the broker has counted.
pub(super) enum Known {
    /// The event with this number.
    Event(u64),
    /// The closing with this number.
    Closing(usize),
}

/// Hears of it.
pub(super) type Counted = Arc<dyn Fn(Known) + Send + Sync>;

/// One server of the application.
pub(super) struct Server {
    hub: Hub,
    node: Option<usize>,
}

impl Server {
    /// One that counts in memory.
    pub(super) fn alone() -> Self {
        Self { hub: Hub::default(), node: None }
    }

    /// One of several. `skew`: by how many seconds its clock is ahead.
    pub(super) fn joined(backend: &Backend, skew: i64, counted: Counted, is_loud: bool) -> Self {
        let hub = Hub::default();
        let mut node = None;
        let joined = hub.cluster().join_by(|flow| {
            let number = backend.join(flow.node.0, told(flow, is_loud));
            node = Some(number);
            Ok(Arc::new(Link { backend: backend.clone(), node: number, skew, counted, is_loud }))
        });
        joined.expect("it starts");
        let server = Self { hub, node };
        backend.connect(server.node.expect("it has joined"));
        server
    }

    /// One that is joined to others by a real broker.
    #[cfg(all(feature = "postgres", feature = "redis"))]
    pub(super) fn of(broker: impl Into<crate::Backend>) -> Self {
        let hub = Hub::default();
        hub.cluster().join_by(|flow| broker.into().start(flow)).expect("the URL makes sense");
        Self { hub, node: None }
    }

    /// Its number at the broker.
    pub(super) fn node(&self) -> Option<usize> {
        self.node
    }

    pub(super) fn name(&self) -> String {
        self.hub.registry().node().to_string()
    }

    pub(super) fn is_down(&self) -> bool {
        self.hub.registry().is_down()
    }

    /// A client connects; none if it has made a newer connection.
    pub(super) fn connect(
        &self,
        id: &str,
        client: Option<(&str, u64)>,
        had: &BTreeMap<usize, Standing>,
        tag: &str,
        viewer: Viewer,
    ) -> Option<Connection> {
        let received = had.iter().map(|(channel, standing)| (CHANNELS[*channel].name.to_owned(), standing.into()));
        let (name, connection) = client.unzip();
        let (subscriber, wire) = Subscriber::of_connection(id, name, connection.unwrap_or(0), received.collect());
        if self.hub.registry().sockets().tag(&subscriber, tag).is_err() || !self.hub.registry().connect(&subscriber) {
            return None;
        }
        Some(Connection { hub: self.hub.clone(), subscriber, wire, viewer })
    }

    /// Publishes an event that carries a number.
    pub(super) fn publish(
        &self,
        number: u64,
        channels: &[usize],
        except: Option<LeftOut>,
    ) -> impl Future<Output = Outgoing> + Send + use<> {
        let (hub, to) = (self.hub.clone(), channels.iter().map(|channel| target(*channel)).collect());
        let message =
            EncodedEvent { name: "event".into(), arguments: vec![to_raw_value(&number).expect("a number is JSON")] };
        async move {
            let except = except.into_iter().map(|LeftOut(except)| except).collect();
            match hub.registry().publish(to, message, except).await {
                PublishOutcome::Delivered => Outgoing::Delivered,
                PublishOutcome::LocalOnly => Outgoing::LocalOnly,
                PublishOutcome::Unknown => Outgoing::Unknown,
            }
        }
    }

    /// Closes the sockets with a tag, for a reason that carries a number. The error names the servers that may not have done it.
    pub(super) fn close_tagged(
        &self,
        tag: &str,
        number: usize,
    ) -> impl Future<Output = Result<usize, Vec<String>>> + Send + use<> {
        let (hub, tag) = (self.hub.clone(), tag.to_owned());
        async move { hub.close_tagged(&tag, &number.to_string()).await.map_err(|unreached| unreached.servers) }
    }

    /// Subscribes the socket with this id, or ends its subscription, wherever it is.
    pub(super) fn change_membership(
        &self,
        id: &str,
        channel: usize,
        joins: bool,
    ) -> impl Future<Output = bool> + Send + use<> {
        let (hub, socket, to) = (self.hub.clone(), id.to_owned(), target(channel));
        let command = match joins {
            true => Command::Subscribe { socket, to },
            false => Command::Unsubscribe { socket, from: to.channel.to_string() },
        };
        async move { hub.cluster().of_socket(command).await.is_ok() }
    }

    /// What is still kept for subscriptions although none is under way.
    pub(super) fn leaks(&self) -> Option<String> {
        for stream in self.hub.registry().all() {
            let state = stream.lock();
            if state.is_free() && !state.log.has_history() && state.log.bytes() > 0 {
                return Some(format!("{} keeps {} bytes", stream.name, state.log.bytes()));
            }
        }
        None
    }
}

/// What a viewer sees of filtered channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewer {
    pub(super) number: u64,
    /// Its filter panics now and then.
    pub(super) panics: bool,
}

impl EventFilter for Viewer {
    fn pass(&self, event: &FilterInput<'_>) -> Option<Arc<EncodedEvent>> {
        let number: u64 = serde_json::from_str(event.message.argument()?.get()).ok()?;
        assert!(!self.panics || !number.is_multiple_of(7), "{PLANNED}");
        is_shown(number, self.number).then(|| Arc::new(event.message.clone()))
    }

    fn same_viewer(&self, other: &dyn EventFilter) -> bool {
        let other: &dyn std::any::Any = other;
        other.downcast_ref::<Self>().is_some_and(|other| other.number == self.number)
    }

    fn viewer(&self) -> u64 {
        self.number
    }

    fn widen(&self, _: &dyn EventFilter) {}
}

/// A connection of a client.
pub(super) struct Connection {
    hub: Hub,
    subscriber: Subscriber,
    wire: UnboundedReceiver<String>,
    viewer: Viewer,
}

/// A request that subscribes to channels or leaves them.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) number: u64,
    pub(super) channels: Vec<usize>,
    pub(super) leave: Vec<usize>,
    /// Where the client was.
    pub(super) had: BTreeMap<usize, Standing>,
    /// How long the action takes.
    pub(super) slow: Duration,
    pub(super) status: u16,
    pub(super) expires: Option<Duration>,
}

impl Connection {
    pub(super) fn id(&self) -> &str {
        self.subscriber.id()
    }

    pub(super) fn left_out(&self) -> LeftOut {
        LeftOut(self.subscriber.excluded())
    }

    /// The next frame, as it stands on the wire.
    pub(super) fn next(&mut self) -> Option<String> {
        self.wire.try_recv().ok()
    }

    /// Whether the server delivers a channel.
    pub(super) fn has(&self, channel: usize) -> bool {
        self.subscriber.joined().contains_key(CHANNELS[channel].name)
    }

    /// The server has ended it.
    pub(super) fn is_gone(&self) -> bool {
        self.subscriber.is_gone()
    }

    /// The server notices its end.
    pub(super) fn end(&self) {
        self.subscriber.end();
        self.hub.registry().leave_all(&self.subscriber);
    }

    /// Answers a request: `["ack", number, status, channels, left, subscribed]`, where of each channel that was subscribed
    /// to it says when `subscribe` had returned, and what.
    pub(super) fn answer(&self, request: Request, stamps: &Stamps) -> impl Future<Output = ()> + Send + use<> {
        let (hub, subscriber, viewer, stamps) =
            (self.hub.clone(), self.subscriber.clone(), self.viewer, stamps.clone());
        async move {
            let Request { number, channels, leave, had, slow, mut status, expires } = request;
            let subscriptions = Subscriptions::default();
            let viewer_of = |channel: usize| CHANNELS[channel].filtered.then_some(viewer.number);
            let had = had.iter().map(|(&channel, standing)| {
                let received = Received { viewer: viewer_of(channel), ..standing.into() };
                (CHANNELS[channel].name.to_owned(), received)
            });
            subscriptions.resume(had.collect());
            if let Some(expires) = expires {
                subscriptions.expire_at(Instant::now() + expires);
            }
            let mut subscribed = Vec::new();
            for channel in channels {
                let filter: Option<Arc<dyn EventFilter>> = match CHANNELS[channel].filtered {
                    true => Some(Arc::new(viewer)),
                    false => None,
                };
                match subscriptions.add(hub.registry(), &subscriber, target(channel), filter).await {
                    Ok(outcome) => subscribed.push(json!([channel, stamps.next(), word(outcome)])),
                    Err(_) => status = 503,
                }
            }
            for channel in leave {
                subscriptions.remove(hub.registry(), &subscriber, CHANNELS[channel].name);
            }
            if !slow.is_zero() {
                sleep(slow).await;
            }
            let settled = subscriptions.settle(&subscriber, status < 400);
            let channels = settled
                .channels
                .iter()
                .map(|(channel, at, outcome)| json!([number_of(channel), &*at.epoch, at.offset, word(*outcome)]));
            let channels: Vec<_> = channels.collect();
            let left: Vec<_> = settled.left.iter().map(|channel| number_of(channel)).collect();
            let arguments = [json!(number), json!(status), json!(channels), json!(left), json!(subscribed)];
            let arguments = arguments.iter().map(|argument| to_raw_value(argument).expect("it is JSON")).collect();
            subscriber.send(&Delivery::Event(&EncodedEvent { name: "ack".into(), arguments }));
            settled.live(&subscriber);
        }
    }
}

impl From<&Standing> for Received {
    fn from(Standing { epoch, offset, since }: &Standing) -> Self {
        Self { since: *since, upto: Position { epoch: epoch.as_str().into(), offset: *offset }, viewer: None }
    }
}

fn word(outcome: Recovery) -> &'static str {
    match outcome {
        Recovery::Fresh => "fresh",
        Recovery::Recovered => "recovered",
        Recovery::Gap => "gap",
    }
}

fn target(channel: usize) -> Target {
    let channel = &CHANNELS[channel];
    let mut history = History::of(channel.kept);
    if let Some(seconds) = channel.seconds {
        history = history.seconds(seconds);
    }
    if channel.since_subscribe {
        history = history.since_subscribe();
    }
    Target { channel: channel.name.into(), stream: channel.stream().into(), history, shape: None }
}

fn number_of(name: &str) -> usize {
    CHANNELS.iter().position(|channel| channel.name == name).expect("a channel of the simulation")
}

/// Brings a server what the broker has for it.
fn told(flow: BrokerEvents, is_loud: bool) -> impl Fn(News<Arc<PublishedEvent>>) + Send + 'static {
    move |news| {
        if is_loud {
            println!("      server {} is told: {news:?}", flow.node);
        }
        match news {
            News::Entry(entry, destination) => flow.entry(StreamEntry::of(entry, destination)),
            News::Lost(stream) => flow.lost(&stream),
            News::Down => flow.down(),
            News::Up => flow.up(),
        }
    }
}

/// A server's way to the broker.
struct Link {
    backend: Backend,
    node: usize,
    skew: i64,
    counted: Counted,
    is_loud: bool,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Link {
    fn say(&self, what: impl FnOnce() -> String) {
        if self.is_loud {
            println!("      node {} {}", self.node, what());
        }
    }

    fn shifted(&self, entry: &mut PublishedEvent) {
        let skew = Duration::from_secs(self.skew.unsigned_abs());
        entry.at = if self.skew < 0 { entry.at - skew } else { entry.at + skew };
    }
}

impl Broker for Link {
    fn attach<'a>(
        &'a self,
        stream: &'a Arc<str>,
        known: Option<Position>,
        alone: Option<Duration>,
    ) -> BoxFuture<'a, Result<Attached, Down>> {
        Box::pin(async move {
            let known = known.map(|known| (number(&known.epoch), known.offset));
            let stands = self.backend.attach(self.node, stream, known, alone, fresh).await;
            self.say(|| format!("attaches {stream} (known {known:?}, alone {alone:?}): {stands:?}"));
            let stands = stands.map_err(|_| Down)?;
            Ok(Attached { top: position(&stands.top), floor: stands.floor })
        })
    }

    fn read<'a>(&'a self, stream: &'a Arc<str>, after: &'a Position) -> BoxFuture<'a, Read> {
        Box::pin(async move {
            let kept = self.backend.read(self.node, stream, (number(&after.epoch), after.offset)).await;
            self.say(|| format!("reads {stream} after {after:?}: {kept:?}"));
            match kept {
                Kept::Entries(kept) => Read::Entries(
                    kept.into_iter().map(|(entry, destination)| StreamEntry::of(entry, destination)).collect(),
                ),
                Kept::Gone => Read::Gone,
                Kept::Unreachable => Read::Down,
            }
        })
    }

    fn publish(&self, mut entry: PublishedEvent) -> BoxFuture<'_, broker::Sent> {
        Box::pin(async move {
            self.shifted(&mut entry);
            let streams = entry.destinations.iter().map(|destination| &destination.target);
            let streams = streams.map(|target| (target.stream.to_string(), target.history.entries)).collect();
            let mut entry = Some(entry);
            let make = |positions: Vec<At>| {
                let mut entry = entry.take().expect("it is counted once");
                for (destination, at) in entry.destinations.iter_mut().zip(&positions) {
                    destination.position = Some(position(at));
                }
                if let Some(known) = known(&entry.message) {
                    (self.counted)(known);
                }
                Arc::new(entry)
            };
            match self.backend.publish(self.node, streams, fresh, make).await {
                Sent::Counted(entry) => broker::Sent::Counted(entry),
                Sent::Refused => entry.map_or(broker::Sent::Unknown, broker::Sent::Not),
                Sent::Unknown => broker::Sent::Unknown,
            }
        })
    }

    fn detach(&self, stream: &Arc<str>) {
        self.backend.detach(self.node, stream);
    }

    fn others(&self) -> BoxFuture<'_, Result<Vec<Node>, Down>> {
        Box::pin(async move {
            let others = self.backend.others(self.node).await.map_err(|_| Down)?;
            Ok(others.into_iter().map(Node).collect())
        })
    }

    fn linger(&self) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }

    fn records(&self) -> &dyn broker::records::store::RecordStore {
        unimplemented!("no plan has records")
    }
}

fn known(message: &EncodedEvent) -> Option<Known> {
    let argument = message.argument()?.get();
    if message.name == "event" {
        return serde_json::from_str(argument).ok().map(Known::Event);
    }
    match serde_json::from_str::<(u64, Command)>(argument) {
        Ok((_, Command::CloseTagged { reason, .. })) => reason.parse().ok().map(Known::Closing),
        _ => None,
    }
}

/// A new epoch, as a number.
fn fresh() -> u64 {
    environment::random().unwrap_or_default() >> 16
}

fn position(at: &At) -> Position {
    Position { epoch: crate::epoch_of(at.epoch << 16), offset: at.offset }
}

/// The number of an epoch; one that no broker gives if it is an engine's own.
fn number(epoch: &str) -> u64 {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(epoch).unwrap_or_default();
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
