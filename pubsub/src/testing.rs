//! What unit tests need of an application: a hub, channels by name, and sockets that keep what they are sent.

use std::{
    future::IntoFuture,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::{
    Cluster, Command, Delivery, EncodedEvent, Excluded, GapReason, Group, History, LeftReason, Outlet, PublishOutcome,
    RESERVED, Replayed, Resume, StreamRegistry, SubscribeError, Subscriber, Subscriptions, TagError, Target,
    UnreachedServers, log::Recovery,
};

/// Writes deliveries as the packets that a socket would be sent.
struct Wire {
    packets: UnboundedSender<String>,
    /// Whether its client understands positions.
    positions: bool,
    closed: AtomicBool,
}

impl Outlet for Wire {
    fn deliver(&self, delivery: &Delivery<'_>) {
        if self.is_closed() {
            return;
        }
        let packet = if self.positions { Some(packet(delivery)) } else { plain(delivery).map(EncodedEvent::to_string) };
        if let Some(packet) = packet {
            // A test that dropped its socket reads no more.
            let _ = self.packets.send(packet);
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn close(&self, reason: &str) -> bool {
        if self.is_closed() {
            return false;
        }
        if self.positions {
            let _ = self.packets.send(json(&("$left", None::<&str>, reason)));
        }
        !self.closed.swap(true, Ordering::SeqCst)
    }

    fn disconnect(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn group(&self) -> Option<Box<dyn Group>> {
        Some(Box::new(Wires::default()))
    }
}

/// Wires that are sent the same. Some are not taken, so that tests have both kinds in a channel.
#[derive(Default)]
struct Wires(Vec<Option<Arc<Wire>>>);

impl Group for Wires {
    fn add(&mut self, subscriber: &Subscriber) -> Option<usize> {
        let alone = subscriber.id().bytes().fold(0_u8, u8::wrapping_add).is_multiple_of(3);
        let wire = Arc::downcast(subscriber.outlet()).ok().filter(|_| !alone)?;
        self.0.push(Some(wire));
        Some(self.0.len() - 1)
    }

    fn remove(&mut self, place: usize) {
        assert!(self.0[place].take().is_some(), "a member is removed once");
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) {
        self.0.iter().flatten().for_each(|wire| wire.deliver(delivery));
    }
}

fn plain<'a>(delivery: &Delivery<'a>) -> Option<&'a EncodedEvent> {
    match delivery {
        Delivery::Event(message) | Delivery::Entry { message, .. } => Some(message),
        _ => None,
    }
}

/// The packet of a client that understands positions, as docs/wire.md has it.
fn packet(delivery: &Delivery<'_>) -> String {
    match delivery {
        Delivery::Event(message) => message.to_string(),
        Delivery::Entry { channel, offset, message } => {
            joined(&("$", channel, offset, &message.name), &message.arguments)
        }
        Delivery::Advance { channel, offset } => json(&("$", channel, offset)),
        Delivery::Replay { channel, entries, more } => {
            let entries: Vec<_> = entries.iter().map(replayed).collect();
            json(&("$replay", channel, entries, more))
        }
        Delivery::Gap { channel, top, reason } => {
            let reason = match reason {
                GapReason::Missed => "missed",
                GapReason::NotRetained => "not retained",
            };
            json(&("$gap", channel, &*top.epoch, top.offset, reason))
        }
        Delivery::Joined { channel, position } => json(&("$join", channel, &*position.epoch, position.offset)),
        Delivery::Left { channel, reason } => {
            let reason = match reason {
                LeftReason::Removed => "removed",
                LeftReason::Unsubscribed => "unsubscribed",
                LeftReason::Expired => "expired",
            };
            json(&("$left", channel, reason))
        }
    }
}

fn replayed(entry: &Replayed<'_>) -> Box<RawValue> {
    let text = match entry.message {
        None => json(&[entry.offset]),
        Some(message) => joined(&(entry.offset, &message.name), &message.arguments),
    };
    RawValue::from_string(text).expect("it is JSON")
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it is JSON")
}

/// An array that is continued by arguments.
fn joined(head: &impl Serialize, arguments: &[Box<RawValue>]) -> String {
    let mut text = json(head);
    text.pop();
    for argument in arguments {
        text.push(',');
        text.push_str(argument.get());
    }
    text + "]"
}

impl Subscriber {
    /// A subscriber of a test, and what it is sent.
    pub(crate) fn of_test(id: &str, client: Option<&str>) -> (Self, UnboundedReceiver<String>) {
        Self::of_returning(id, client, Resume::new())
    }

    /// As [`of_test`](Self::of_test), of a client that received something before.
    pub(crate) fn of_returning(id: &str, client: Option<&str>, received: Resume) -> (Self, UnboundedReceiver<String>) {
        Self::of_connection(id, client, 0, received)
    }

    /// As [`of_returning`](Self::of_returning), of a client that counts its connections.
    pub(crate) fn of_connection(
        id: &str,
        client: Option<&str>,
        connection: u64,
        received: Resume,
    ) -> (Self, UnboundedReceiver<String>) {
        let (packets, wire) = mpsc::unbounded_channel();
        let outlet = Wire { packets, positions: client.is_some(), closed: AtomicBool::new(false) };
        (Self::new(id.to_owned(), client.map(Arc::from), connection, received, Arc::new(outlet)), wire)
    }
}

/// A channel by its name, on a stream of its own, without a history.
pub(crate) struct Untyped(String);

impl Untyped {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

/// What tests publish to.
pub(crate) trait Channel {
    const HISTORY: History = History::NONE;

    fn name(&self) -> String;
}

impl Channel for Untyped {
    fn name(&self) -> String {
        self.0.clone()
    }
}

impl Target {
    pub(crate) fn of<C: Channel>(channel: &C) -> Self {
        let name: Arc<str> = channel.name().into();
        let stream = if name.starts_with(RESERVED) { format!("stream:{name}").into() } else { name.clone() };
        Self { channel: name, stream, history: C::HISTORY, shape: None }
    }
}

impl EncodedEvent {
    /// An event of one argument.
    pub(crate) fn of_test<T: Serialize + ?Sized>(name: &str, argument: &T) -> Self {
        Self { name: name.into(), arguments: vec![to_raw_value(argument).expect("it is JSON")] }
    }
}

/// The streams of one server, as an application uses them.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Cluster>);

impl Default for Hub {
    fn default() -> Self {
        Self(Cluster::new())
    }
}

/// An event that is about to be published.
pub(crate) struct Publish<'a> {
    hub: &'a Hub,
    to: Vec<Target>,
    message: EncodedEvent,
    except: Vec<Excluded>,
}

impl Publish<'_> {
    pub(crate) fn and(mut self, channel: &impl Channel) -> Self {
        self.to.push(Target::of(channel));
        self
    }

    pub(crate) fn except(mut self, subscriber: &Subscriber) -> Self {
        self.except.push(subscriber.excluded());
        self
    }
}

impl<'a> IntoFuture for Publish<'a> {
    type Output = PublishOutcome;
    type IntoFuture = Pin<Box<dyn Future<Output = PublishOutcome> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.hub.registry().publish(self.to, self.message, self.except).await })
    }
}

impl Hub {
    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    pub(crate) fn registry(&self) -> &StreamRegistry {
        self.0.registry()
    }

    pub(crate) fn publish(&self, channel: &impl Channel, message: EncodedEvent) -> Publish<'_> {
        Publish { hub: self, to: vec![Target::of(channel)], message, except: Vec::new() }
    }

    /// Whether the broker cannot be reached.
    pub(crate) fn is_alone(&self) -> bool {
        self.registry().is_down()
    }

    async fn everywhere(&self, command: Command) -> Result<usize, UnreachedServers> {
        Ok(self.0.everywhere(command).await?.count)
    }

    pub(crate) async fn count(&self, channel: &impl Channel) -> Result<usize, UnreachedServers> {
        self.everywhere(Command::Count { of: Target::of(channel) }).await
    }

    pub(crate) async fn members(&self, channel: &impl Channel) -> Result<Vec<String>, UnreachedServers> {
        Ok(self.0.everywhere(Command::List { of: Target::of(channel) }).await?.sockets)
    }

    pub(crate) async fn add_members(&self, of: &impl Channel, to: &impl Channel) -> Result<usize, UnreachedServers> {
        self.everywhere(Command::Add { of: Target::of(of), to: Target::of(to) }).await
    }

    pub(crate) async fn remove_members(
        &self,
        of: &impl Channel,
        from: &impl Channel,
    ) -> Result<usize, UnreachedServers> {
        self.everywhere(Command::Remove { of: Target::of(of), from: from.name() }).await
    }

    pub(crate) async fn empty(&self, channel: &impl Channel) -> Result<usize, UnreachedServers> {
        self.remove_members(channel, channel).await
    }

    pub(crate) async fn leave_all(&self, of: &impl Channel) -> Result<usize, UnreachedServers> {
        self.everywhere(Command::LeaveAll { of: Target::of(of) }).await
    }

    pub(crate) async fn close_tagged(&self, tag: &str, reason: &str) -> Result<usize, UnreachedServers> {
        self.everywhere(Command::CloseTagged { tag: tag.to_owned(), reason: reason.to_owned() }).await
    }

    pub(crate) async fn close_members(&self, of: &impl Channel, reason: &str) -> Result<usize, UnreachedServers> {
        self.everywhere(Command::CloseMembers { of: Target::of(of), reason: reason.to_owned() }).await
    }

    async fn of_socket(&self, command: Command) -> Result<bool, UnreachedServers> {
        Ok(self.0.of_socket(command).await?.count > 0)
    }

    pub(crate) async fn emit_to(&self, socket: &str, event: &EncodedEvent) -> Result<bool, UnreachedServers> {
        self.of_socket(Command::Emit { socket: socket.to_owned(), event: event.clone() }).await
    }

    pub(crate) async fn subscribe(&self, socket: &str, channel: &impl Channel) -> Result<bool, UnreachedServers> {
        self.of_socket(Command::Subscribe { socket: socket.to_owned(), to: Target::of(channel) }).await
    }

    pub(crate) async fn unsubscribe(&self, socket: &str, channel: &impl Channel) -> Result<bool, UnreachedServers> {
        self.of_socket(Command::Unsubscribe { socket: socket.to_owned(), from: channel.name() }).await
    }

    pub(crate) async fn channels(&self, socket: &str) -> Result<Option<Vec<String>>, UnreachedServers> {
        let answer = self.0.of_socket(Command::Channels { socket: socket.to_owned() }).await?;
        Ok((answer.count > 0).then_some(answer.channels))
    }

    pub(crate) async fn blast(&self, event: &EncodedEvent) -> Result<usize, UnreachedServers> {
        self.everywhere(Command::Blast { event: event.clone(), except: Vec::new() }).await
    }

    pub(crate) async fn blast_except(
        &self,
        event: &EncodedEvent,
        except: &Subscriber,
    ) -> Result<usize, UnreachedServers> {
        self.everywhere(Command::Blast { event: event.clone(), except: vec![except.excluded()] }).await
    }
}

/// A connected socket of a standard client.
pub(crate) struct TestSocket {
    hub: Hub,
    subscriber: Subscriber,
    wire: UnboundedReceiver<String>,
}

impl TestSocket {
    pub(crate) fn new(hub: &Hub) -> Self {
        let (subscriber, wire) = Subscriber::of_test(&format!("{:x}", fastrand::u64(..)), None);
        hub.registry().connect(&subscriber);
        Self { hub: hub.clone(), subscriber, wire }
    }

    pub(crate) fn socket(&self) -> &Subscriber {
        &self.subscriber
    }

    pub(crate) async fn subscribe(&self, channel: &impl Channel) -> Result<Recovery, SubscribeError> {
        Subscriptions::at_once().add(self.hub.registry(), &self.subscriber, Target::of(channel), None).await
    }

    pub(crate) fn tag(&self, tag: impl Into<String>) -> Result<(), TagError> {
        self.hub.registry().tag(&self.subscriber, &tag.into())
    }

    pub(crate) fn received(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.wire.try_recv().ok()).collect()
    }
}

impl Drop for TestSocket {
    fn drop(&mut self) {
        self.subscriber.end();
        self.hub.registry().leave_all(&self.subscriber);
    }
}
