//! One stream: its log, and who is subscribed to its channels.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::SystemTime,
};

use tokio::{sync::OnceCell, time::Instant};

use super::{
    applied::Applied,
    delivery::GapReason,
    entry::{PublishedEvent, StreamEntry},
    environment::{self, HashMap},
    expiry::Alarms,
    filter::EventFilter,
    history::{MAX_HELD, MAX_HELD_BYTES},
    log::{Log, Recovery, weight},
    members::Members,
    names::is_behind_filters,
    position::Position,
    readers::Readers,
    sent::Recent,
    subscriber::Subscriber,
};
use crate::metrics;

/// A stream, as this node has it.
///
/// One lock covers the log and the live subscribers, so an entry is appended and sent before the next one, and a
/// subscription becomes live between two entries. The broker is never called under it.
pub(crate) struct Stream {
    pub(super) name: Arc<str>,
    /// Set once the broker brings what is published; all that want it at once wait for one attempt.
    pub(super) attached: OnceCell<()>,
    /// PendingSubscription by whoever attaches it anew.
    pub(super) renewing: tokio::sync::Mutex<()>,
    /// Tells publishers that an entry was applied.
    pub(super) applied: Applied,
    pub(super) shared: Arc<Shared>,
    /// Set if what is applied here is for the server itself, and not for sockets.
    apply: Option<Apply>,
    state: Mutex<State>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the streams of a server share.
pub(super) struct Shared {
    /// The bytes of history that all of them keep.
    pub(super) kept: Arc<AtomicUsize>,
    /// The clients that all of them know the start of.
    pub(super) readers: Arc<AtomicUsize>,
    /// The ends of subscriptions.
    pub(super) alarms: Arc<Alarms>,
    /// Called when something that used a stream has ended, under no lock of a stream.
    pub(super) freed: Freed,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("kept", &self.kept).field("readers", &self.readers).finish_non_exhaustive()
    }
}

type Freed = Box<dyn Fn(&Arc<Stream>) + Send + Sync>;

/// Does what is for the server itself, under no lock of a stream.
pub(super) type Apply = Box<dyn Fn(Orders) + Send + Sync>;

#[derive(Debug)]
pub(super) struct State {
    pub(super) log: Log,
    pub(super) link: Link,
    /// What came before its turn: before the log was started, or past a hole.
    pub(super) early: BTreeMap<Position, StreamEntry>,
    early_bytes: usize,
    /// Somebody waits for the hole before the first early entry to close.
    pub(super) filling: bool,
    pub(super) live: HashMap<Arc<str>, Members>,
    /// Where the subscriptions start that one socket holds for one channel, and how many requests hold them.
    ///
    /// Whichever of them is live first brings what the other must not miss, so all start where the first did.
    pub(super) holds: HashMap<Key, Pin>,
    /// What is kept for those whose authorization has just ended.
    pub(super) renewals: HashMap<Key, Kept>,
    /// How many subscriptions have expired.
    pub(super) expired: u64,
    pub(super) readers: Readers,
    /// What was applied lately, if the stream is behind filters: such an entry may be published twice.
    applied: Option<Recent>,
    /// What is to be done by the server itself, if the stream is for that.
    orders: Option<Orders>,
    alarms: Arc<Alarms>,
    /// When it was last published or subscribed to.
    pub(super) used: SystemTime,
    /// It stands among the idle streams.
    pub(super) listed: bool,
    /// When it was last found to be idle.
    pub(super) idle: Option<Instant>,
}

/// A channel, and the id of a socket.
pub(super) type Key = (Arc<str>, String);

/// The start of the subscriptions that a socket holds for a channel.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    pub(super) subscriber: Subscriber,
    pub(super) start: Position,
    pub(super) outcome: Recovery,
    /// How many requests hold one.
    pub(super) requests: usize,
}

/// What is kept for a subscription that has ended with its authorization, until it is renewed.
#[derive(Debug)]
pub(super) struct Kept {
    /// Up to where the subscription was live that has ended.
    pub(super) until: Position,
    /// What tells it from the next of the same socket.
    pub(super) number: u64,
    /// Its filter: another viewer has no use of it.
    pub(super) filter: Option<Arc<dyn EventFilter>>,
}

/// About what an idle stream takes beside its names and what it knows of clients.
const STREAM_BYTES: usize = 1024;

/// What was applied and is for the server itself.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) commands: Vec<StreamEntry>,
    /// Some were missed; whether because the broker lost its memory.
    pub(super) missed: Option<bool>,
}

/// How the stream stands to the broker.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// The log counts as the broker does, or as this node does until the broker can be reached.
    pub(super) started: bool,
    /// The broker could not be reached, and the epoch is this node's own.
    pub(super) own_epoch: bool,
    /// Something was delivered on this node alone, so a position says less than it seems to.
    pub(super) delivered_locally: bool,
    /// When this node last did so.
    pub(super) delivered_at: Option<Instant>,
    /// The number of the last outage, until the stream was attached anew. As long as this is not done, what comes waits: it may
    /// be older than what was delivered on this node alone, and for sockets that are about to be closed.
    pub(super) stale: Option<u64>,
    /// How often it was asked to attach anew since that began; none if it is not under way.
    pub(super) renewals: usize,
    /// How many clients have said that they are at some position.
    pub(super) claims: u64,
    /// How many of them had when the broker was last asked because of one, and where it stood; none if it could not be reached.
    pub(super) counted: (u64, Option<Position>),
}

impl Link {
    /// A client says that it is at some position: its number among all.
    pub(super) fn claim(&mut self) -> u64 {
        self.claims += 1;
        self.claims
    }

    /// Where the broker stood, if it was asked after this claim.
    pub(super) fn counted_for(&self, claim: u64) -> Option<&Option<Position>> {
        let (claims, top) = &self.counted;
        (*claims >= claim).then_some(top)
    }

    /// The stream was attached anew, which began when it was so stale.
    pub(super) fn freshen(&mut self, stale: Option<u64>) {
        if self.stale == stale {
            self.stale = None;
        }
    }
}

/// What is to do after an entry arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// A hole opened.
    Fill,
    /// The stream's count is another's.
    Renew,
}

impl Stream {
    pub(super) fn new(name: Arc<str>, shared: Arc<Shared>, apply: Option<Apply>) -> Self {
        let applied = is_behind_filters(&name).then(Recent::default);
        let state = State {
            log: Log::new(shared.kept.clone()),
            link: Link::default(),
            early: BTreeMap::new(),
            early_bytes: 0,
            filling: false,
            live: HashMap::default(),
            holds: HashMap::default(),
            renewals: HashMap::default(),
            expired: 0,
            readers: Readers::new(shared.readers.clone()),
            applied,
            orders: apply.is_some().then(Orders::default),
            alarms: shared.alarms.clone(),
            used: environment::now(),
            listed: false,
            idle: None,
        };
        Self {
            name,
            attached: OnceCell::new(),
            renewing: tokio::sync::Mutex::default(),
            applied: Applied::default(),
            shared,
            apply,
            state: Mutex::new(state),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry that the broker brings, in whatever order.
    pub(super) fn arrive(&self, copy: StreamEntry) -> Next {
        let (next, top) = {
            let mut state = self.lock();
            (state.arrive(copy), state.log.top().offset)
        };
        self.applied.wake_up_to(top);
        self.apply_commands();
        next
    }

    /// Does what was applied and is for the server itself. No lock of a stream may be held.
    pub(super) fn apply_commands(&self) {
        let Some(apply) = &self.apply else { return };
        let orders = self.lock().orders.as_mut().map(std::mem::take);
        orders.into_iter().for_each(apply);
    }

    pub(super) fn set_stale(&self, outage: u64) {
        if !self.is_for_commands() {
            self.lock().link.stale = Some(outage);
        }
    }

    pub(super) fn is_for_commands(&self) -> bool {
        self.apply.is_some()
    }

    /// Something that used the stream has ended. No lock of a stream may be held.
    pub(super) fn freed(self: &Arc<Self>) {
        (self.shared.freed)(self);
    }

    /// Where a socket is live: the top, and how it came into the channel.
    pub(super) fn joined(&self, channel: &str, id: &str) -> Option<(Position, Recovery)> {
        let state = self.lock();
        let live = state.live.get(channel)?.get(id)?;
        Some((state.log.top().clone(), live.outcome))
    }

    /// What tells this subscription of a socket from its next, and how it came about.
    pub(super) fn joining(&self, channel: &str, id: &str) -> Option<(u64, Recovery)> {
        let state = self.lock();
        let live = state.live.get(channel)?.get(id)?;
        Some((live.joining, live.outcome))
    }

    /// Whether a subscription has just ended with its authorization.
    pub(super) fn may_be_renewed(&self, channel: &Arc<str>, subscriber: &Subscriber) -> bool {
        self.lock().renewals.contains_key(&(channel.clone(), subscriber.id().to_owned()))
    }

    /// Takes a socket out of a channel. `ended` says that the subscription ended, and not only the socket.
    pub(super) fn leave(&self, channel: &Arc<str>, subscriber: &Subscriber, ended: bool) {
        let mut state = self.lock();
        if let Some(client) = subscriber.client().filter(|_| ended) {
            state.readers.end(channel, client);
        }
        state.remove(channel, subscriber.id());
    }

    pub(super) fn members(&self, channel: &str) -> Vec<Subscriber> {
        let state = self.lock();
        state.live.get(channel).into_iter().flat_map(Members::iter).map(|live| live.subscriber.clone()).collect()
    }

    pub(super) fn count(&self, channel: &str) -> usize {
        self.lock().live.get(channel).map_or(0, Members::len)
    }

    /// Whether anybody is subscribed to a channel, or about to be.
    pub(super) fn has(&self, channel: &str) -> bool {
        let state = self.lock();
        let mut pending = state.holds.keys().chain(state.renewals.keys());
        state.live.contains_key(channel) || pending.any(|(held, _)| **held == *channel)
    }

    /// Those whose requests have subscribed to a channel, and are not answered yet.
    pub(super) fn holders(&self, channel: &str) -> Vec<Subscriber> {
        let state = self.lock();
        state
            .holds
            .iter()
            .filter(|((held, _), _)| **held == *channel)
            .map(|(_, hold)| hold.subscriber.clone())
            .collect()
    }
}

impl State {
    fn arrive(&mut self, copy: StreamEntry) -> Next {
        let Some(position) = copy.position() else { return Next::Nothing };
        let top = self.log.top();
        if !self.link.started || position.epoch != top.epoch {
            let next = if self.link.started { Next::Renew } else { Next::Nothing };
            return if self.park(copy) { next } else { Next::Renew };
        }
        if position.offset <= top.offset {
            return Next::Nothing;
        }
        if self.link.stale.is_some() {
            return if self.park(copy) { Next::Nothing } else { Next::Renew };
        }
        if position.offset > top.offset + 1 {
            let parked = self.park(copy);
            return match std::mem::replace(&mut self.filling, true) {
                _ if !parked => Next::Renew,
                true => Next::Nothing,
                false => Next::Fill,
            };
        }
        self.apply(copy);
        self.apply_early();
        Next::Nothing
    }

    /// False if there is no room: then the stream attaches anew, and reads what it missed.
    fn park(&mut self, copy: StreamEntry) -> bool {
        if self.early.len() >= MAX_HELD || self.early_bytes >= MAX_HELD_BYTES {
            return false;
        }
        if let Some(position) = copy.position() {
            self.early_bytes += weight(&copy);
            if let Some(same) = self.early.insert(position.clone(), copy) {
                self.early_bytes -= weight(&same);
            }
        }
        true
    }

    /// Sends the entry that is next to the live subscribers of its channel, and keeps it.
    fn apply(&mut self, mut copy: StreamEntry) {
        self.mark_repeated(&mut copy);
        if let Some(members) = self.live.get_mut(copy.channel()) {
            members.send(&copy, &self.alarms);
        }
        self.order(&copy);
        self.used = copy.entry.at;
        self.log.retain(copy.target().history);
        self.log.append(copy);
    }

    /// What was applied before is counted once more, and not sent.
    pub(super) fn mark_repeated(&mut self, copy: &mut StreamEntry) {
        if let Some(applied) = &mut self.applied {
            copy.repeated = !applied.add(copy.entry.id);
        }
    }

    /// The server itself is to do what this says, if the stream is for that.
    pub(super) fn order(&mut self, copy: &StreamEntry) {
        if let Some(orders) = &mut self.orders {
            orders.commands.push(copy.clone());
        }
    }

    /// Applies what came early and is next now.
    pub(super) fn apply_early(&mut self) {
        while !self.early.is_empty() && self.link.stale.is_none() {
            let Position { epoch, offset } = self.log.top().clone();
            let Some(copy) = self.early.remove(&Position { epoch, offset: offset + 1 }) else { return };
            self.early_bytes -= weight(&copy);
            self.apply(copy);
        }
    }

    /// Drops the early entries that were applied meanwhile, or belong to another count, and gives the first of the rest.
    pub(super) fn first_early(&mut self) -> Option<u64> {
        let top = self.log.top();
        self.early.retain(|at, _| at.epoch == top.epoch && at.offset > top.offset);
        self.early_bytes = self.early.values().map(weight).sum();
        self.early.keys().next().map(|at| at.offset)
    }

    /// Sends an entry that the broker did not get to those who are live on this node.
    pub(super) fn deliver_uncounted(&mut self, entry: &PublishedEvent, channel: &str) {
        self.link.delivered_locally = true;
        self.link.delivered_at = Some(Instant::now());
        let top = self.log.top().clone();
        for live in self.live.get_mut(channel).into_iter().flat_map(Members::iter_mut) {
            live.send_uncounted(entry, channel, &top, &self.alarms);
        }
    }

    /// Goes on at another position, and tells all live subscribers that something may be missing before it.
    pub(super) fn skip_to(&mut self, top: Position) {
        let another_epoch = top.epoch != self.log.top().epoch;
        if another_epoch {
            self.readers.clear();
        }
        if let Some(orders) = &mut self.orders {
            orders.missed = Some(another_epoch);
        }
        for (channel, all) in &mut self.live {
            for live in all.iter_mut() {
                live.outcome = Recovery::Gap;
                if live.subscriber.client().is_some() {
                    metrics::gap();
                }
                self.alarms.gap(&live.subscriber, channel, &top, GapReason::Missed);
                if let Some(client) = live.subscriber.client().filter(|_| live.since_subscribe) {
                    self.readers.begin(channel, client, top.offset);
                }
            }
        }
        self.log.start(top);
        self.apply_early();
    }

    pub(super) fn is_free(&self) -> bool {
        self.holds.is_empty() && self.renewals.is_empty()
    }

    /// Whether no socket is subscribed, or about to be.
    pub(super) fn is_unused(&self) -> bool {
        self.live.is_empty() && self.is_free()
    }

    /// Whether nothing was ever published here, and nothing would be kept, so that there is nothing to remember.
    pub(super) fn is_blank(&self) -> bool {
        self.link.started
            && !self.log.has_history()
            && !self.link.own_epoch
            && !self.link.delivered_locally
            && self.log.top().offset == 0
            && self.early.is_empty()
            && self.readers.is_empty()
    }

    /// About how many bytes it takes as long as nobody is subscribed, beside its name and its history.
    pub(super) fn idle_bytes(&self) -> usize {
        STREAM_BYTES + self.log.top().epoch.len() + self.readers.bytes()
    }

    pub(super) fn remove(&mut self, channel: &str, id: &str) {
        let Some(all) = self.live.get_mut(channel) else { return };
        all.remove(id);
        if all.is_empty() {
            self.live.remove(channel);
        }
    }
}
