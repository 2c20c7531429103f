//! The entries of one stream: counted, and kept for a while.
//!
//! Nothing here waits or sends; the hub holds a stream's lock while it appends and broadcasts.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use super::{
    entry::{StreamEntry, Target},
    environment,
    history::{History, MAX_HELD, MAX_HELD_BYTES},
    position::Position,
};

/// About what a kept entry takes beside its message and its names, and each socket that it leaves out.
const ENTRY_BYTES: usize = 128;
const EXCEPT_BYTES: usize = 64;

/// How a subscription continues what the client had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The client had nothing: what is published from now on follows.
    Fresh,
    /// The client misses nothing: what it had not received is sent again.
    Recovered,
    /// The client may have missed something that is no longer kept.
    Gap,
}

/// The entries of one stream, and what waits for some of them.
#[derive(Debug)]
pub(crate) struct Log {
    /// Where the newest entry stands.
    top: Position,
    ring: VecDeque<StreamEntry>,
    bytes: usize,
    /// The bytes that all logs of the node keep.
    kept: Arc<AtomicUsize>,
    history: History,
    /// How many subscriptions start after each position and are not live yet. Those of another epoch keep nothing, and stay
    /// until they are released: a broker may come back to that epoch.
    pins: BTreeMap<Position, usize>,
}

impl Log {
    pub(crate) fn new(kept: Arc<AtomicUsize>) -> Self {
        let top = Position { epoch: "".into(), offset: 0 };
        Self { top, ring: VecDeque::new(), bytes: 0, kept, history: History::NONE, pins: BTreeMap::new() }
    }

    /// Keeps at least this much from now on.
    pub(crate) fn retain(&mut self, history: History) {
        self.history = self.history.and(history);
    }

    pub(crate) fn top(&self) -> &Position {
        &self.top
    }

    /// The offset before the oldest entry that is kept.
    fn floor(&self) -> u64 {
        self.ring.front().map_or(self.top.offset, |oldest| oldest.offset() - 1)
    }

    /// Goes on elsewhere, with nothing kept: whoever stands before that has a gap.
    pub(crate) fn start(&mut self, top: Position) {
        while self.drop_oldest() {}
        self.top = top;
    }

    /// Keeps the entry that follows the newest.
    pub(crate) fn append(&mut self, copy: StreamEntry) {
        self.top.offset += 1;
        if self.history.entries == 0 && self.pins.is_empty() && self.ring.is_empty() {
            return;
        }
        let bytes = weight(&copy);
        self.bytes += bytes;
        self.kept.fetch_add(bytes, Ordering::Relaxed);
        let now = copy.entry.at;
        self.ring.push_back(copy);
        self.trim(now);
    }

    /// Drops what neither a returning client nor a subscription under way may still ask for.
    fn trim(&mut self, now: SystemTime) {
        while let Some(oldest) = self.ring.front() {
            let too_many = self.ring.len() > self.history.entries || self.bytes > self.history.bytes;
            let age = now.duration_since(oldest.entry.at).unwrap_or_default();
            let too_old = self.history.age.is_some_and(|limit| age > limit);
            if self.is_held(oldest) || !(too_many || too_old) {
                break;
            }
            self.drop_oldest();
        }
    }

    /// Whether anything is kept for those who come back.
    pub(crate) fn has_history(&self) -> bool {
        self.history.entries > 0
    }

    /// The bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops all history, and what subscriptions under way wait for: for these that is a gap.
    pub(crate) fn clear(&mut self) {
        while self.drop_oldest() {}
    }

    /// Drops all history but what a subscription under way waits for.
    pub(crate) fn forget(&mut self) {
        while self.ring.front().is_some_and(|oldest| !self.is_held(oldest)) {
            self.drop_oldest();
        }
    }

    fn is_held(&self, oldest: &StreamEntry) -> bool {
        if self.pins.is_empty() {
            return false;
        }
        let first = Position { epoch: self.top.epoch.clone(), offset: 0 };
        let first = self.pins.range(first..).next().filter(|(start, _)| start.epoch == self.top.epoch);
        let pinned = first.is_some_and(|(start, _)| start.offset < oldest.offset());
        pinned && self.ring.len() <= MAX_HELD && self.bytes <= MAX_HELD_BYTES
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.ring.pop_front() else { return false };
        let bytes = weight(&oldest);
        self.bytes -= bytes;
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
        true
    }

    /// Decides where a subscription starts, and keeps what follows until [`Log::release`].
    pub(crate) fn hold(&mut self, resume: Option<&Position>) -> (Position, Recovery) {
        self.trim(environment::now());
        let (start, outcome) = match resume {
            None => (&self.top, Recovery::Fresh),
            Some(had) if self.has_after(had) => (had, Recovery::Recovered),
            Some(_) => (&self.top, Recovery::Gap),
        };
        let start = start.clone();
        (self.pin(&start), outcome)
    }

    /// Keeps what follows `start` until [`Log::release`].
    pub(crate) fn pin(&mut self, start: &Position) -> Position {
        *self.pins.entry(start.clone()).or_default() += 1;
        start.clone()
    }

    /// Whether a position is one that this log has not come to.
    pub(crate) fn is_ahead(&self, position: &Position) -> bool {
        position.epoch == self.top.epoch && position.offset > self.top.offset
    }

    /// Ends a [`Log::hold`].
    pub(crate) fn release(&mut self, start: &Position) {
        if let Some(count) = self.pins.get_mut(start) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(start);
            }
        }
        self.trim(environment::now());
    }

    fn has_after(&self, start: &Position) -> bool {
        start.epoch == self.top.epoch && (self.floor()..=self.top.offset).contains(&start.offset)
    }

    /// The entries after `start`, or `None` if some of them are gone.
    pub(crate) fn after(&self, start: &Position) -> Option<impl Iterator<Item = &StreamEntry>> {
        let had = start.offset.saturating_sub(self.floor());
        // The ring has no holes.
        let had = usize::try_from(had).unwrap_or(usize::MAX).min(self.ring.len());
        (self.has_after(start) || self.is_ahead(start)).then(|| self.ring.range(had..))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// About how many bytes a kept entry takes.
pub(crate) fn weight(copy: &StreamEntry) -> usize {
    let Target { channel, stream, .. } = copy.target();
    let names = channel.len() + if Arc::ptr_eq(channel, stream) { 0 } else { stream.len() };
    copy.entry.message.bytes() + names + copy.entry.except.len() * EXCEPT_BYTES + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        entry::{Destination, Id, Node, PublishedEvent, Target},
        event::EncodedEvent,
    };

    fn log(history: History) -> Log {
        let mut log = Log::new(Arc::default());
        log.start(at(0));
        log.retain(history);
        log
    }

    fn copy(offset: u64, time: SystemTime) -> StreamEntry {
        let target = Target { channel: "room:7".into(), stream: "room:7".into(), history: History::NONE, shape: None };
        let destinations = vec![Destination { target, position: Some(at(offset)) }];
        let message = EncodedEvent { name: "said".into(), arguments: Vec::new() };
        let id = Id { node: Node(0), number: offset };
        StreamEntry::of(Arc::new(PublishedEvent { id, message, except: Vec::new(), destinations, at: time }), 0)
    }

    fn publish(log: &mut Log, count: u64) {
        for _ in 0..count {
            log.append(copy(log.top.offset + 1, SystemTime::now()));
        }
    }

    fn at(offset: u64) -> Position {
        Position { epoch: "epoch".into(), offset }
    }

    fn offsets(log: &Log, start: u64) -> Option<Vec<u64>> {
        log.after(&at(start)).map(|entries| entries.map(StreamEntry::offset).collect())
    }

    #[test]
    fn a_position_within_the_history_is_recovered() {
        let mut log = log(History::of(3));
        publish(&mut log, 5);
        for (offset, outcome) in
            [(1, Recovery::Gap), (2, Recovery::Recovered), (5, Recovery::Recovered), (6, Recovery::Gap)]
        {
            let (start, decided) = log.hold(Some(&at(offset)));
            assert_eq!(decided, outcome, "{offset}");
            assert_eq!(start, at(if outcome == Recovery::Recovered { offset } else { 5 }));
            log.release(&start);
        }
        assert_eq!(offsets(&log, 2).unwrap(), [3, 4, 5]);
        assert!(offsets(&log, 1).is_none());
        assert_eq!(log.hold(None), (at(5), Recovery::Fresh));
    }

    #[test]
    fn a_position_of_another_count_is_a_gap() {
        let mut log = log(History::of(10));
        publish(&mut log, 5);
        let other = Position { epoch: "before".into(), offset: 5 };
        assert_eq!(log.hold(Some(&other)), (at(5), Recovery::Gap));
    }

    #[test]
    fn without_history_only_silence_is_recovered() {
        let mut log = log(History::NONE);
        publish(&mut log, 2);
        let (start, outcome) = log.hold(Some(&at(2)));
        assert_eq!((&start, outcome), (&at(2), Recovery::Recovered));
        log.release(&start);
        publish(&mut log, 1);
        assert_eq!(log.hold(Some(&at(2))).1, Recovery::Gap);
    }

    #[test]
    fn what_follows_a_hold_is_kept_for_it_also_without_history() {
        let mut log = log(History::NONE);
        publish(&mut log, 1);
        let (start, _) = log.hold(None);
        publish(&mut log, 3);
        log.forget();
        assert_eq!(offsets(&log, 1).unwrap(), [2, 3, 4]);
        log.release(&start);
        assert_eq!(offsets(&log, 4).unwrap(), [0; 0]);
        assert_eq!((log.ring.len(), log.bytes, log.kept.load(Ordering::Relaxed)), (0, 0, 0));
    }

    #[test]
    fn a_hold_does_not_keep_without_end() {
        let mut log = log(History::NONE);
        let (start, _) = log.hold(None);
        publish(&mut log, MAX_HELD as u64 + 1);
        assert!(log.after(&start).is_none());
        assert!(log.ring.len() <= MAX_HELD);
    }

    #[test]
    fn old_entries_go_by_their_age_also_when_nothing_new_comes() {
        let mut log = log(History::of(10).seconds(60));
        let now = SystemTime::now();
        for (offset, seconds) in [(1, 122), (2, 90), (3, 61)] {
            log.append(copy(offset, now - Duration::from_secs(seconds)));
        }
        assert_eq!(offsets(&log, 1).unwrap(), [2, 3]);
        assert_eq!(log.hold(Some(&at(1))).1, Recovery::Gap);
    }

    #[test]
    fn a_history_is_bounded_in_bytes() {
        let mut log = log(History::of(100).bytes(3 * weight(&copy(1, SystemTime::now()))));
        publish(&mut log, 9);
        assert_eq!(offsets(&log, 6).unwrap(), [7, 8, 9]);
        assert!(offsets(&log, 5).is_none());
    }

    #[test]
    fn pin_of_a_former_epoch_keeps_nothing() {
        let mut log = log(History::NONE);
        let (start, _) = log.hold(None);
        log.start(Position { epoch: "next".into(), offset: 0 });
        // Another request of the socket subscribes from where the first did.
        log.pin(&start);
        publish(&mut log, 1000);
        assert_eq!(log.ring.len(), 0);
        log.release(&start);
        log.release(&start);
        assert!(log.pins.is_empty());
    }

    /// Holds, releases, events and epochs in any order: what nobody holds is not pinned.
    #[test]
    fn nothing_is_pinned_when_nothing_is_held() {
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut log = log(History::NONE);
            let mut held: Vec<Position> = Vec::new();
            for _ in 0..100 {
                match random.u8(..6) {
                    0 => held.push(log.hold(None).0),
                    1 => {
                        let resume = Position {
                            epoch: random.choice(["epoch", "next"]).unwrap().into(),
                            offset: random.u64(..9),
                        };
                        held.push(log.hold(Some(&resume)).0);
                    }
                    2 if !held.is_empty() => {
                        let start = held[random.usize(..held.len())].clone();
                        held.push(log.pin(&start));
                    }
                    3 if !held.is_empty() => log.release(&held.swap_remove(random.usize(..held.len()))),
                    // A broker that comes back with what it had counts on in a former epoch.
                    4 => log.start(Position {
                        epoch: random.choice(["epoch", "next"]).unwrap().into(),
                        offset: random.u64(..9),
                    }),
                    _ => publish(&mut log, random.u64(..5)),
                }
                if held.is_empty() {
                    assert_eq!((log.pins.len(), log.ring.len()), (0, 0), "seed {seed}");
                }
            }
            held.iter().for_each(|start| log.release(start));
            publish(&mut log, 3);
            assert_eq!((log.pins.len(), log.ring.len(), log.bytes), (0, 0, 0), "seed {seed}");
        }
    }

    #[test]
    fn a_new_count_frees_what_was_kept_and_held() {
        let mut log = log(History::of(10));
        let (start, _) = log.hold(None);
        publish(&mut log, 3);
        log.start(Position { epoch: "next".into(), offset: 3 });
        assert!(log.after(&start).is_none());
        let (again, _) = log.hold(None);
        log.release(&start);
        assert_eq!(log.pins.len(), 1, "the old hold must not end the new one");
        log.release(&again);
        assert_eq!((log.pins.len(), log.kept.load(Ordering::Relaxed)), (0, 0));
    }
}
