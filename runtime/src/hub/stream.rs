//! A stream: the entries of one channel, or of several that share it, counted and kept for a while.
//!
//! Nothing here waits or sends; the hub holds a stream's lock while it appends and broadcasts.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::message::Message;

/// The most entries, and bytes of them, that a stream keeps for subscriptions that are not live yet.
const MAX_HELD: usize = 4096;
const MAX_HELD_BYTES: usize = 4 * 1024 * 1024;

/// A place in a stream: after the entry `offset` of the count named `epoch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: Arc<str>,
    pub(crate) offset: u64,
}

/// One published event.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) offset: u64,
    /// The same for all channels that one publish went to.
    pub(crate) id: u64,
    pub(crate) channel: Arc<str>,
    pub(crate) message: Arc<Message>,
    /// The client that does not get it.
    pub(crate) except: Option<Arc<str>>,
    at: Instant,
}

/// How much of a stream is kept for clients that come back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retention {
    pub(crate) entries: usize,
    pub(crate) age: Option<Duration>,
}

/// How a subscription continues what the client had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client had nothing: what is published from now on follows.
    Fresh,
    /// The client misses nothing: what it had not received is sent again.
    Recovered,
    /// The client may have missed something that is no longer kept.
    Gap,
}

/// The entries of one count, and what waits for some of them.
#[derive(Debug)]
pub(crate) struct Log {
    epoch: Arc<str>,
    top: u64,
    ring: VecDeque<Entry>,
    bytes: usize,
    retention: Retention,
    /// How many subscriptions start after each offset and are not live yet.
    pins: BTreeMap<u64, usize>,
}

impl Log {
    pub(crate) fn new(epoch: Arc<str>) -> Self {
        Self { epoch, top: 0, ring: VecDeque::new(), bytes: 0, retention: Retention::default(), pins: BTreeMap::new() }
    }

    /// Keeps at least this much from now on; channels that share a stream may ask for different amounts.
    pub(crate) fn retain(&mut self, wanted: Retention) {
        let retention = &mut self.retention;
        retention.entries = retention.entries.max(wanted.entries);
        retention.age = match (retention.age, wanted.age) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
    }

    pub(crate) fn top(&self) -> Position {
        Position { epoch: self.epoch.clone(), offset: self.top }
    }

    /// The offset before the oldest entry that is kept.
    fn floor(&self) -> u64 {
        self.ring.front().map_or(self.top, |oldest| oldest.offset - 1)
    }

    pub(crate) fn append(
        &mut self,
        id: u64,
        channel: Arc<str>,
        message: Arc<Message>,
        except: Option<Arc<str>>,
        now: Instant,
    ) -> u64 {
        self.top += 1;
        self.bytes += message.bytes();
        self.ring.push_back(Entry { offset: self.top, id, channel, message, except, at: now });
        self.trim(now);
        self.top
    }

    /// Drops what neither a returning client nor a subscription under way may still ask for.
    fn trim(&mut self, now: Instant) {
        let pinned = self.pins.keys().next().copied().unwrap_or(u64::MAX);
        while let Some(oldest) = self.ring.front() {
            let too_many = self.ring.len() > self.retention.entries;
            let too_old = self.retention.age.is_some_and(|age| now.duration_since(oldest.at) > age);
            let held = pinned < oldest.offset && self.ring.len() <= MAX_HELD && self.bytes <= MAX_HELD_BYTES;
            if held || !(too_many || too_old) {
                break;
            }
            self.bytes -= oldest.message.bytes();
            self.ring.pop_front();
        }
    }

    /// Decides where a subscription starts, and keeps what follows until [`Log::release`].
    pub(crate) fn hold(&mut self, resume: Option<&Position>) -> (u64, Outcome) {
        let (start, outcome) = match resume {
            None => (self.top, Outcome::Fresh),
            Some(had) if had.epoch == self.epoch && self.floor() <= had.offset && had.offset <= self.top => {
                (had.offset, Outcome::Recovered)
            }
            Some(_) => (self.top, Outcome::Gap),
        };
        *self.pins.entry(start).or_default() += 1;
        (start, outcome)
    }

    /// Ends a [`Log::hold`].
    pub(crate) fn release(&mut self, start: u64) {
        if let Some(count) = self.pins.get_mut(&start) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&start);
            }
        }
        self.trim(Instant::now());
    }

    /// The entries after `start`, or `None` if some of them are gone.
    pub(crate) fn after(&self, start: u64) -> Option<impl Iterator<Item = &Entry>> {
        (self.floor() <= start).then(|| self.ring.iter().filter(move |entry| entry.offset > start))
    }

    /// Whether the stream holds nothing that anybody could come back for.
    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty() && self.pins.is_empty()
    }
}
