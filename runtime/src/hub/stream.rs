//! One stream: its log, and who is subscribed to its channels.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::SystemTime,
};

use tokio::{
    sync::{Notify, OnceCell},
    time::Instant,
};

use super::{
    cluster::is_for_commands,
    entry::{Copy, Entry, Position, Target},
    expiry::{Alarms, Expiry},
    frame::Frame,
    gate::{Gate, Passing},
    log::{Log, MAX_HELD, Outcome},
    peer::Peer,
    readers::Readers,
    streams::Streams,
};
use crate::metrics;

/// After how many events that were not for it a client behind a gate is told how far it is.
pub(super) const UNTOLD: u64 = 64;

/// A stream, as this node has it.
///
/// One lock covers the log and the live subscribers, so an entry is appended and sent before the next one, and a
/// subscription becomes live between two entries. The bus is never called under it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) name: Arc<str>,
    /// Set once the bus brings what is published; all that want it at once wait for one attempt.
    pub(super) attached: OnceCell<()>,
    /// Held by whoever attaches it anew.
    pub(super) renewing: tokio::sync::Mutex<()>,
    /// Tells publishers that an entry was applied.
    pub(super) applied: Notify,
    alarms: Arc<Alarms>,
    /// What is applied here is for the server itself, and not for sockets.
    commands: Option<Weak<Streams>>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) log: Log,
    pub(super) link: Link,
    /// What came before its turn: before the log was started, or past a hole.
    pub(super) early: BTreeMap<Position, Copy>,
    /// Somebody waits for the hole before the first early entry to close.
    pub(super) filling: bool,
    live: HashMap<Arc<str>, HashMap<String, Live>>,
    /// Where the subscriptions start that one socket holds for one channel, and how many requests hold them.
    ///
    /// Whichever of them is live first brings what the other must not miss, so all start where the first did.
    holds: HashMap<Key, Hold>,
    /// Up to where those were live whose authorization has just ended, and the number of that [`Renewal`].
    renewals: HashMap<Key, (Position, u64)>,
    /// How many subscriptions have expired.
    expired: u64,
    readers: Readers,
    /// What is to be done by the server itself, if the stream is for that.
    orders: Option<Orders>,
    /// When it was last published or subscribed to.
    pub(super) used: SystemTime,
}

/// What was applied and is for the server itself.
#[derive(Debug, Default)]
struct Orders {
    commands: Vec<Copy>,
    /// Some were missed; whether because the bus lost its memory.
    missed: Option<bool>,
}

/// How the stream stands to the bus.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// The log counts as the bus does, or as this node does until the bus can be reached.
    pub(super) started: bool,
    /// The bus could not be reached, and the epoch is this node's own.
    pub(super) own_epoch: bool,
    /// Something was delivered on this node alone, so a position says less than it seems to.
    pub(super) degraded: bool,
    /// The number of the last outage, until the stream was attached anew. As long as this is not done, what comes waits: it may
    /// be older than what was delivered on this node alone, and for sockets that are about to be closed.
    pub(super) stale: Option<u64>,
    /// How often it was asked to attach anew since that began; none if it is not under way.
    pub(super) renewals: usize,
}

impl Link {
    /// The stream was attached anew, which began when it was so stale.
    pub(super) fn freshen(&mut self, stale: Option<u64>) {
        if self.stale == stale {
            self.stale = None;
        }
    }
}

/// A live subscription.
#[derive(Debug)]
struct Live {
    peer: Peer,
    outcome: Outcome,
    since_subscribe: bool,
    /// What decides which events the socket is sent, if not all of them.
    gate: Option<Arc<dyn Gate>>,
    /// Behind a gate, the offset that the client was told of last.
    told: u64,
    /// When it ends.
    expiry: Option<Expiry>,
}

/// A channel, and the id of a socket.
type Key = (Arc<str>, String);

#[derive(Clone, Debug)]
struct Hold {
    peer: Peer,
    start: Position,
    outcome: Outcome,
    requests: usize,
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
    pub(super) fn new(name: Arc<str>, streams: &Streams) -> Self {
        let commands = is_for_commands(&name).then(|| streams.weak());
        let state = State {
            log: Log::new(streams.kept().clone()),
            link: Link::default(),
            early: BTreeMap::new(),
            filling: false,
            live: HashMap::new(),
            holds: HashMap::new(),
            renewals: HashMap::new(),
            expired: 0,
            readers: Readers::default(),
            orders: commands.is_some().then(Orders::default),
            used: SystemTime::now(),
        };
        let alarms = streams.alarms().clone();
        Self {
            name,
            attached: OnceCell::new(),
            renewing: tokio::sync::Mutex::default(),
            applied: Notify::new(),
            alarms,
            commands,
            state: Mutex::new(state),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry that the bus brings, in whatever order.
    pub(super) fn arrive(&self, copy: Copy) -> Next {
        let next = self.lock().arrive(copy);
        self.applied.notify_waiters();
        self.obey();
        next
    }

    /// Does what was applied and is for the server itself. No lock of a stream may be held.
    pub(super) fn obey(&self) {
        let Some(streams) = self.commands.as_ref().and_then(Weak::upgrade) else { return };
        let Some(Orders { commands, missed }) = self.lock().orders.as_mut().map(std::mem::take) else { return };
        if let Some(lost_memory) = missed {
            streams.missed(&self.name, lost_memory);
        }
        commands.iter().for_each(|copy| streams.hear(copy));
    }

    pub(super) fn set_stale(&self, outage: u64) {
        if !self.is_for_commands() {
            self.lock().link.stale = Some(outage);
        }
    }

    pub(super) fn is_for_commands(&self) -> bool {
        self.commands.is_some()
    }

    /// Keeps what is published to a channel from now on, or from where the client was, until the subscription is live.
    /// `behind`: this node may have to catch up with where the client was.
    pub(super) fn hold(
        self: &Arc<Self>,
        peer: &Peer,
        to: Target,
        gate: Option<Arc<dyn Gate>>,
        resume: Option<&Position>,
        behind: bool,
    ) -> Held {
        let since_subscribe = to.history.since_subscribe;
        let key = (to.channel, peer.id().to_owned());
        let Hold { start, outcome, .. } = self.lock().hold(&key, peer, resume, since_subscribe, behind);
        peer.held();
        Held { stream: self.clone(), key, peer: peer.clone(), gate, start, outcome, since_subscribe }
    }

    /// Takes a socket out of a channel whose authorization has ended, and tells it. For a client that can renew it, what is
    /// published from now on is kept as long as the answer lives.
    pub(super) fn expire(self: &Arc<Self>, channel: &Arc<str>, peer: &Peer) -> Option<Renewal> {
        let mut joined = peer.joined();
        let mut state = self.lock();
        let live = state.live.get(channel)?.get(peer.id())?;
        // It may have been renewed since the alarm rang.
        if live.expiry.as_ref().is_none_or(|expiry| expiry.time() > Instant::now()) {
            return None;
        }
        state.remove(channel, peer.id());
        joined.remove(channel);
        peer.send(&Frame::Left { channel, reason: "expired" });
        peer.client()?;
        let key = (channel.clone(), peer.id().to_owned());
        let number = state.keep_for_renewal(key.clone());
        Some(Renewal { stream: self.clone(), key, number })
    }

    /// Another request subscribed to a channel that a socket is live in: the later of both ends is the end.
    pub(super) fn extend(self: &Arc<Self>, channel: &Arc<str>, peer: &Peer, end: Option<Instant>) {
        let mut state = self.lock();
        let Some(live) = state.live.get_mut(channel).and_then(|all| all.get_mut(peer.id())) else { return };
        if live.expiry.as_ref().is_some_and(|expiry| end.is_none_or(|end| end > expiry.time())) {
            live.expiry = end.map(|end| self.alarms.end(end, self, channel, peer));
        }
    }

    /// Where a socket is live: the top, and how it came into the channel.
    pub(super) fn joined(&self, channel: &str, id: &str) -> Option<(Position, Outcome)> {
        let state = self.lock();
        let live = state.live.get(channel)?.get(id)?;
        Some((state.log.top().clone(), live.outcome))
    }

    /// Takes a socket out of a channel. `ended` says that the subscription ended, and not only the socket.
    pub(super) fn leave(&self, channel: &Arc<str>, peer: &Peer, ended: bool) {
        let mut state = self.lock();
        if let Some(client) = peer.client().filter(|_| ended) {
            state.readers.end(channel, client);
        }
        state.remove(channel, peer.id());
    }

    pub(super) fn members(&self, channel: &str) -> Vec<Peer> {
        let state = self.lock();
        state.live.get(channel).into_iter().flat_map(HashMap::values).map(|live| live.peer.clone()).collect()
    }

    /// Those whose requests have subscribed to a channel, and are not answered yet.
    pub(super) fn holders(&self, channel: &str) -> Vec<Peer> {
        let state = self.lock();
        state.holds.iter().filter(|((held, _), _)| **held == *channel).map(|(_, hold)| hold.peer.clone()).collect()
    }
}

impl State {
    fn arrive(&mut self, copy: Copy) -> Next {
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
    fn park(&mut self, copy: Copy) -> bool {
        if self.early.len() >= MAX_HELD {
            return false;
        }
        if let Some(position) = copy.position() {
            self.early.insert(position.clone(), copy);
        }
        true
    }

    /// Sends the entry that is next to the live subscribers of its channel, and keeps it.
    fn apply(&mut self, copy: Copy) {
        for live in self.live.get_mut(copy.channel()).into_iter().flat_map(HashMap::values_mut) {
            live.send(&copy);
        }
        self.order(&copy);
        self.used = copy.entry.at;
        self.log.retain(copy.target().history);
        self.log.append(copy);
    }

    /// The server itself is to do what this says, if the stream is for that.
    pub(super) fn order(&mut self, copy: &Copy) {
        if let Some(orders) = &mut self.orders {
            orders.commands.push(copy.clone());
        }
    }

    /// Applies what came early and is next now.
    pub(super) fn apply_early(&mut self) {
        while !self.early.is_empty() && self.link.stale.is_none() {
            let Position { epoch, offset } = self.log.top().clone();
            let Some(copy) = self.early.remove(&Position { epoch, offset: offset + 1 }) else { return };
            self.apply(copy);
        }
    }

    /// Drops the early entries that were applied meanwhile, or belong to another count, and gives the first of the rest.
    pub(super) fn first_early(&mut self) -> Option<u64> {
        let top = self.log.top();
        self.early.retain(|at, _| at.epoch == top.epoch && at.offset > top.offset);
        self.early.keys().next().map(|at| at.offset)
    }

    /// Sends an entry that the bus did not get to those who are live on this node.
    pub(super) fn deliver_uncounted(&mut self, entry: &Entry, channel: &str) {
        self.link.degraded = true;
        for Live { peer, gate, .. } in self.live.get(channel).into_iter().flat_map(HashMap::values) {
            if entry.leaves_out(peer) {
                continue;
            }
            match gate {
                None => peer.send_uncounted(entry, &entry.message),
                Some(gate) => {
                    gate.pass(&Passing::of(entry)).iter().for_each(|message| peer.send_uncounted(entry, message));
                }
            }
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
            for live in all.values_mut() {
                live.outcome = Outcome::Gap;
                if live.peer.client().is_some() {
                    metrics::gap();
                }
                live.peer.send(&Frame::Gap { channel, top: &top, reason: "missed" });
                if let Some(client) = live.peer.client().filter(|_| live.since_subscribe) {
                    self.readers.begin(channel, client, top.offset);
                }
            }
        }
        self.log.start(top);
        self.apply_early();
    }

    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.holds.is_empty() && self.renewals.is_empty()
    }

    fn remove(&mut self, channel: &str, id: &str) {
        let Some(all) = self.live.get_mut(channel) else { return };
        all.remove(id);
        if all.is_empty() {
            self.live.remove(channel);
        }
    }

    fn hold(&mut self, key: &Key, peer: &Peer, resume: Option<&Position>, since_subscribe: bool, behind: bool) -> Hold {
        self.used = SystemTime::now();
        if let Some(hold) = self.holds.get_mut(key) {
            hold.requests += 1;
            self.log.pin(&hold.start);
            return hold.clone();
        }
        let may_read = |had: &&Position| {
            let client = peer.client().filter(|_| since_subscribe);
            client.is_none_or(|client| self.readers.may_read(&key.0, client, had.offset))
        };
        let nowhere = nowhere();
        // The last that was for the client may be older than the last that it can have missed.
        let missed_nothing_until = |had: &Position| {
            let (until, _) = self.renewals.get(key)?;
            (until.epoch == had.epoch && until.offset > had.offset).then_some(until)
        };
        let resume = resume.map(|had| Some(had).filter(may_read).unwrap_or(&nowhere));
        let resume = resume.map(|had| missed_nothing_until(had).unwrap_or(had)).cloned();
        let (start, outcome) = match resume.as_ref().filter(|had| behind && self.log.is_ahead(had)) {
            // What this node is still to apply the client has heard: it does not begin before that again.
            Some(had) => (self.log.pin(had), Outcome::Gap),
            None => self.log.hold(resume.as_ref()),
        };
        let hold = Hold { peer: peer.clone(), start, outcome, requests: 1 };
        self.holds.insert(key.clone(), hold.clone());
        hold
    }

    /// Keeps what follows, for a subscription that has just ended. The number tells this time from the next.
    fn keep_for_renewal(&mut self, key: Key) -> u64 {
        let top = self.log.top().clone();
        self.log.pin(&top);
        self.forget_renewal(&key);
        self.expired += 1;
        self.renewals.insert(key, (top, self.expired));
        self.expired
    }

    fn forget_renewal(&mut self, key: &Key) {
        if let Some((until, _)) = self.renewals.remove(key) {
            self.log.release(&until);
        }
    }

    fn release(&mut self, key: &Key, start: &Position) {
        self.log.release(start);
        if let Some(hold) = self.holds.get_mut(key) {
            hold.requests -= 1;
            if hold.requests == 0 {
                self.holds.remove(key);
            }
        }
    }

    fn join(&mut self, held: &Held, end: Option<Instant>) {
        let peer = &held.peer;
        let channel = held.channel();
        let (mut start, mut outcome) = (held.start.offset, held.outcome);
        if let Some(missed) = self.log.after(&held.start) {
            let missed = missed.filter(|copy| copy.channel() == channel);
            if let Some(gate) = &held.gate {
                let seen = missed.filter_map(|copy| Some((copy, gate.pass(&Passing::of(&copy.entry))?)));
                let seen: Vec<_> = seen.collect();
                peer.send_replay(channel, seen.iter().map(|(copy, message)| (*copy, &**message)));
            } else {
                peer.send_replay(channel, missed.map(|copy| (copy, &copy.entry.message)));
            }
        } else if peer.client().is_some() {
            let top = self.log.top();
            peer.send(&Frame::Gap { channel, top, reason: "not retained" });
            (start, outcome) = (top.offset, Outcome::Gap);
        } else {
            // A client that knows no gaps has one way to hear of a loss.
            peer.end();
        }
        if let Some(client) = peer.client().filter(|_| held.since_subscribe && outcome != Outcome::Recovered) {
            self.readers.begin(channel, client, start);
        }
        let expiry = end.map(|end| held.stream.alarms.end(end, &held.stream, channel, peer));
        self.forget_renewal(&held.key);
        metrics::subscribed(outcome);
        let live = Live {
            peer: peer.clone(),
            outcome,
            since_subscribe: held.since_subscribe,
            gate: held.gate.clone(),
            told: self.log.top().offset,
            expiry,
        };
        self.live.entry(channel.clone()).or_default().insert(peer.id().to_owned(), live);
    }
}

impl State {
    /// A socket that is live behind a gate subscribed by another: it is sent what the first did not let through since then.
    fn widen(&mut self, held: &Held) {
        let (channel, peer) = (held.channel(), &held.peer);
        let live = self.live.get(channel).and_then(|all| all.get(peer.id()));
        let Some((had, gate)) = live.and_then(|live| live.gate.as_ref()).zip(held.gate.as_ref()) else { return };
        if let Some(missed) = self.log.after(&held.start) {
            for copy in missed.filter(|copy| copy.channel() == channel && !copy.entry.leaves_out(peer)) {
                let event = Passing::of(&copy.entry);
                // The client is past its offset, so it is sent as an event that no position counts.
                if had.pass(&event).is_none()
                    && let Some(message) = gate.pass(&event)
                {
                    peer.send(&Frame::Event(&message));
                }
            }
            had.widen(&**gate);
        } else if peer.client().is_some() {
            had.widen(&**gate);
            peer.send(&Frame::Gap { channel, top: self.log.top(), reason: "not retained" });
        } else {
            peer.end();
        }
    }
}

impl Live {
    fn send(&mut self, copy: &Copy) {
        if copy.entry.leaves_out(&self.peer) {
            return;
        }
        let Some(gate) = &self.gate else { return self.peer.send_copy(copy, &copy.entry.message) };
        if let Some(message) = gate.pass(&Passing::of(&copy.entry)) {
            self.told = copy.offset();
            self.peer.send_copy(copy, &message);
        } else if copy.offset() >= self.told + UNTOLD {
            self.told = copy.offset();
            self.peer.send(&Frame::Advance { channel: copy.channel(), offset: self.told });
        }
    }
}

/// A position that no count has.
fn nowhere() -> Position {
    Position { epoch: "".into(), offset: u64::MAX }
}

/// A subscription that is not live yet: what follows its start is kept for it.
#[derive(Debug)]
pub(crate) struct Held {
    stream: Arc<Stream>,
    key: Key,
    peer: Peer,
    gate: Option<Arc<dyn Gate>>,
    start: Position,
    outcome: Outcome,
    since_subscribe: bool,
}

impl Held {
    pub(super) fn gate(&self) -> Option<&dyn Gate> {
        self.gate.as_deref()
    }

    /// Whether the socket is live in the channel already, by another subscription behind a gate.
    fn is_more(&self) -> Option<(Position, Outcome)> {
        self.gate.as_ref()?;
        self.stream.joined(self.channel(), self.peer.id())
    }

    pub(crate) fn channel(&self) -> &Arc<str> {
        &self.key.0
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Where the subscription stands as its request is answered. If more was published meanwhile than is kept, it starts
    /// anew, and that is a gap.
    pub(crate) fn settle(&mut self) -> Position {
        if let Some((top, outcome)) = self.is_more() {
            self.outcome = outcome;
            return top;
        }
        let mut state = self.stream.lock();
        if state.log.after(&self.start).is_none() {
            state.log.release(&self.start);
            (self.start, self.outcome) = state.log.hold(Some(&nowhere()));
            if let Some(hold) = state.holds.get_mut(&self.key) {
                (hold.start, hold.outcome) = (self.start.clone(), self.outcome);
            }
        }
        match self.outcome {
            Outcome::Recovered => state.log.top().clone(),
            Outcome::Fresh | Outcome::Gap => self.start.clone(),
        }
    }

    /// Sends what was published since the start, and lets the rest follow until the end. False if the socket is gone.
    pub(super) fn join(&self, end: Option<Instant>) -> bool {
        let mut joined = self.peer.joined();
        // `leave_all` runs after the socket was marked as gone, so it finds what was added before.
        if self.peer.is_gone() {
            return false;
        }
        if joined.insert(self.channel().clone(), self.stream.clone()).is_none() {
            self.stream.lock().join(self, end);
        } else {
            self.stream.lock().widen(self);
            self.stream.extend(self.channel(), &self.peer, end);
        }
        true
    }

    /// Goes live where no ack tells of it. None if the socket is gone.
    pub(crate) fn announce(mut self, end: Option<Instant>) -> Option<Outcome> {
        if let Some((_, outcome)) = self.is_more() {
            return self.join(end).then_some(outcome);
        }
        self.settle();
        let channel = self.channel();
        // What was missed follows, so a client that recovers is where it was.
        self.peer.send(&match self.outcome {
            Outcome::Fresh | Outcome::Recovered => Frame::Join { channel, position: &self.start },
            Outcome::Gap => Frame::Gap { channel, top: &self.start, reason: "not retained" },
        });
        self.join(end).then_some(self.outcome)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stream.lock().release(&self.key, &self.start);
        self.peer.released();
    }
}

/// What is published to a channel is kept, as long as this value lives or until the subscription is renewed.
#[derive(Debug)]
pub(super) struct Renewal {
    stream: Arc<Stream>,
    key: Key,
    number: u64,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        if state.renewals.get(&self.key).is_some_and(|(_, number)| *number == self.number) {
            state.forget_renewal(&self.key);
        }
    }
}
