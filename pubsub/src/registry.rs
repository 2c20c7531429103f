//! All streams of this node, and who becomes live in them.

#[cfg(test)]
mod tests;

use std::{
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::{runtime::Handle, task::JoinHandle, time::sleep};

use super::{
    broker::{Broker, BrokerEvent, BrokerEvents, memory::Memory, records::Records},
    closings::Closings,
    delivery::{Delivery, LeftReason},
    entry::{Id, Node, StreamEntry, Target},
    environment::RandomState,
    filter::EventFilter,
    known::Known,
    log::Recovery,
    moment::Moment,
    pending::PendingSubscription,
    position::Position,
    resync,
    sharded::Sharded,
    stream::{Apply, Next, Shared, State, Stream},
    subscriber::Subscriber,
    subscribers::Subscribers,
};

/// The most bytes of history that all streams keep together.
const MAX_KEPT: usize = 64 * 1024 * 1024;

/// How many streams are attached anew at once, so that the broker has time for other things.
const RENEWALS: usize = 256;
/// How many subscriptions a socket may have unless the application says otherwise.
pub const MAX_SUBSCRIPTIONS: usize = 256;
/// How many bytes the name of a channel may have unless the application says otherwise.
pub const MAX_CHANNEL_BYTES: usize = 256;

/// The streams, and the sockets.
#[derive(Debug)]
pub struct StreamRegistry {
    this: Weak<Self>,
    /// There may be other servers.
    joined: AtomicBool,
    /// Memory, unless another was set before it was first needed.
    broker: OnceLock<Arc<dyn Broker>>,
    /// Odd as long as the broker cannot be reached; it grows with each end of a connection.
    outage: AtomicU64,
    /// When the outage began.
    away_since: Mutex<Moment>,
    /// What the ids of this hub's entries begin with, and the number of the next.
    node: Node,
    next: AtomicU64,
    pub(super) shared: Arc<Shared>,
    /// How many subscriptions a socket may have.
    max_subscriptions: AtomicUsize,
    /// How many bytes the name of a channel may have.
    max_channel_bytes: AtomicUsize,
    /// An event went to a channel with a longer name, which is logged once.
    warned: AtomicBool,
    /// All streams by name; `known` changes them.
    streams: Arc<Sharded<Arc<Stream>>>,
    known: Mutex<Known>,
    sockets: Subscribers,
    closings: Closings,
}

impl StreamRegistry {
    /// Creates the streams of one server.
    pub(super) fn new() -> Arc<Self> {
        let node = Node(RandomState::new().hash_one(0));
        Arc::new_cyclic(|this: &Weak<Self>| {
            let (registry, streams) = (this.clone(), Arc::<Sharded<_>>::default());
            let freed = Box::new(move |stream: &Arc<Stream>| {
                if let Some(streams) = registry.upgrade() {
                    streams.freed(stream);
                }
            });
            let shared =
                Arc::new(Shared { kept: Arc::default(), readers: Arc::default(), alarms: Arc::default(), freed });
            Self {
                this: this.clone(),
                joined: AtomicBool::new(false),
                broker: OnceLock::new(),
                outage: AtomicU64::new(0),
                away_since: Mutex::default(),
                node,
                next: AtomicU64::new(0),
                shared: shared.clone(),
                max_subscriptions: AtomicUsize::new(MAX_SUBSCRIPTIONS),
                max_channel_bytes: AtomicUsize::new(MAX_CHANNEL_BYTES),
                warned: AtomicBool::new(false),
                streams: streams.clone(),
                known: Mutex::new(Known::new(shared, streams)),
                sockets: Subscribers::default(),
                closings: Closings::default(),
            }
        })
    }

    /// What brings a broker's entries to these streams; the broker in memory has no other news.
    pub(crate) fn flow(&self) -> BrokerEvents {
        let streams = self.this.clone();
        BrokerEvents::new(self.node, move |event| {
            if let (BrokerEvent::Entry(copy), Some(streams)) = (event, streams.upgrade()) {
                streams.arrived(copy);
            }
        })
    }

    /// Sets the broker, which leads to other servers.
    ///
    /// # Panics
    ///
    /// If something was published or subscribed to before.
    pub(super) fn join(&self, start: impl FnOnce() -> Result<Arc<dyn Broker>, String>) -> Result<(), String> {
        self.joined.store(true, Ordering::SeqCst);
        let mut started = None;
        // A broker that has started may bring something at once, on another thread, which then waits here for the broker.
        self.broker.get_or_init(|| match start() {
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

    /// Tells the other servers that this one ends.
    pub async fn leave_cluster(&self) {
        if self.is_joined() {
            self.broker().leave().await;
        }
    }

    /// An entry came, perhaps not for the first time.
    pub(super) fn arrived(&self, copy: StreamEntry) {
        let Some(stream) = self.find(&copy.target().stream) else { return };
        match stream.arrive(copy) {
            Next::Nothing => {}
            Next::Fill => drop(tokio::spawn(resync::fill(stream, self.broker().clone()))),
            Next::Renew => self.renew(stream),
        }
        self.evict();
    }

    /// Returns the keyed records that all servers of the application share.
    pub fn records(&self) -> Records {
        Records::new(self.broker().clone())
    }

    /// Returns whether anybody is subscribed to a channel of this stream, or about to be.
    pub fn is_used(&self, stream: &str, channel: &str) -> bool {
        self.find(stream).is_some_and(|found| *stream == *channel || found.has(channel))
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
    pub(super) fn warn_of_long_name(&self, target: &Target) -> bool {
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

    pub(super) fn closings(&self) -> &Closings {
        &self.closings
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

    pub(super) fn is_joined(&self) -> bool {
        self.joined.load(Ordering::SeqCst)
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
        self.streams.get(name)
    }

    /// The broker can be reached: all streams are attached anew, and those take a new epoch of which it did not get something.
    /// If it did not get something of streams that are not known, how often, for all servers to be told.
    pub(super) async fn renew_all(&self) -> Option<u64> {
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
        self.known().trim(&**self.broker());
        (more > told).then_some(more)
    }

    /// All servers were told, up to this time.
    pub(super) fn told(&self, more: u64) {
        let mut known = self.known();
        known.unsent_told = known.unsent_told.max(more);
    }

    /// Attaches a stream anew; during an outage nothing is done, since all of them are at its end.
    pub(super) fn renew(&self, stream: Arc<Stream>) {
        if !self.is_down() || stream.is_for_commands() {
            tokio::spawn(resync::renewed(stream, self.broker().clone()));
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        self.streams.values()
    }

    pub(super) fn stream(&self, name: &Arc<str>) -> Arc<Stream> {
        if let Some(stream) = self.find(name) {
            return stream;
        }
        let mut known = self.known();
        // Somebody else may have made it since.
        if let Some(stream) = self.find(name) {
            return stream;
        }
        let stream = known.add(name, None);
        if self.is_down() {
            stream.set_stale(self.outage());
        }
        if self.is_joined() {
            // It may have been made for an event alone.
            self.list(&mut known, &stream);
        }
        stream
    }

    /// Makes a stream of which the server itself does what is applied.
    pub(super) fn add_for_commands(&self, name: &str, apply: Apply) -> Arc<Stream> {
        self.known().add(&name.into(), Some(apply))
    }

    /// A stream is idle since now; if there are too many of them, some are dropped.
    fn list(&self, known: &mut Known, stream: &Arc<Stream>) {
        known.list(stream);
        // The last subscription may end after its runtime. A sweeper that panicked is replaced.
        if known.sweeper.as_ref().is_none_or(JoinHandle::is_finished)
            && let Some(linger) = self.broker().linger()
            && let Ok(runtime) = Handle::try_current()
        {
            known.sweeper = Some(runtime.spawn(sweep(self.this.clone(), linger)));
        }
        known.trim(&**self.broker());
    }

    /// Something that used a stream has ended. If it was the last, the stream is one of the idle ones. One that never had an
    /// event and keeps none is dropped instead, since the broker in memory gives it the same position again. No lock of a stream
    /// may be held.
    pub(super) fn freed(&self, stream: &Arc<Stream>) {
        if !stream.lock().is_unused() {
            return;
        }
        let mut known = self.known();
        let is_current = self.find(&stream.name).is_some_and(|current| Arc::ptr_eq(&current, stream));
        if !is_current {
            return;
        }
        let is_dropped = !self.is_joined() && known.drop_if(stream, &**self.broker(), State::is_blank);
        if !is_dropped {
            self.list(&mut known, stream);
        }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the history of the streams that were not used for longest, when all of it is too much.
    pub(super) fn evict(&self) {
        if self.shared.kept.load(Ordering::Relaxed) <= MAX_KEPT {
            return;
        }
        let mut streams = self.all();
        streams.sort_by_cached_key(|stream| stream.lock().used);
        for stream in streams {
            // A little more than needed, since looking at all streams takes long.
            if self.shared.kept.load(Ordering::Relaxed) <= MAX_KEPT / 8 * 7 {
                return;
            }
            stream.lock().log.forget();
        }
        // The rest is held for subscriptions whose clients read slowly: for these it becomes a gap.
        let mut streams = self.all();
        streams.sort_by_cached_key(|stream| std::cmp::Reverse(stream.lock().log.bytes()));
        for stream in streams {
            if self.shared.kept.load(Ordering::Relaxed) <= MAX_KEPT / 8 * 7 {
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

/// Detaches the streams that stay idle, now and then. One that is used is not looked at, so a thousand of them cost nothing.
async fn sweep(streams: Weak<StreamRegistry>, linger: Duration) {
    loop {
        sleep(linger).await;
        let Some(streams) = streams.upgrade() else { return };
        while streams.known().detach(linger, &**streams.broker()) {
            tokio::task::yield_now().await;
        }
    }
}
