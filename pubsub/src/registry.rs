//! All streams of this node, and who becomes live in them.

use std::{
    collections::VecDeque,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    closings::{Closed, Closings, Reason},
    cluster::Cluster,
    commands::Command,
    delivery::{Delivery, LeftReason},
    entry::{Destination, Excluded, Id, Node, PublishedEvent, Target},
    environment::{self, HashMap, HashSet, RandomState},
    event::EncodedEvent,
    expiry::Alarms,
    filter::EventFilter,
    log::Recovery,
    moment::Moment,
    pending::PendingSubscription,
    position::Position,
    resync::{self, BrokerEvents},
    stream::Stream,
    subscriber::Subscriber,
    subscribers::{Subscribers, TagError},
};
use crate::broker::{Backend, Broker, Memory, Sent};

/// How many streams are kept although nobody is subscribed, and their bytes: a client that comes back to a dropped stream is
/// sent `gap`.
const IDLE_STREAMS: usize = 4096;
const IDLE_BYTES: usize = 8 * 1024 * 1024;
/// How many idle streams that cannot be dropped are looked at for each one that becomes idle.
const LOOKS: usize = 1;
/// How many idle streams are looked at under one lock.
const SWEPT: usize = 256;
/// The most bytes of history that all streams keep together.
const MAX_KEPT: usize = 64 * 1024 * 1024;

/// How late an entry may come that the broker has counted; then its stream is attached anew.
pub(super) const LATE: Duration = Duration::from_secs(1);
/// How many streams are attached anew at once, so that the broker has time for other things.
const RENEWALS: usize = 256;
/// Of how many streams it is remembered that something was published there that the broker did not get.
pub(super) const MAX_UNSENT: usize = 65_536;
/// The longest name of those, in bytes.
const MAX_UNSENT_NAME: usize = 1024;

/// How many subscriptions a socket may have unless the application says otherwise.
pub const MAX_SUBSCRIPTIONS: usize = 256;
/// How many bytes the name of a channel may have unless the application says otherwise.
pub const MAX_CHANNEL_BYTES: usize = 256;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is on its way to all subscribers.
    Delivered,
    /// Other servers could not be reached: it is on its way to the subscribers of this one, and the others will be told
    /// that they may have missed something.
    LocalOnly,
    /// The connection to other servers broke: it is on its way to all subscribers or to none.
    Unknown,
}

/// The streams, and the sockets.
#[derive(Debug)]
pub struct StreamRegistry {
    this: Weak<Self>,
    /// What joins this hub to those of other servers, if there may be any.
    cluster: OnceLock<Cluster>,
    /// Memory, unless another was set before it was first needed.
    broker: OnceLock<Arc<dyn Broker>>,
    /// Odd as long as the broker cannot be reached; it grows with each end of a connection.
    outage: AtomicU64,
    /// When the outage began.
    away_since: Mutex<Moment>,
    /// What the ids of this hub's entries begin with, and the number of the next.
    node: Node,
    next: AtomicU64,
    /// The bytes of history that all streams keep.
    kept: Arc<AtomicUsize>,
    /// The clients that all streams know the start of.
    readers: Arc<AtomicUsize>,
    /// How many subscriptions a socket may have.
    max_subscriptions: AtomicUsize,
    /// How many bytes the name of a channel may have.
    max_channel_bytes: AtomicUsize,
    /// An event went to a channel with a longer name, which is logged once.
    warned: AtomicBool,
    /// The ends of subscriptions.
    alarms: Arc<Alarms>,
    known: Mutex<Known>,
    sockets: Subscribers,
    closings: Closings,
}

/// The streams by name.
#[derive(Debug, Default)]
struct Known {
    streams: HashMap<Arc<str>, Arc<Stream>>,
    /// Those that became idle, in the order in which they are dropped when they are too many. Some are in use again, or gone.
    idle: VecDeque<Idle>,
    idle_bytes: usize,
    /// Detaches those that stay idle.
    sweeper: Option<JoinHandle<()>>,
    /// How many streams it has looked at.
    #[cfg(test)]
    looks: usize,
    /// Those that are not known here, and of which the broker did not get something.
    unsent: HashSet<Arc<str>>,
    /// How often something was published to others than those, and of how many of these times all servers were told.
    unsent_more: u64,
    unsent_told: u64,
}

/// A stream that became idle.
#[derive(Debug)]
struct Idle {
    name: Arc<str>,
    /// About how many bytes it took then.
    bytes: usize,
    since: Instant,
}

impl StreamRegistry {
    /// Creates the streams of one server, without another server until [`join`](Self::join).
    pub fn new() -> Arc<Self> {
        let node = Node(RandomState::new().hash_one(0));
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            cluster: OnceLock::new(),
            broker: OnceLock::new(),
            outage: AtomicU64::new(0),
            away_since: Mutex::default(),
            node,
            next: AtomicU64::new(0),
            kept: Arc::default(),
            readers: Arc::default(),
            max_subscriptions: AtomicUsize::new(MAX_SUBSCRIPTIONS),
            max_channel_bytes: AtomicUsize::new(MAX_CHANNEL_BYTES),
            warned: AtomicBool::new(false),
            alarms: Arc::default(),
            known: Mutex::default(),
            sockets: Subscribers::default(),
            closings: Closings::default(),
        })
    }

    /// What tells a broker where to bring what it has.
    pub(crate) fn flow(&self) -> BrokerEvents {
        BrokerEvents { streams: self.this.clone(), node: self.node }
    }

    /// Joins these streams to those of other servers by a backend, which need not be reachable yet.
    ///
    /// # Errors
    ///
    /// If a setting of the backend makes no sense, with the reason.
    ///
    /// # Panics
    ///
    /// If something was published or subscribed to before.
    pub fn join(&self, backend: Backend) -> Result<(), String> {
        self.join_by(|flow| backend.start(flow))
    }

    pub(crate) fn join_by(
        &self,
        start: impl FnOnce(BrokerEvents) -> Result<Arc<dyn Broker>, String>,
    ) -> Result<(), String> {
        self.begin_outage();
        assert!(self.cluster.set(Cluster::new(self)).is_ok(), "an application has one broker");
        let mut started = None;
        // A broker that has started may bring something at once, on another thread, which then waits here for the broker.
        self.broker.get_or_init(|| match start(self.flow()) {
            Ok(broker) => {
                started = Some(Ok(()));
                broker
            }
            Err(mistake) => {
                started = Some(Err(mistake));
                Arc::new(Memory::new(self.flow()))
            }
        });
        started.expect("`App::broker` must come before anything is published or subscribed to")
    }

    /// Returns whether anybody is subscribed to a channel of this stream, or about to be.
    pub fn is_used(&self, stream: &str, channel: &str) -> bool {
        self.find(stream).is_some_and(|found| *stream == *channel || found.has(channel))
    }

    /// Sends an event to the subscribers of its channels, those of other servers too.
    pub async fn publish(&self, mut to: Vec<Target>, message: EncodedEvent, except: Vec<Excluded>) -> PublishOutcome {
        // Nobody can be subscribed there, and a broker may keep the name.
        let limit = self.max_channel_bytes();
        to.retain(|target| target.channel.len() <= limit || self.warn_of_long_name(target));
        if to.is_empty() {
            return PublishOutcome::Delivered;
        }
        match self.bring(self.next_id(), to, message, except).await {
            Sent::Counted(_) => PublishOutcome::Delivered,
            Sent::Not(entry) => {
                for Destination { target, .. } in &entry.destinations {
                    if let Some(stream) = self.known().find_or_note(&target.stream) {
                        stream.lock().deliver_uncounted(&entry, &target.channel);
                    }
                    // If the broker is back already, it was not asked since for what this node delivered on its own.
                    if !self.is_down() {
                        self.renew(self.stream(&target.stream));
                    }
                }
                PublishOutcome::LocalOnly
            }
            Sent::Unknown => PublishOutcome::Unknown,
        }
    }

    /// Publishes what has an id already; false if it may not have reached the broker, in which case nobody here gets it
    /// either. PublishOutcome again, by any server, a subscriber of a filtered channel receives it once.
    pub async fn publish_once(
        &self,
        (node, number): (u64, u64),
        to: Target,
        message: EncodedEvent,
        except: Vec<Excluded>,
    ) -> bool {
        let id = Id { node: Node(node), number };
        matches!(self.bring(id, vec![to], message, except).await, Sent::Counted(_))
    }

    /// Brings an event to the broker, and waits until this node has it back.
    pub(crate) async fn bring(&self, id: Id, to: Vec<Target>, message: EncodedEvent, except: Vec<Excluded>) -> Sent {
        let destinations = to.into_iter().map(|target| Destination { target, position: None }).collect();
        let sent =
            self.broker().publish(PublishedEvent { id, message, except, destinations, at: environment::now() }).await;
        if let Sent::Counted(entry) = &sent {
            for Destination { target, position } in &entry.destinations {
                if let Some((stream, position)) = self.find(&target.stream).zip(position.as_ref())
                    && timeout(LATE, stream.has_applied(position, || self.is_down())).await.is_err()
                {
                    self.renew(stream);
                }
            }
        }
        sent
    }

    /// Keeps what is published to a channel from now on, or from where the client was, until the subscription is live.
    pub(crate) async fn hold(
        &self,
        subscriber: &Subscriber,
        to: Target,
        filter: Option<Arc<dyn EventFilter>>,
        resume: Option<&Position>,
    ) -> PendingSubscription {
        // Freed also if the request that subscribes ends while this waits.
        let used = Freed(self.stream(&to.stream));
        let stream = &used.0;
        stream.lock().log.retain(to.history);
        stream.attached(&**self.broker()).await;
        let behind = match resume {
            Some(position) => !stream.catch_up(position, &**self.broker()).await,
            None => false,
        };
        stream.hold(subscriber, to, filter, resume, behind)
    }

    /// How a socket came into a channel that it is live in.
    pub(crate) fn joined(&self, subscriber: &Subscriber, channel: &str) -> Option<(Position, Recovery)> {
        let stream = subscriber.joined().get(channel)?.clone();
        self.find(&stream)?.joined(channel, subscriber.id())
    }

    /// Takes a socket out of a channel; false if it was not in it.
    pub(crate) fn leave(&self, subscriber: &Subscriber, channel: &str) -> bool {
        let mut joined = subscriber.joined();
        let Some((channel, stream)) = joined.remove_entry(channel) else { return false };
        let stream = self.find(&stream);
        stream.iter().for_each(|stream| stream.leave(&channel, subscriber, true));
        drop(joined);
        stream.iter().for_each(|stream| self.freed(stream));
        true
    }

    /// Makes a socket live in a channel, outside any request of its. None if it is gone.
    pub(crate) async fn add(&self, subscriber: &Subscriber, to: Target, resume: Option<&Position>) -> Option<Recovery> {
        if let Some((_, outcome)) = self.joined(subscriber, &to.channel) {
            return Some(outcome);
        }
        if to.channel.len() > self.max_channel_bytes() {
            self.warn_of_long_name(&to);
            return None;
        }
        self.hold(subscriber, to, None, resume).await.announce(None)
    }

    /// Takes a socket out of a channel, outside any request of its.
    pub(crate) fn remove(&self, subscriber: &Subscriber, channel: &str, reason: LeftReason) {
        if self.leave(subscriber, channel) {
            subscriber.send(&Delivery::Left { channel, reason });
        }
    }

    /// Lists the sockets of this server that are subscribed to a channel.
    pub fn members(&self, of: &Target) -> Vec<Subscriber> {
        self.find(&of.stream).map(|stream| stream.members(&of.channel)).unwrap_or_default()
    }

    /// How many sockets of this server are subscribed to a channel.
    pub(crate) fn count(&self, of: &Target) -> usize {
        self.find(&of.stream).map_or(0, |stream| stream.count(&of.channel))
    }

    /// The sockets that are live in a channel, and those whose requests are subscribing to it.
    pub(crate) fn members_and_holders(&self, of: &Target) -> Vec<Subscriber> {
        let stream = self.find(&of.stream);
        let subscribers = stream.map(|stream| [stream.members(&of.channel), stream.holders(&of.channel)].concat());
        subscribers.unwrap_or_default()
    }

    /// Returns how many subscriptions a socket may have.
    pub fn max_subscriptions(&self) -> usize {
        self.max_subscriptions.load(Ordering::Relaxed)
    }

    /// Sets how many subscriptions a socket may have.
    pub fn set_max_subscriptions(&self, subscriptions: usize) {
        self.max_subscriptions.store(subscriptions, Ordering::Relaxed);
    }

    /// Returns how many bytes the name of a channel may have.
    pub fn max_channel_bytes(&self) -> usize {
        self.max_channel_bytes.load(Ordering::Relaxed)
    }

    /// Sets how many bytes the name of a channel may have.
    pub fn set_max_channel_bytes(&self, bytes: usize) {
        self.max_channel_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Logs the first channel with a name that is too long; false, since nothing can be done for it.
    fn warn_of_long_name(&self, target: &Target) -> bool {
        if !self.warned.swap(true, Ordering::Relaxed) {
            let (bytes, limit) = (target.channel.len(), self.max_channel_bytes());
            tracing::warn!(bytes, limit, "channel name too long: nobody can subscribe; raise `App::max_channel_bytes`");
        }
        false
    }

    /// Returns the sockets of this server.
    pub fn sockets(&self) -> &Subscribers {
        &self.sockets
    }

    /// Lets a socket in. The old socket of its client, which the server may still believe alive, gets nothing more.
    /// False, and nothing is done, if that one is the newer.
    pub fn connect(&self, subscriber: &Subscriber) -> bool {
        let Ok(old) = self.sockets.connect(subscriber) else { return false };
        if let Some(old) = old {
            old.end();
            self.leave_all(&old);
        }
        true
    }

    /// Marks a socket until it is gone.
    ///
    /// # Errors
    ///
    /// If the socket is gone, or has too many tags, or the tag is too long. A tag that was closed since the connection of the
    /// socket began closes it now.
    pub fn tag(&self, subscriber: &Subscriber, tag: &str) -> Result<(), TagError> {
        self.sockets.tag(subscriber, tag)?;
        // A closing is noted before it looks for its sockets: whichever is the second, this or the closing, sees the first.
        match self.closings.since(subscriber.opened(), |closed| closed.has_tag(tag)) {
            None => Ok(()),
            Some(reason) => {
                self.close_by(subscriber, &reason);
                Err(TagError::Gone)
            }
        }
    }

    /// Closes a socket that a request has just subscribed, if that channel was closed since the request began.
    pub(super) fn close_late(&self, held: &PendingSubscription, subscriber: &Subscriber, since: Moment) -> bool {
        let (stream, channel) = (held.stream(), held.channel());
        let Some(reason) = self.closings.since(since, |closed| closed.has_channel(&stream.name, channel)) else {
            return false;
        };
        self.close_by(subscriber, &reason);
        true
    }

    /// Closes a socket that a closing concerns; false if it was gone. A socket that may have come after the closing is
    /// disconnected without a reason, so that its client connects again and is asked anew.
    pub(super) fn close_by(&self, subscriber: &Subscriber, reason: &Reason) -> bool {
        if reason.away_since.is_none_or(|since| subscriber.opened() < since) {
            return self.close(subscriber, &reason.text);
        }
        let was_there = !subscriber.is_gone();
        subscriber.end();
        self.leave_all(subscriber);
        was_there
    }

    /// Disconnects all sockets, which may connect again and are asked anew.
    pub(super) fn end_all(&self) {
        let reason = Reason { text: String::new(), away_since: Some(Moment::default()) };
        self.closings.note(Closed::All, reason.clone(), None);
        for subscriber in self.sockets.all() {
            self.close_by(&subscriber, &reason);
        }
    }

    pub(super) fn closings(&self) -> &Closings {
        &self.closings
    }

    /// Ends a socket for a reason, which its client is told. False if it was gone.
    pub fn close(&self, subscriber: &Subscriber, reason: &str) -> bool {
        if !subscriber.close(reason) {
            return false;
        }
        self.leave_all(subscriber);
        true
    }

    /// Takes a socket that is gone out of everything.
    pub fn leave_all(&self, subscriber: &Subscriber) {
        let joined = std::mem::take(&mut *subscriber.joined());
        for (channel, stream) in joined {
            let Some(stream) = self.find(&stream) else { continue };
            stream.leave(&channel, subscriber, false);
            self.freed(&stream);
        }
        self.sockets.disconnect(subscriber);
    }

    pub(super) fn alarms(&self) -> &Arc<Alarms> {
        &self.alarms
    }

    /// The bytes of history that all streams keep.
    pub(super) fn kept(&self) -> &Arc<AtomicUsize> {
        &self.kept
    }

    /// The clients that all streams know the start of.
    pub(super) fn readers(&self) -> &Arc<AtomicUsize> {
        &self.readers
    }

    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.get()
    }

    pub(super) fn node(&self) -> Node {
        self.node
    }

    pub(super) fn next_id(&self) -> Id {
        Id { node: self.node, number: self.next.fetch_add(1, Ordering::Relaxed) }
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    pub(super) fn broker(&self) -> &Arc<dyn Broker> {
        self.broker.get_or_init(|| Arc::new(Memory::new(self.flow())))
    }

    /// Returns whether the broker cannot be reached, or was not asked yet whom to close.
    pub fn is_down(&self) -> bool {
        self.outage() % 2 == 1
    }

    /// The number of the outage; an even one is over.
    pub(super) fn outage(&self) -> u64 {
        self.outage.load(Ordering::SeqCst)
    }

    /// What comes from now on waits until its stream is attached anew.
    pub(super) fn begin_outage(&self) {
        if !self.is_down() {
            *self.away_since.lock().unwrap_or_else(PoisonError::into_inner) = Moment::next();
        }
        let next = |outage| Some(if outage % 2 == 1 { outage + 2 } else { outage + 1 });
        // It never refuses.
        let _ = self.outage.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        for stream in self.all() {
            stream.set_stale(self.outage());
            stream.applied.notify_waiters();
        }
    }

    /// Since when the broker cannot be reached, or was not asked yet whom to close.
    pub(super) fn away_since(&self) -> Option<Moment> {
        self.is_down().then(|| *self.away_since.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// False if the connection has ended again since that outage.
    pub(super) fn end_outage(&self, outage: u64) -> bool {
        let over = outage.next_multiple_of(2);
        self.outage.compare_exchange(outage, over, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// A stream that is known.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Stream>> {
        self.known().streams.get(name).cloned()
    }

    /// The broker can be reached: all streams are attached anew, and those take a new epoch of which it did not get something.
    pub(super) async fn renew_all(&self) {
        let (unsent, more, told) = {
            let known = self.known();
            (known.unsent.iter().cloned().collect::<Vec<_>>(), known.unsent_more, known.unsent_told)
        };
        // Whoever makes one finds that something of it was not sent.
        let made: Vec<_> = unsent.iter().map(|name| self.stream(name)).collect();
        let all = self.all().into_iter().filter(|stream| !stream.is_for_commands());
        let renewed = stream::iter(all).map(|stream| resync::renewed(stream, self.broker().clone()));
        renewed.buffer_unordered(RENEWALS).collect::<()>().await;
        drop(made);
        self.known().trim(self);
        if more > told {
            // Servers that are away do it when they are back, and a broker that did not get it is given it again, as with closings.
            if self.everywhere(Command::Turn).await.is_err() {
                tracing::warn!("some servers report later what was published while the broker could not be reached");
            }
            let mut known = self.known();
            known.unsent_told = known.unsent_told.max(more);
        }
    }

    /// Attaches a stream anew; during an outage nothing is done, since all of them are at its end.
    pub(super) fn renew(&self, stream: Arc<Stream>) {
        if !self.is_down() || stream.is_for_commands() {
            tokio::spawn(resync::renewed(stream, self.broker().clone()));
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        self.known().streams.values().cloned().collect()
    }

    pub(super) fn stream(&self, name: &Arc<str>) -> Arc<Stream> {
        self.known().get(name, self)
    }

    /// Something that used a stream has ended. If it was the last, the stream is one of the idle ones. One that never had an
    /// event and keeps none is dropped instead, since the broker in memory gives it the same position again. No lock of a stream
    /// may be held.
    pub(super) fn freed(&self, stream: &Arc<Stream>) {
        if !stream.lock().is_unused() {
            return;
        }
        let mut known = self.known();
        let is_current = known.streams.get(&stream.name).is_some_and(|current| Arc::ptr_eq(current, stream));
        if !is_current {
            return;
        }
        if self.cluster().is_none() && is_unused(stream) && stream.lock().is_blank() {
            known.streams.remove(&stream.name);
            self.broker().detach(&stream.name);
        } else {
            known.list(stream, self);
            known.trim(self);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the history of the streams that were not used for longest, when all of it is too much.
    pub(super) fn evict(&self) {
        if self.kept.load(Ordering::Relaxed) <= MAX_KEPT {
            return;
        }
        let mut streams = self.all();
        streams.sort_by_cached_key(|stream| stream.lock().used);
        for stream in streams {
            // A little more than needed, since looking at all streams takes long.
            if self.kept.load(Ordering::Relaxed) <= MAX_KEPT / 8 * 7 {
                return;
            }
            stream.lock().log.forget();
        }
        // The rest is held for subscriptions whose clients read slowly: for these it becomes a gap.
        let mut streams = self.all();
        streams.sort_by_cached_key(|stream| std::cmp::Reverse(stream.lock().log.bytes()));
        for stream in streams {
            if self.kept.load(Ordering::Relaxed) <= MAX_KEPT / 8 * 7 {
                return;
            }
            stream.lock().log.clear();
        }
    }
}

/// A use of a stream that ends with this value.
struct Freed(Arc<Stream>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.freed();
    }
}

impl Known {
    fn get(&mut self, name: &Arc<str>, streams: &StreamRegistry) -> Arc<Stream> {
        if let Some(stream) = self.streams.get(name) {
            return stream.clone();
        }
        let stream = Arc::new(Stream::new(name.clone(), streams));
        stream.lock().link.delivered_locally = self.unsent.remove(name);
        if streams.is_down() {
            stream.set_stale(streams.outage());
        }
        self.streams.insert(name.clone(), stream.clone());
        if streams.cluster().is_some() {
            // It may have been made for an event alone.
            self.list(&stream, streams);
            self.trim(streams);
        }
        stream
    }

    /// A stream that something is published to without the broker. If it is not known, nobody here hears it; it is noted for
    /// the subscribers of other servers.
    fn find_or_note(&mut self, name: &Arc<str>) -> Option<Arc<Stream>> {
        let stream = self.streams.get(name).cloned();
        if stream.is_none() {
            if self.unsent.len() < MAX_UNSENT && name.len() <= MAX_UNSENT_NAME {
                self.unsent.insert(name.clone());
            } else {
                self.unsent_more += 1;
            }
        }
        stream
    }

    /// Remembers that a stream is idle since now.
    fn list(&mut self, stream: &Arc<Stream>, streams: &StreamRegistry) {
        let bytes = {
            let mut state = stream.lock();
            state.idle = Some(Instant::now());
            if std::mem::replace(&mut state.listed, true) {
                return;
            }
            state.idle_bytes() + stream.name.len()
        };
        self.idle_bytes += bytes;
        self.idle.push_back(Idle { name: stream.name.clone(), bytes, since: Instant::now() });
        // The last subscription may end after its runtime. A sweeper that panicked is replaced.
        if self.sweeper.as_ref().is_none_or(JoinHandle::is_finished)
            && let Some(linger) = streams.broker().linger()
            && let Ok(runtime) = Handle::try_current()
        {
            self.sweeper = Some(runtime.spawn(sweep(streams.this.clone(), linger)));
        }
    }

    /// Takes the stream that has been listed for longest. None if it is used, or gone.
    fn unlist(&mut self) -> Option<Arc<Stream>> {
        let Idle { name, bytes, .. } = self.idle.pop_front()?;
        self.idle_bytes -= bytes;
        let stream = self.streams.get(&name).cloned()?;
        let unused = {
            let mut state = stream.lock();
            state.listed = false;
            state.is_unused()
        };
        // One that is used lists itself when that ends.
        unused.then_some(stream)
    }

    /// Drops idle streams as long as there are too many, or too many bytes of them.
    fn trim(&mut self, streams: &StreamRegistry) {
        let mut looks = 0;
        while looks < LOOKS && (self.idle.len() > IDLE_STREAMS || self.idle_bytes > IDLE_BYTES) {
            // It may be about to be used, or have news for other nodes.
            if let Some(stream) = self.unlist()
                && !self.drop_idle(&stream, streams.broker())
            {
                self.list(&stream, streams);
                looks += 1;
            }
        }
    }

    /// Detaches streams that have been idle for this long; false if none is left to look at.
    fn detach(&mut self, linger: Duration, streams: &StreamRegistry) -> bool {
        for _ in 0..SWEPT {
            if self.idle.front().is_none_or(|first| first.since.elapsed() < linger) {
                return false;
            }
            #[cfg(test)]
            {
                self.looks += 1;
            }
            let Some(stream) = self.unlist() else { continue };
            // It may have been used since it was listed.
            let idle = stream.lock().idle.is_some_and(|since| since.elapsed() >= linger);
            if !idle || !self.drop_idle(&stream, streams.broker()) {
                self.list(&stream, streams);
            }
        }
        true
    }

    /// Drops a stream, unless a subscription has it, or other nodes are to hear of what was delivered on this one alone.
    /// The broker hears of it before it can be asked for the stream again.
    fn drop_idle(&mut self, stream: &Arc<Stream>, broker: &Arc<dyn Broker>) -> bool {
        if !is_unused(stream) || stream.lock().link.delivered_locally {
            return false;
        }
        self.streams.remove(&stream.name);
        broker.detach(&stream.name);
        true
    }
}

/// Whether only its caller and the registry, which is locked, have a stream. Whoever is about to use it has it too, and has it
/// until it is used: so it is asked afterwards whether somebody uses it.
fn is_unused(stream: &Arc<Stream>) -> bool {
    Arc::strong_count(stream) == 2 && stream.lock().is_unused()
}

/// Detaches the streams that stay idle, now and then. One that is used is not looked at, so a thousand of them cost nothing.
async fn sweep(streams: Weak<StreamRegistry>, linger: Duration) {
    loop {
        sleep(linger).await;
        let Some(streams) = streams.upgrade() else { return };
        while streams.known().detach(linger, &streams) {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{History, broker::mock, testing::Hub};

    fn target(name: &str, history: History) -> Target {
        Target { channel: name.into(), stream: name.into(), history, shape: None }
    }

    async fn publish(hub: &Hub, to: Target, message: &str) {
        let message = EncodedEvent { name: message.into(), arguments: Vec::new() };
        assert_eq!(hub.registry().publish(vec![to], message, Vec::new()).await, PublishOutcome::Delivered);
    }

    /// A socket that is live in so many channels, each of which has had an event.
    async fn crowd(hub: &Hub, id: &str, channels: std::ops::Range<usize>) -> Subscriber {
        let (subscriber, _wire) = Subscriber::of_test(id, None);
        for n in channels {
            let name = format!("{n:0>250}");
            hub.registry().add(&subscriber, target(&name, History::NONE), None).await.unwrap();
            publish(hub, target(&name, History::NONE), "x").await;
        }
        subscriber
    }

    #[tokio::test]
    async fn idle_streams_are_bounded_and_those_in_use_are_kept() {
        let hub = Hub::default();
        let streams = hub.registry();
        let stays = crowd(&hub, "stays", 0..10).await;
        // All of them leave at once, after which nothing new comes.
        let leaves = crowd(&hub, "leaves", 10..2 * IDLE_STREAMS).await;
        assert_eq!(streams.all().len(), 2 * IDLE_STREAMS);
        streams.leave_all(&leaves);
        let known = streams.known();
        assert!(
            known.streams.len() <= IDLE_STREAMS + 10 && known.idle.len() <= IDLE_STREAMS,
            "{}",
            known.streams.len()
        );
        assert!(known.idle_bytes <= IDLE_BYTES);
        assert_eq!(streams.broker().streams(), known.streams.len());
        assert!((0..10).all(|n| known.streams.contains_key(&*format!("{n:0>250}"))));
        drop(known);
        streams.leave_all(&stays);
    }

    fn on_a_broker(linger: Duration) -> (Hub, mock::Backend) {
        let (hub, backend) = (Hub::default(), mock::Backend::default());
        backend.lock().linger = Some(linger);
        hub.registry().join_by(|flow| Ok(Arc::new(backend.connect(flow)))).unwrap();
        assert!(hub.registry().end_outage(hub.registry().outage()));
        (hub, backend)
    }

    #[tokio::test(start_paused = true)]
    async fn streams_in_use_cost_no_task_and_no_look() {
        const STREAMS: usize = 10_000;
        const LINGER: Duration = Duration::from_secs(10);
        let (hub, backend) = on_a_broker(LINGER);
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let before = tasks();
        let (subscriber, _wire) = Subscriber::of_test("ada", None);
        for n in 0..STREAMS {
            hub.registry().add(&subscriber, target(&n.to_string(), History::NONE), None).await.unwrap();
        }
        assert_eq!(tasks() - before, 1);
        sleep(100 * LINGER).await;
        assert_eq!(tasks() - before, 1);
        // Each once, since it was idle as it was made.
        assert!(hub.registry().known().looks <= STREAMS, "{}", hub.registry().known().looks);
        assert_eq!(backend.lock().detached.len(), 0);
        hub.registry().leave_all(&subscriber);
    }

    #[tokio::test(start_paused = true)]
    async fn stream_that_was_used_again_lingers_again() {
        const LINGER: Duration = Duration::from_secs(10);
        let (hub, backend) = on_a_broker(LINGER);
        let (subscriber, _wire) = Subscriber::of_test("ada", None);
        let visit = async || {
            hub.registry().add(&subscriber, target("room:7", History::NONE), None).await.unwrap();
            assert!(hub.registry().leave(&subscriber, "room:7"));
        };
        for _ in 0..20 {
            visit().await;
            sleep(LINGER / 2).await;
            assert_eq!(backend.lock().detached.len(), 0);
        }
        sleep(4 * LINGER).await;
        assert_eq!(backend.lock().detached.len(), 1);
        assert!(hub.registry().find("room:7").is_none());
        // One that comes and goes later is detached too.
        visit().await;
        sleep(4 * LINGER).await;
        assert_eq!(backend.lock().detached.len(), 2);
    }

    #[tokio::test]
    async fn idle_streams_are_bounded_by_their_bytes() {
        let hub = Hub::default();
        hub.registry().set_max_channel_bytes(100_000);
        let (subscriber, _wire) = Subscriber::of_test("ada", None);
        for n in 0..110 {
            let name = format!("{n}{}", "x".repeat(90_000));
            hub.registry().add(&subscriber, target(&name, History::NONE), None).await.unwrap();
            publish(&hub, target(&name, History::NONE), "x").await;
            hub.registry().leave_all(&subscriber);
        }
        let known = hub.registry().known();
        let bytes: usize = known.streams.keys().map(|name| name.len()).sum();
        assert!(bytes <= IDLE_BYTES && known.idle_bytes <= IDLE_BYTES && known.streams.len() > 70, "{bytes}");
    }

    #[tokio::test]
    async fn streams_without_events_go_with_their_last_subscriber() {
        let hub = Hub::default();
        let streams = hub.registry();
        let (subscriber, _wire) = Subscriber::of_test("ada", Some("ada"));
        for n in 0..1000 {
            streams.add(&subscriber, target(&format!("room:{n}"), History::NONE), None).await.unwrap();
        }
        // One that a request held and did not get.
        drop(streams.hold(&subscriber, target("held", History::NONE), None, None).await);
        let (before, _) = streams.joined(&subscriber, "room:7").unwrap();
        assert!(streams.leave(&subscriber, "room:8"));
        assert_eq!(streams.all().len(), 999);
        streams.leave_all(&subscriber);
        assert_eq!((streams.all().len(), streams.broker().streams(), streams.known().idle.len()), (0, 0, 0));

        // Silence is known to be silence, and what was published meanwhile to be missed.
        let (back, _wire) = Subscriber::of_test("back", Some("ada"));
        let add =
            async |name: &str, at: &Position| streams.add(&back, target(name, History::NONE), Some(at)).await.unwrap();
        assert_eq!(add("room:7", &before).await, Recovery::Recovered);
        assert_eq!(streams.joined(&back, "room:7").unwrap().0, before);
        assert_eq!(add("room:9", &before).await, Recovery::Gap, "a position is that of one stream");
        streams.leave_all(&back);
        publish(&hub, target("room:7", History::NONE), "to nobody").await;
        assert_eq!(add("room:7", &before).await, Recovery::Gap);
        // Nor does a stream that had events and was dropped come back as one that had none.
        let (start, _) = streams.joined(&back, "room:7").unwrap();
        publish(&hub, target("room:7", History::NONE), "to ada").await;
        streams.leave_all(&back);
        streams.broker().detach(&"room:7".into());
        streams.known().streams.clear();
        assert_eq!(add("room:7", &start).await, Recovery::Gap);

        // A history is kept for those who come back, also where it has yet to begin.
        let kept = || target("kept", History::of(10));
        streams.add(&back, kept(), None).await.unwrap();
        let (start, _) = streams.joined(&back, "kept").unwrap();
        streams.leave_all(&back);
        publish(&hub, kept(), "meanwhile").await;
        assert_eq!(streams.add(&back, kept(), Some(&start)).await, Some(Recovery::Recovered));
    }

    #[tokio::test]
    async fn a_long_channel_name_is_published_to_nobody() {
        let hub = Hub::default();
        let (subscriber, mut wire) = Subscriber::of_test("ada", None);
        let long = "x".repeat(MAX_CHANNEL_BYTES + 1);
        assert!(hub.registry().add(&subscriber, target(&long, History::NONE), None).await.is_none());
        publish(&hub, target(&long, History::NONE), "lost").await;
        hub.registry().add(&subscriber, target(&long[1..], History::NONE), None).await.unwrap();
        publish(&hub, target(&long[1..], History::NONE), "said").await;
        assert_eq!((wire.try_recv().unwrap().as_str(), wire.try_recv().is_err()), (r#"["said"]"#, true));
        assert_eq!(hub.registry().all().len(), 1);
    }

    #[tokio::test]
    async fn held_events_are_bounded_over_all_streams() {
        let hub = Hub::default();
        let streams = hub.registry();
        let (subscriber, _wire) = Subscriber::of_test("ada", Some("ada"));
        let event = "x".repeat(1024 * 1024);
        let mut holds = Vec::new();
        for n in 0..40 {
            let to = || target(&format!("room:{n}"), History::NONE);
            holds.push(streams.hold(&subscriber, to(), None, None).await);
            for _ in 0..3 {
                publish(&hub, to(), &event).await;
                assert!(streams.kept.load(Ordering::Relaxed) <= MAX_KEPT);
            }
        }
        // What could not be held is a gap, and nothing else.
        let outcomes: Vec<_> = holds.iter_mut().map(|held| (held.settle(), held.outcome()).1).collect();
        assert!(outcomes.contains(&Recovery::Gap) && outcomes.contains(&Recovery::Fresh));
    }

    #[tokio::test]
    async fn two_requests_that_hold_one_channel_miss_nothing_together() {
        let hub = Hub::default();
        let (subscriber, mut wire) = Subscriber::of_test("ada", None);
        let target = || target("room:7", History::NONE);
        let first = hub.registry().hold(&subscriber, target(), None, None).await;
        publish(&hub, target(), "one").await;
        let second = hub.registry().hold(&subscriber, target(), None, None).await;
        second.join(None);
        publish(&hub, target(), "two").await;
        first.join(None);
        publish(&hub, target(), "three").await;
        drop((first, second));
        let received: Vec<_> = std::iter::from_fn(|| wire.try_recv().ok()).collect();
        assert_eq!(received, [r#"["one"]"#, r#"["two"]"#, r#"["three"]"#]);
        assert!(hub.registry().find("room:7").unwrap().lock().is_free());
    }

    #[tokio::test]
    async fn what_is_published_where_nobody_ever_was_leaves_nothing() {
        let hub = Hub::default();
        publish(&hub, target("room:7", History::of(256)), "to nobody").await;
        assert!(hub.registry().all().is_empty());
        assert_eq!(hub.registry().members(&target("room:7", History::NONE)).len(), 0);
        assert!(hub.registry().all().is_empty());
    }

    #[tokio::test]
    async fn all_histories_together_are_bounded_and_the_least_used_goes_first() {
        const EACH: usize = MAX_KEPT / 4 + 1;
        let hub = Hub::default();
        let streams = hub.registry();
        let (subscriber, _wire) = Subscriber::of_test("ada", None);
        let target = |n: usize| target(&format!("room:{n}"), History::of(1).bytes(2 * EACH));
        let event = "x".repeat(EACH);
        let mut holds = Vec::new();
        for n in 0..3 {
            drop(streams.hold(&subscriber, target(n), None, None).await);
            publish(&hub, target(n), &event).await;
        }
        let kept = |n: usize| {
            let top = streams.find(&format!("room:{n}")).unwrap().lock().log.top().clone();
            let start = Position { offset: top.offset - 1, ..top };
            streams.find(&format!("room:{n}")).unwrap().lock().log.after(&start).is_some()
        };
        // The oldest is used again, so the second has to go.
        holds.push(streams.hold(&subscriber, target(0), None, None).await);
        streams.hold(&subscriber, target(3), None, None).await;
        publish(&hub, target(3), &event).await;
        assert_eq!([0, 1, 2, 3].map(kept), [true, false, true, true]);
        assert!(streams.kept.load(Ordering::Relaxed) <= MAX_KEPT);
        drop(hub);
        drop(holds);
    }
}
