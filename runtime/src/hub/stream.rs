//! A stream: the entries of one channel, or of several that share it, counted and kept for a while.
//!
//! Nothing here waits or sends; the hub holds a stream's lock while it appends and broadcasts.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::message::Message;

/// The most bytes of entries that a stream keeps for clients that come back.
const MAX_HISTORY_BYTES: usize = 1024 * 1024;
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
        channel: Arc<str>,
        message: Arc<Message>,
        except: Option<Arc<str>>,
        now: Instant,
    ) -> u64 {
        self.top += 1;
        self.bytes += message.bytes();
        self.ring.push_back(Entry { offset: self.top, channel, message, except, at: now });
        self.trim(now);
        self.top
    }

    /// Drops what neither a returning client nor a subscription under way may still ask for.
    fn trim(&mut self, now: Instant) {
        let pinned = self.pins.keys().next().copied().unwrap_or(u64::MAX);
        while let Some(oldest) = self.ring.front() {
            let too_many = self.ring.len() > self.retention.entries || self.bytes > MAX_HISTORY_BYTES;
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
        self.pin(start);
        (start, outcome)
    }

    /// Keeps what follows `start` until [`Log::release`].
    pub(crate) fn pin(&mut self, start: u64) {
        *self.pins.entry(start).or_default() += 1;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "room:7";

    fn log(entries: usize) -> Log {
        let mut log = Log::new("epoch".into());
        log.retain(Retention { entries, age: None });
        log
    }

    fn publish(log: &mut Log, count: u64) {
        for _ in 0..count {
            let message = Message { name: "said".into(), arguments: Vec::new() };
            log.append(ROOM.into(), Arc::new(message), None, Instant::now());
        }
    }

    fn at(offset: u64) -> Position {
        Position { epoch: "epoch".into(), offset }
    }

    fn offsets(log: &Log, start: u64) -> Option<Vec<u64>> {
        log.after(start).map(|entries| entries.map(|entry| entry.offset).collect())
    }

    #[test]
    fn a_position_within_the_history_is_recovered() {
        let mut log = log(3);
        publish(&mut log, 5);
        for (offset, outcome) in
            [(1, Outcome::Gap), (2, Outcome::Recovered), (5, Outcome::Recovered), (6, Outcome::Gap)]
        {
            let (start, decided) = log.hold(Some(&at(offset)));
            assert_eq!(decided, outcome, "{offset}");
            assert_eq!(start, if outcome == Outcome::Recovered { offset } else { 5 });
            log.release(start);
        }
        assert_eq!(offsets(&log, 2).unwrap(), [3, 4, 5]);
        assert!(offsets(&log, 1).is_none());
        assert_eq!(log.hold(None), (5, Outcome::Fresh));
    }

    #[test]
    fn a_position_of_another_count_is_a_gap() {
        let mut log = log(10);
        publish(&mut log, 5);
        let other = Position { epoch: "before".into(), offset: 5 };
        assert_eq!(log.hold(Some(&other)), (5, Outcome::Gap));
    }

    #[test]
    fn without_history_only_silence_is_recovered() {
        let mut log = log(0);
        publish(&mut log, 2);
        let (start, outcome) = log.hold(Some(&at(2)));
        assert_eq!((start, outcome), (2, Outcome::Recovered));
        log.release(start);
        publish(&mut log, 1);
        assert_eq!(log.hold(Some(&at(2))).1, Outcome::Gap);
    }

    #[test]
    fn what_follows_a_hold_is_kept_for_it_also_without_history() {
        let mut log = log(0);
        publish(&mut log, 1);
        let (start, _) = log.hold(None);
        publish(&mut log, 3);
        assert_eq!(offsets(&log, start).unwrap(), [2, 3, 4]);
        log.release(start);
        assert_eq!(offsets(&log, 4).unwrap(), [0; 0]);
        assert!(log.ring.is_empty());
        assert_eq!(log.bytes, 0);
    }

    #[test]
    fn a_hold_does_not_keep_without_end() {
        let mut log = log(0);
        let (start, _) = log.hold(None);
        publish(&mut log, MAX_HELD as u64 + 1);
        assert!(log.after(start).is_none());
        assert!(log.ring.len() <= MAX_HELD);
    }

    #[test]
    fn old_entries_go_by_their_age() {
        let mut log = log(10);
        log.retain(Retention { entries: 10, age: Some(Duration::from_secs(60)) });
        let start = Instant::now();
        for seconds in [0, 30, 61] {
            let message = Arc::new(Message { name: "said".into(), arguments: Vec::new() });
            log.append(ROOM.into(), message, None, start + Duration::from_secs(seconds));
        }
        assert_eq!(offsets(&log, 1).unwrap(), [2, 3]);
        assert!(offsets(&log, 0).is_none());
    }
}
