//! All streams of this node, and who becomes live in them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream};
use socketioxide::socket::Sid;
use tokio::time::timeout;

use super::{
    channel::Channel,
    cluster::Cluster,
    command::Command,
    entry::{Entry, Excluded, Id, Node, Place, Position, Target},
    expiry::Alarms,
    flow::{self, Flow},
    frame::Frame,
    gate::Gate,
    held::Held,
    log::Outcome,
    message::Message,
    names::{ChannelConflict, Kind, Names},
    peer::Peer,
    publish::Published,
    sockets::Sockets,
    stream::Stream,
};
use crate::bus::{Bus, Memory, Sent};

/// How many streams are kept although nobody is subscribed: whoever comes back to one that is not hears `gap`.
const IDLE_STREAMS: usize = 4096;
/// How many streams are looked at for each new one, to find one that nobody needs.
const LOOKS: usize = 4;
/// The most bytes of history that all streams keep together.
const MAX_KEPT: usize = 64 * 1024 * 1024;

/// How late an entry may come that the bus has counted; then its stream is attached anew.
const LATE: Duration = Duration::from_secs(1);
/// How many streams are attached anew at once, so that the bus has time for other things.
const RENEWALS: usize = 256;
/// Of how many streams it is remembered that something was published there that the bus did not get.
pub(super) const MAX_UNSENT: usize = 65_536;

/// How many subscriptions a socket may have unless the application says otherwise.
const MAX_SUBSCRIPTIONS: usize = 256;

/// The streams, and the sockets.
#[derive(Debug)]
pub(crate) struct Streams {
    this: Weak<Self>,
    /// What joins this hub to those of other servers, if there may be any.
    cluster: OnceLock<Cluster>,
    /// Memory, unless another was set before it was first needed.
    bus: OnceLock<Arc<dyn Bus>>,
    /// Odd as long as the bus cannot be reached; it grows with each end of a connection.
    outage: AtomicU64,
    /// What the ids of this hub's entries begin with, and the number of the next.
    node: Node,
    next: AtomicU64,
    /// The bytes of history that all streams keep.
    kept: Arc<AtomicUsize>,
    /// How many subscriptions a socket may have.
    max_subscriptions: AtomicUsize,
    /// The ends of subscriptions.
    alarms: Arc<Alarms>,
    known: Mutex<Known>,
    names: Names,
    sockets: Sockets,
}

/// The streams by name, and in the order in which they are looked at when there are too many.
#[derive(Debug, Default)]
struct Known {
    streams: HashMap<Arc<str>, Arc<Stream>>,
    order: VecDeque<Arc<str>>,
    /// Those that are not known here, and of which the bus did not get something.
    unsent: HashSet<Arc<str>>,
    /// There were more of them than are remembered.
    unsent_more: bool,
}

impl Streams {
    pub(crate) fn new() -> Arc<Self> {
        let node = Node(RandomState::new().hash_one(0));
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            cluster: OnceLock::new(),
            bus: OnceLock::new(),
            outage: AtomicU64::new(0),
            node,
            next: AtomicU64::new(0),
            kept: Arc::default(),
            max_subscriptions: AtomicUsize::new(MAX_SUBSCRIPTIONS),
            alarms: Arc::default(),
            known: Mutex::default(),
            names: Names::default(),
            sockets: Sockets::default(),
        })
    }

    /// What tells a bus where to bring what it has.
    pub(crate) fn flow(&self) -> Flow {
        Flow { streams: self.this.clone(), node: self.node }
    }

    /// Joins these streams to those of other nodes by a bus that cannot be reached yet.
    ///
    /// # Panics
    ///
    /// If something was published or subscribed to before.
    pub(crate) fn join(&self, bus: Arc<dyn Bus>) {
        self.begin_outage();
        assert!(self.bus.set(bus).is_ok(), "`App::bus` must come before anything is published or subscribed to");
        assert!(self.cluster.set(Cluster::new(self)).is_ok(), "it comes with the bus");
    }

    /// Where a channel is: the one way to it for whatever an application does with it.
    pub(crate) fn target<C: Channel + ?Sized>(&self, channel: &C) -> Result<Target, ChannelConflict> {
        let target = Target::of(channel);
        if let Some(kind) = Kind::of::<C>() {
            self.claim(&target, kind)?;
        }
        Ok(target)
    }

    /// Refuses a name that belongs to another type.
    pub(super) fn claim(&self, target: &Target, kind: Kind) -> Result<(), ChannelConflict> {
        self.names.claim(target, kind, |stream, channel| {
            self.find(stream).is_some_and(|found| *stream == *channel || found.has(channel))
        })
    }

    /// A socket has the name of a channel on another stream.
    pub(super) fn stream_conflict(&self, target: &Target) -> ChannelConflict {
        self.names.stream_conflict(target)
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Sends an event to the subscribers of its channels, those of other nodes too.
    pub(crate) async fn publish(&self, to: Vec<Target>, message: Message, except: Vec<Excluded>) -> Published {
        match self.bring(self.next_id(), to, message, except).await {
            Sent::Counted(_) => Published::Delivered,
            Sent::Not(entry) => {
                for Place { target, .. } in &entry.places {
                    if let Some(stream) = self.known().find_or_note(&target.stream) {
                        stream.lock().deliver_uncounted(&entry, &target.channel);
                    }
                    // If the bus is back already, it was not asked since for what this node delivered on its own.
                    if !self.is_down() {
                        self.renew(self.stream(&target.stream));
                    }
                }
                Published::LocalOnly
            }
            Sent::Unknown => Published::Unknown,
        }
    }

    /// Brings an event to the bus, and waits until this node has it back.
    pub(crate) async fn bring(&self, id: Id, to: Vec<Target>, message: Message, except: Vec<Excluded>) -> Sent {
        let places = to.into_iter().map(|target| Place { target, position: None }).collect();
        let sent = self.bus().publish(Entry { id, message, except, places, at: SystemTime::now() }).await;
        if let Sent::Counted(entry) = &sent {
            for Place { target, position } in &entry.places {
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
        peer: &Peer,
        to: Target,
        gate: Option<Arc<dyn Gate>>,
        resume: Option<&Position>,
    ) -> Held {
        let stream = self.stream(&to.stream);
        stream.lock().log.retain(to.history);
        stream.attached(&**self.bus()).await;
        let behind = match resume {
            Some(position) => !stream.catch_up(position, &**self.bus()).await,
            None => false,
        };
        stream.hold(peer, to, gate, resume, behind)
    }

    /// How a socket came into a channel that it is live in.
    pub(crate) fn joined(&self, peer: &Peer, channel: &str) -> Option<(Position, Outcome)> {
        let stream = peer.joined().get(channel)?.clone();
        stream.joined(channel, peer.id())
    }

    /// Takes a socket out of a channel; false if it was not in it.
    pub(crate) fn leave(&self, peer: &Peer, channel: &str) -> bool {
        let mut joined = peer.joined();
        let Some((channel, stream)) = joined.remove_entry(channel) else { return false };
        stream.leave(&channel, peer, true);
        true
    }

    /// Makes a socket live in a channel, outside any request of its. None if it is gone.
    pub(crate) async fn add(&self, peer: &Peer, to: Target, resume: Option<&Position>) -> Option<Outcome> {
        if let Some((_, outcome)) = self.joined(peer, &to.channel) {
            return Some(outcome);
        }
        self.hold(peer, to, None, resume).await.announce(None)
    }

    /// Takes a socket out of a channel, outside any request of its.
    pub(crate) fn remove(&self, peer: &Peer, channel: &str, reason: &'static str) {
        if self.leave(peer, channel) {
            peer.send(&Frame::Left { channel, reason });
        }
    }

    /// The sockets that are live in a channel.
    pub(crate) fn members(&self, of: &Target) -> Vec<Peer> {
        self.find(&of.stream).map(|stream| stream.members(&of.channel)).unwrap_or_default()
    }

    /// The sockets that are live in a channel, and those whose requests are subscribing to it.
    pub(crate) fn members_and_holders(&self, of: &Target) -> Vec<Peer> {
        let stream = self.find(&of.stream);
        let peers = stream.map(|stream| [stream.members(&of.channel), stream.holders(&of.channel)].concat());
        peers.unwrap_or_default()
    }

    pub(super) fn max_subscriptions(&self) -> usize {
        self.max_subscriptions.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max_subscriptions(&self, subscriptions: usize) {
        self.max_subscriptions.store(subscriptions, Ordering::Relaxed);
    }

    pub(crate) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// A socket is let in. The old socket of its client, which the server may still believe alive, gets nothing more.
    /// False, and nothing is done, if that one is the newer.
    pub(crate) fn connect(&self, peer: &Peer) -> bool {
        let Ok(old) = self.sockets.connect(peer) else { return false };
        if let Some(old) = old {
            old.end();
            self.leave_all(&old);
        }
        true
    }

    /// Ends a socket for a reason, which its client is told. False if it was gone.
    pub(crate) fn close(&self, peer: &Peer, reason: &str) -> bool {
        if !peer.close(reason) {
            return false;
        }
        self.leave_all(peer);
        true
    }

    /// Takes a socket that is gone out of everything.
    pub(crate) fn leave_all(&self, peer: &Peer) {
        for (channel, stream) in std::mem::take(&mut *peer.joined()) {
            stream.leave(&channel, peer, false);
        }
        self.sockets.disconnect(peer);
    }

    pub(super) fn alarms(&self) -> &Arc<Alarms> {
        &self.alarms
    }

    /// The bytes of history that all streams keep.
    pub(super) fn kept(&self) -> &Arc<AtomicUsize> {
        &self.kept
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

    pub(super) fn bus(&self) -> &Arc<dyn Bus> {
        self.bus.get_or_init(|| Arc::new(Memory::new(self.flow())))
    }

    /// Whether the bus cannot be reached, or was not asked yet whom to close.
    pub(crate) fn is_down(&self) -> bool {
        self.outage() % 2 == 1
    }

    /// The number of the outage; an even one is over.
    pub(super) fn outage(&self) -> u64 {
        self.outage.load(Ordering::SeqCst)
    }

    /// What comes from now on waits until its stream is attached anew.
    pub(super) fn begin_outage(&self) {
        let next = |outage| Some(if outage % 2 == 1 { outage + 2 } else { outage + 1 });
        // It never refuses.
        let _ = self.outage.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        for stream in self.all() {
            stream.set_stale(self.outage());
            stream.applied.notify_waiters();
        }
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

    /// The bus can be reached: all streams are attached anew, and those take a new epoch of which it did not get something.
    pub(super) async fn renew_all(&self) {
        let (unsent, more) = {
            let mut known = self.known();
            (known.unsent.iter().cloned().collect::<Vec<_>>(), std::mem::take(&mut known.unsent_more))
        };
        // Whoever makes one finds that something of it was not sent.
        let _made: Vec<_> = unsent.iter().map(|name| self.stream(name)).collect();
        let all = self.all().into_iter().filter(|stream| !stream.is_for_commands());
        let renewed = stream::iter(all).map(|stream| flow::renewed(stream, self.bus().clone()));
        renewed.buffer_unordered(RENEWALS).collect::<()>().await;
        if more && self.everywhere(Command::Turn).await.is_err() {
            tracing::error!("not all subscribers can be told of what was published while the bus could not be reached");
        }
    }

    /// Attaches a stream anew; during an outage nothing is done, since all of them are at its end.
    pub(super) fn renew(&self, stream: Arc<Stream>) {
        if !self.is_down() || stream.is_for_commands() {
            tokio::spawn(flow::renewed(stream, self.bus().clone()));
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        self.known().streams.values().cloned().collect()
    }

    pub(super) fn stream(&self, name: &Arc<str>) -> Arc<Stream> {
        self.known().get(name, self)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the history of the streams that were not used for longest, when all of it is too much.
    pub(super) fn shed(&self) {
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
    }
}

impl Known {
    fn get(&mut self, name: &Arc<str>, streams: &Streams) -> Arc<Stream> {
        if let Some(stream) = self.streams.get(name) {
            return stream.clone();
        }
        for _ in 0..LOOKS {
            if self.order.len() < IDLE_STREAMS {
                break;
            }
            self.look_at_next(&**streams.bus());
        }
        let stream = Arc::new(Stream::new(name.clone(), streams));
        stream.lock().link.degraded = self.unsent.remove(name);
        if streams.is_down() {
            stream.set_stale(streams.outage());
        }
        self.streams.insert(name.clone(), stream.clone());
        self.order.push_back(name.clone());
        if let Some(linger) = streams.bus().linger() {
            tokio::spawn(detach_when_idle(Arc::downgrade(&stream), streams.this.clone(), linger));
        }
        stream
    }

    /// A stream that something is published to without the bus. If it is not known, nobody here hears it; it is noted for
    /// the subscribers of other servers.
    fn find_or_note(&mut self, name: &Arc<str>) -> Option<Arc<Stream>> {
        let stream = self.streams.get(name).cloned();
        if stream.is_none() {
            if self.unsent.len() < MAX_UNSENT {
                self.unsent.insert(name.clone());
            } else {
                self.unsent_more = true;
            }
        }
        stream
    }

    /// Drops the next stream in turn, unless it is needed.
    fn look_at_next(&mut self, bus: &dyn Bus) {
        let Some(name) = self.order.pop_front() else { return };
        if !self.drop_idle(&name, bus) {
            self.order.push_back(name);
        }
    }

    /// Drops a stream, unless a subscription has it, or other nodes are to hear of what was delivered on this one alone.
    /// The bus hears of it before it can be asked for the stream again.
    fn drop_idle(&mut self, name: &str, bus: &dyn Bus) -> bool {
        let Some(stream) = self.streams.get(name) else { return true };
        if Arc::strong_count(stream) > 1 || stream.lock().link.degraded {
            return false;
        }
        let (name, _) = self.streams.remove_entry(name).expect("it was found");
        bus.detach(&name);
        true
    }
}

/// Looks at a stream now and then, until nobody has needed it from one look to the next.
async fn detach_when_idle(stream: Weak<Stream>, streams: Weak<Streams>, linger: Duration) {
    let mut was_idle = false;
    loop {
        tokio::time::sleep(linger).await;
        let Some((streams, name)) = streams.upgrade().zip(stream.upgrade().map(|stream| stream.name.clone())) else {
            return;
        };
        let mut known = streams.known();
        let idle = Weak::strong_count(&stream) == 1;
        if idle && was_idle && known.drop_idle(&name, &**streams.bus()) {
            return;
        }
        was_idle = idle;
    }
}

/// The name of a new count, which no other count shares: 48 random bits.
pub(crate) fn epoch() -> Arc<str> {
    // The library's ids are random base64; eight characters of one are enough for an epoch.
    let id = Sid::new();
    id.as_str()[..8].into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{History, Hub};

    fn target(name: &str, history: History) -> Target {
        Target { channel: name.into(), stream: name.into(), history, shape: None }
    }

    async fn publish(hub: &Hub, to: Target, message: &str) {
        let message = Message { name: message.into(), arguments: Vec::new() };
        assert_eq!(hub.streams().publish(vec![to], message, Vec::new()).await, Published::Delivered);
    }

    #[tokio::test]
    async fn idle_streams_are_dropped_and_those_in_use_are_kept() {
        let streams = Streams::new();
        let name = |n: usize| Arc::<str>::from(format!("room:{n}"));
        let kept: Vec<_> = (0..10).map(|n| streams.stream(&name(n))).collect();
        for n in 10..3 * IDLE_STREAMS {
            streams.stream(&name(n));
        }
        let known = streams.known();
        assert_eq!(known.streams.len(), known.order.len());
        assert!(known.streams.len() <= IDLE_STREAMS + kept.len());
        assert!((0..10).all(|n| known.streams.contains_key(&name(n))));
    }

    #[tokio::test]
    async fn two_requests_that_hold_one_channel_miss_nothing_together() {
        let hub = Hub::default();
        let (peer, mut wire) = Peer::of_test("ada", None);
        let target = || target("room:7", History::NONE);
        let first = hub.streams().hold(&peer, target(), None, None).await;
        publish(&hub, target(), "one").await;
        let second = hub.streams().hold(&peer, target(), None, None).await;
        second.join(None);
        publish(&hub, target(), "two").await;
        first.join(None);
        publish(&hub, target(), "three").await;
        drop((first, second));
        let received: Vec<_> = std::iter::from_fn(|| wire.try_recv().ok()).collect();
        assert_eq!(received, [r#"["one"]"#, r#"["two"]"#, r#"["three"]"#]);
        assert!(hub.streams().find("room:7").unwrap().lock().is_free());
    }

    #[tokio::test]
    async fn what_is_published_where_nobody_ever_was_leaves_nothing() {
        let hub = Hub::default();
        publish(&hub, target("room:7", History::of(256)), "to nobody").await;
        assert!(hub.streams().all().is_empty());
        assert_eq!(hub.streams().members(&target("room:7", History::NONE)).len(), 0);
        assert!(hub.streams().all().is_empty());
    }

    #[tokio::test]
    async fn all_histories_together_are_bounded_and_the_least_used_goes_first() {
        const EACH: usize = MAX_KEPT / 4 + 1;
        let hub = Hub::default();
        let streams = hub.streams();
        let (peer, _wire) = Peer::of_test("ada", None);
        let target = |n: usize| target(&format!("room:{n}"), History::of(1).bytes(2 * EACH));
        let event = "x".repeat(EACH);
        let mut holds = Vec::new();
        for n in 0..3 {
            drop(streams.hold(&peer, target(n), None, None).await);
            publish(&hub, target(n), &event).await;
        }
        let kept = |n: usize| {
            let top = streams.find(&format!("room:{n}")).unwrap().lock().log.top().clone();
            let start = Position { offset: top.offset - 1, ..top };
            streams.find(&format!("room:{n}")).unwrap().lock().log.after(&start).is_some()
        };
        // The oldest is used again, so the second has to go.
        holds.push(streams.hold(&peer, target(0), None, None).await);
        streams.hold(&peer, target(3), None, None).await;
        publish(&hub, target(3), &event).await;
        assert_eq!([0, 1, 2, 3].map(kept), [true, false, true, true]);
        assert!(streams.kept.load(Ordering::Relaxed) <= MAX_KEPT);
        drop(hub);
        drop(holds);
    }
}
