//! One subscriber: who it is, what it is subscribed to, and the way to it.

use std::{
    any::Any,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::{
    delivery::{Delivery, Replayed},
    entry::{Excluded, Identity, PublishedEvent, StreamEntry},
    environment::HashMap,
    event::EncodedEvent,
    moment::Moment,
    names::is_behind_filters,
    position::Position,
    sent::{Resume, Sent},
};

/// The most bytes of entries in one replay.
const REPLAY_BYTES: usize = 64 * 1024;

/// The way to a subscriber, such as a socket: it writes what happened in its own protocol, and ends the connection.
///
/// All methods are called under locks of the engine: they must not wait, nor call it.
pub trait Outlet: Any + Send + Sync {
    /// Sends a delivery. What cannot be sent disconnects the subscriber, which must not miss it in silence.
    fn deliver(&self, delivery: &Delivery<'_>);

    /// Returns whether nothing more is sent.
    fn is_closed(&self) -> bool;

    /// Tells the reason, then disconnects; false if it was closed before.
    fn close(&self, reason: &str) -> bool;

    /// Disconnects: nothing more is sent, and the client learns that from the end of its connection.
    fn disconnect(&self);

    /// Makes a group for subscribers that are reached like this one; `None` if each of them is sent its deliveries alone.
    fn group(&self) -> Option<Box<dyn Group>>;
}

/// Subscribers of one channel that are sent the same deliveries, so that those can be written once for all.
///
/// [`Outlet::group`] makes it. Like an outlet it is called under locks of the engine: it must not wait, nor call the engine.
pub trait Group: Send {
    /// Adds a subscriber, and returns its place; `None` if its deliveries are sent to it alone.
    fn add(&mut self, subscriber: &Subscriber) -> Option<usize>;

    /// Removes the subscriber at a place. Nothing that is delivered afterwards reaches it.
    fn remove(&mut self, place: usize);

    /// Sends a delivery to each member, as [`Outlet::deliver`] would: in the order of the calls, also of those to a member's outlet. A
    /// member that may have missed it is disconnected.
    fn deliver(&mut self, delivery: &Delivery<'_>);
}

/// A subscriber, and what it is subscribed to.
#[derive(Clone)]
pub struct Subscriber(Arc<Inner>);

struct Inner {
    identity: Identity,
    /// Which connection of its client this is; 0 if the client does not count.
    connection: u64,
    sent: Sent,
    outlet: Arc<dyn Outlet>,
    /// When its connection began.
    opened: Moment,
    /// The names of the streams of its channels.
    joined: Mutex<HashMap<Arc<str>, Arc<str>>>,
    /// How many subscriptions are held for it that are not live yet.
    held: AtomicUsize,
    /// It may have missed something, and is about to be disconnected for that.
    missed: AtomicBool,
}

impl Subscriber {
    /// Creates the subscriber at the end of an outlet.
    ///
    /// `client` is the secret by which a client that understands positions is known again; `connection` is which of its
    /// connections this is, 0 if it does not count; `received` is what it had before.
    pub fn new(
        id: String,
        client: Option<Arc<str>>,
        connection: u64,
        received: Resume,
        outlet: Arc<dyn Outlet>,
    ) -> Self {
        Self(Arc::new(Inner {
            identity: Identity::new(id, client),
            connection,
            sent: Sent::after(received),
            outlet,
            opened: Moment::now(),
            joined: Mutex::default(),
            held: AtomicUsize::new(0),
            missed: AtomicBool::new(false),
        }))
    }

    /// Returns the public id.
    pub fn id(&self) -> &str {
        &self.0.identity.id
    }

    /// Returns the secret of the client; `None` if it does not understand positions.
    pub fn client(&self) -> Option<&Arc<str>> {
        self.0.identity.client.as_ref()
    }

    /// Returns the way to it, to whoever made that.
    pub fn outlet(&self) -> Arc<dyn Any + Send + Sync> {
        self.0.outlet.clone()
    }

    /// Returns what leaves this subscriber, and its client's next ones, out of an event.
    pub fn excluded(&self) -> Excluded {
        Excluded::of(&self.0.identity)
    }

    /// Returns the names of the application's channels that it is subscribed to, in alphabetical order; filtered channels
    /// are not among them.
    pub fn channels(&self) -> Vec<String> {
        let joined = self.joined();
        let own = joined.iter().filter(|(_, stream)| !is_behind_filters(stream));
        let mut channels: Vec<_> = own.map(|(channel, _)| channel.as_ref().to_owned()).collect();
        channels.sort_unstable();
        channels
    }

    /// Returns whether nothing more is sent to it.
    pub fn is_gone(&self) -> bool {
        self.0.outlet.is_closed()
    }

    /// Disconnects it.
    pub fn end(&self) {
        self.0.outlet.disconnect();
    }

    /// Sends a delivery.
    pub fn send(&self, delivery: &Delivery<'_>) {
        self.0.outlet.deliver(delivery);
    }

    /// Whether its client made this connection after the other; only a client that counts can tell.
    pub(crate) fn is_newer_than(&self, other: &Self) -> bool {
        other.0.connection != 0 && self.0.connection > other.0.connection
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// When its connection began.
    pub(crate) fn opened(&self) -> Moment {
        self.0.opened
    }

    pub(crate) fn close(&self, reason: &str) -> bool {
        self.0.outlet.close(reason)
    }

    pub(crate) fn group(&self) -> Option<Box<dyn Group>> {
        self.0.outlet.group()
    }

    /// The channels that the socket is live in, with the names of their streams, which are known as long as that is so. The lock
    /// of all streams and that of one may be taken under this one, not the other way round.
    pub(crate) fn joined(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<str>>> {
        self.0.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many channels it is subscribed to, or will be.
    pub(crate) fn subscriptions(&self) -> usize {
        self.joined().len() + self.0.held.load(Ordering::SeqCst)
    }

    /// A subscription is held for it.
    pub(crate) fn held(&self) {
        self.0.held.fetch_add(1, Ordering::SeqCst);
    }

    /// It is held no longer.
    pub(crate) fn released(&self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
    }

    /// It may have missed something; false if that was known.
    pub(crate) fn miss(&self) -> bool {
        !self.0.missed.swap(true, Ordering::SeqCst)
    }

    /// Sends a copy of an entry; after another copy of it no more than that the client is past this one.
    pub(crate) fn send_copy(&self, copy: &StreamEntry, message: &EncodedEvent) {
        let (channel, offset, entry) = (copy.channel(), copy.offset(), &*copy.entry);
        let whole = Delivery::Entry { channel, offset, message };
        if entry.destinations.len() == 1 {
            return self.send(&whole);
        }
        let mut sent = self.0.sent.lock();
        if sent.is_first(entry, Some(copy)) {
            self.send(&whole)
        } else {
            self.send(&Delivery::Advance { channel, offset })
        }
    }

    /// A channel goes on after a position: what comes before it, and was not sent, is not sent as an event of this channel.
    pub(crate) fn goes_on(&self, channel: &str, after: &Position) {
        self.0.sent.lock().goes_on(channel, after);
    }

    /// Sends an entry that has no position.
    pub(crate) fn send_uncounted(&self, entry: &PublishedEvent, message: &EncodedEvent) {
        let mut sent = self.0.sent.lock();
        if sent.is_first(entry, None) {
            self.send(&Delivery::Event(message));
        }
    }

    /// Sends what a subscription missed, in replays of a bounded size.
    pub(crate) fn send_replay<'a>(
        &self,
        channel: &str,
        missed: impl Iterator<Item = (&'a StreamEntry, &'a EncodedEvent)>,
    ) {
        let mut sent = self.0.sent.lock();
        let missed = missed.filter(|(copy, _)| !copy.leaves_out(&self.0.identity));
        let mut missed = missed.map(|(copy, message)| {
            let whole = sent.is_first(&copy.entry, Some(copy));
            Replayed { offset: copy.offset(), message: whole.then_some(message) }
        });
        if self.client().is_none() {
            missed.filter_map(|entry| entry.message).for_each(|message| self.send(&Delivery::Event(message)));
            return;
        }
        let mut next = missed.next();
        while next.is_some() {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            while let Some(entry) = next.take_if(|entry| bytes == 0 || bytes + entry.bytes() <= REPLAY_BYTES) {
                bytes += entry.bytes();
                entries.push(entry);
                next = missed.next();
            }
            self.send(&Delivery::Replay { channel, entries: &entries, more: next.is_some() });
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscriber").field(&self.id()).finish()
    }
}
