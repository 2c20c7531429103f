//! All streams of this process, and who is live in their channels.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use socketioxide::socket::Sid;

use super::{
    frame::Frame,
    message::Message,
    peer::Peer,
    stream::{Log, Outcome, Position, Retention},
};
use crate::metrics;

/// The streams, and the clients that can resume.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: Mutex<Known>,
    sockets: Mutex<Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    /// All that are connected, by their ids.
    connected: HashMap<String, Peer>,
    /// The socket of each client that said who it is.
    clients: HashMap<Arc<str>, Peer>,
}

/// A channel that a socket is live in; the socket has it beside it.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    stream: Arc<Stream>,
    outcome: Outcome,
}

/// One stream: its log, and the live subscribers of its channels. One lock covers both, so an entry is appended and sent
/// before the next one, and a subscription becomes live between two entries.
#[derive(Debug)]
pub(crate) struct Stream {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: Log,
    channels: HashMap<Arc<str>, HashMap<String, Peer>>,
    /// Where the subscriptions start that one socket holds for one channel, and how many requests hold them.
    ///
    /// Whichever of them is live first brings what the other must not miss, so all start where the first did.
    holds: HashMap<(Arc<str>, String), Hold>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    start: u64,
    outcome: Outcome,
    requests: usize,
}

/// The streams by name, and in the order in which they are looked at when there are too many.
#[derive(Debug, Default)]
struct Known {
    streams: HashMap<Arc<str>, Arc<Stream>>,
    order: VecDeque<Arc<str>>,
}

/// How many streams are kept although nobody is subscribed: whoever comes back to one that is not hears `gap`.
const IDLE_STREAMS: usize = 4096;
/// How many streams are looked at for each new one, to find one that nobody needs.
const LOOKS: usize = 4;

impl Streams {
    /// Appends an event to its stream, and sends it to the live subscribers of its channel.
    pub(crate) fn publish(&self, to: &Target, message: Message, except: Option<&Peer>) -> Position {
        let stream = self.stream(&to.stream);
        let mut state = stream.lock();
        let state = &mut *state;
        state.log.retain(to.retention);
        let message = Arc::new(message);
        let client = except.and_then(Peer::client).cloned();
        let offset = state.log.append(to.channel.clone(), message.clone(), client, Instant::now());
        for peer in state.channels.get(&to.channel).into_iter().flat_map(HashMap::values) {
            if except.is_none_or(|except| !except.is_of_same_client(peer)) {
                peer.send(&Frame::Entry { channel: &to.channel, offset, message: &message });
            }
        }
        state.log.top()
    }

    /// Keeps what is published to a channel from now on, or from where the client was, until the subscription is live.
    pub(crate) fn hold(&self, peer: &Peer, to: Target, resume: Option<&Position>) -> Held {
        let stream = self.stream(&to.stream);
        let key = (to.channel, peer.id().to_owned());
        let Hold { start, outcome, .. } = {
            let mut state = stream.lock();
            state.log.retain(to.retention);
            state.hold(&key, resume)
        };
        Held { stream, key, start, outcome }
    }

    /// How a socket came into a channel that it is live in.
    pub(crate) fn joined(&self, peer: &Peer, channel: &str) -> Option<(Position, Outcome)> {
        let joined = peer.joined().get(channel)?.clone();
        Some((joined.stream.lock().log.top(), joined.outcome))
    }

    /// Makes a held subscription live: sends what was published since its start, and lets the rest follow. False if the
    /// socket is gone.
    pub(crate) fn join(&self, peer: &Peer, held: &Held) -> bool {
        let mut joined = peer.joined();
        // `leave_all` runs after the socket was marked as gone, so it finds what was added before.
        if peer.is_gone() {
            return false;
        }
        let channel = held.channel();
        if joined.contains_key(channel) {
            return true;
        }
        joined.insert(channel.clone(), Joined { stream: held.stream.clone(), outcome: held.outcome });
        metrics::subscribed(held.outcome);
        let mut state = held.stream.lock();
        match state.log.after(held.start) {
            Some(missed) => peer.send_replay(channel, missed.filter(|entry| entry.channel == *channel)),
            None if peer.client().is_some() => {
                metrics::gap();
                peer.send(&Frame::Gap { channel, top: &state.log.top(), reason: "not retained" });
            }
            // A client that knows no gaps has one way to hear of a loss.
            None => peer.end(),
        }
        state.channels.entry(channel.clone()).or_default().insert(peer.id().to_owned(), peer.clone());
        true
    }

    /// Takes a socket out of a channel; false if it was not in it.
    pub(crate) fn leave(&self, peer: &Peer, channel: &str) -> bool {
        let mut all = peer.joined();
        let Some(joined) = all.remove(channel) else { return false };
        joined.stream.lock().leave(channel, peer.id());
        true
    }

    /// Takes a socket that is gone out of everything.
    pub(crate) fn leave_all(&self, peer: &Peer) {
        for (channel, joined) in std::mem::take(&mut *peer.joined()) {
            joined.stream.lock().leave(&channel, peer.id());
        }
        let mut sockets = self.sockets();
        sockets.connected.remove(peer.id());
        if let Some(client) = peer.client()
            && sockets.clients.get(client).is_some_and(|current| current.id() == peer.id())
        {
            sockets.clients.remove(client);
        }
    }

    /// A socket is let in. The old socket of its client, which the server may still believe alive, gets nothing more.
    /// False, and nothing is done, if that one is the newer.
    pub(crate) fn connect(&self, peer: &Peer) -> bool {
        let old = {
            let mut sockets = self.sockets();
            if sockets.has_newer(peer) {
                return false;
            }
            sockets.connected.insert(peer.id().to_owned(), peer.clone());
            peer.client().and_then(|client| sockets.clients.insert(client.clone(), peer.clone()))
        };
        if let Some(old) = old {
            old.end();
            self.leave_all(&old);
        }
        true
    }

    /// Whether the client of a socket has made a newer connection.
    pub(crate) fn has_newer(&self, peer: &Peer) -> bool {
        self.sockets().has_newer(peer)
    }

    /// A connected socket by its id.
    pub(crate) fn socket(&self, id: &str) -> Option<Peer> {
        self.sockets().connected.get(id).cloned()
    }

    /// All connected sockets.
    pub(crate) fn connected(&self) -> Vec<Peer> {
        self.sockets().connected.values().cloned().collect()
    }

    /// The sockets of our own client.
    pub(crate) fn clients(&self) -> Vec<Peer> {
        self.sockets().clients.values().cloned().collect()
    }

    /// The sockets that are live in a channel.
    pub(crate) fn members(&self, of: &Target) -> Vec<Peer> {
        let stream = self.stream(&of.stream);
        let state = stream.lock();
        state.channels.get(&of.channel).into_iter().flat_map(HashMap::values).cloned().collect()
    }

    /// Makes a socket live in a channel, outside any request of its.
    pub(crate) fn add(&self, peer: &Peer, to: Target, resume: Option<&Position>) -> Option<Outcome> {
        if let Some((_, outcome)) = self.joined(peer, &to.channel) {
            return Some(outcome);
        }
        let mut held = self.hold(peer, to, resume);
        self.join_aloud(peer, &mut held).then_some(held.outcome())
    }

    /// As [`join`](Self::join), for a subscription that no ack tells of.
    pub(crate) fn join_aloud(&self, peer: &Peer, held: &mut Held) -> bool {
        // What was missed follows, so a client that recovers is where it was.
        let position = Position { epoch: held.settle().epoch, offset: held.start };
        let channel = held.channel();
        peer.send(&match held.outcome {
            Outcome::Fresh | Outcome::Recovered => Frame::Join { channel, position: &position },
            Outcome::Gap => Frame::Gap { channel, top: &position, reason: "not retained" },
        });
        self.join(peer, held)
    }

    /// Takes a socket out of a channel, outside any request of its.
    pub(crate) fn remove(&self, peer: &Peer, channel: &str, reason: &'static str) {
        if self.leave(peer, channel) {
            peer.send(&Frame::Left { channel, reason });
        }
    }

    fn stream(&self, name: &Arc<str>) -> Arc<Stream> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).get(name)
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sockets {
    fn has_newer(&self, peer: &Peer) -> bool {
        peer.client().and_then(|client| self.clients.get(client)).is_some_and(|other| other.is_newer_than(peer))
    }
}

impl Known {
    fn get(&mut self, name: &Arc<str>) -> Arc<Stream> {
        if let Some(stream) = self.streams.get(name) {
            return stream.clone();
        }
        for _ in 0..LOOKS {
            if self.order.len() < IDLE_STREAMS {
                break;
            }
            self.look_at_next();
        }
        let stream = Arc::new(Stream::new());
        self.streams.insert(name.clone(), stream.clone());
        self.order.push_back(name.clone());
        stream
    }

    /// Drops the next stream in turn, unless a subscription has it.
    fn look_at_next(&mut self) {
        let Some(name) = self.order.pop_front() else { return };
        if self.streams.get(&name).is_some_and(|stream| Arc::strong_count(stream) > 1) {
            self.order.push_back(name);
        } else {
            self.streams.remove(&name);
        }
    }
}

/// The name of a new count, which no other count shares: 48 random bits.
fn epoch() -> Arc<str> {
    // The library's ids are random base64; eight characters of one are enough for an epoch.
    let id = Sid::new();
    id.as_str()[..8].into()
}

impl Stream {
    fn new() -> Self {
        Self { state: Mutex::new(State { log: Log::new(epoch()), channels: HashMap::new(), holds: HashMap::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hold(&mut self, key: &(Arc<str>, String), resume: Option<&Position>) -> Hold {
        if let Some(hold) = self.holds.get_mut(key) {
            hold.requests += 1;
            self.log.pin(hold.start);
            return *hold;
        }
        let (start, outcome) = self.log.hold(resume);
        let hold = Hold { start, outcome, requests: 1 };
        self.holds.insert(key.clone(), hold);
        hold
    }

    fn release(&mut self, key: &(Arc<str>, String), start: u64) {
        self.log.release(start);
        if let Some(hold) = self.holds.get_mut(key) {
            hold.requests -= 1;
            if hold.requests == 0 {
                self.holds.remove(key);
            }
        }
    }

    fn leave(&mut self, channel: &str, id: &str) {
        if let Some(peers) = self.channels.get_mut(channel) {
            peers.remove(id);
            if peers.is_empty() {
                self.channels.remove(channel);
            }
        }
    }
}

/// Where an event goes, or a subscription: a channel, its stream, and how much of that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) channel: Arc<str>,
    pub(crate) stream: Arc<str>,
    pub(crate) retention: Retention,
}

/// A subscription that is not live yet: what follows its start is kept for it.
#[derive(Debug)]
pub(crate) struct Held {
    stream: Arc<Stream>,
    /// The channel, and the socket.
    key: (Arc<str>, String),
    start: u64,
    outcome: Outcome,
}

impl Held {
    pub(crate) fn channel(&self) -> &Arc<str> {
        &self.key.0
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Where the subscription stands as its request is answered. If more was published meanwhile than is kept, it starts
    /// anew, and that is a gap.
    pub(crate) fn settle(&mut self) -> Position {
        let mut state = self.stream.lock();
        if state.log.after(self.start).is_none() {
            state.log.release(self.start);
            let nowhere = Position { epoch: "".into(), offset: 0 };
            (self.start, self.outcome) = state.log.hold(Some(&nowhere));
            if let Some(hold) = state.holds.get_mut(&self.key) {
                (hold.start, hold.outcome) = (self.start, self.outcome);
            }
        }
        let top = state.log.top();
        match self.outcome {
            Outcome::Recovered => top,
            Outcome::Fresh | Outcome::Gap => Position { offset: self.start, ..top },
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stream.lock().release(&self.key, self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_streams_are_dropped_and_those_in_use_are_kept() {
        let streams = Streams::default();
        let name = |n: usize| Arc::<str>::from(format!("room:{n}"));
        let kept: Vec<_> = (0..10).map(|n| streams.stream(&name(n))).collect();
        for n in 10..3 * IDLE_STREAMS {
            streams.stream(&name(n));
        }
        let known = streams.streams.lock().unwrap();
        assert_eq!(known.streams.len(), known.order.len());
        assert!(known.streams.len() <= IDLE_STREAMS + kept.len());
        assert!((0..10).all(|n| known.streams.contains_key(&name(n))));
    }

    #[test]
    fn two_requests_that_hold_one_channel_miss_nothing_together() {
        let streams = Streams::default();
        let (sender, mut inbox) = tokio::sync::mpsc::unbounded_channel();
        let peer = Peer::of_inbox("ada".into(), sender);
        let target = || Target { channel: "room:7".into(), stream: "room:7".into(), retention: Retention::default() };
        let publish = |name: &str| {
            streams.publish(&target(), Message { name: name.into(), arguments: Vec::new() }, None);
        };
        let first = streams.hold(&peer, target(), None);
        publish("one");
        let second = streams.hold(&peer, target(), None);
        streams.join(&peer, &second);
        publish("two");
        streams.join(&peer, &first);
        publish("three");
        drop((first, second));
        let received: Vec<_> = std::iter::from_fn(|| inbox.try_recv().ok()).map(|message| message.name).collect();
        assert_eq!(received, ["one", "two", "three"]);
        assert!(streams.stream(&"room:7".into()).lock().holds.is_empty());
    }
}
