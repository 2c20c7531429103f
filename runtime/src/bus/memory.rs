//! The bus of an application with one server: it counts in memory, and the hub applies inline.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, ready};

use super::{Attached, Bus, Down, Read, Sent};
use crate::hub::{Copy, Entry, Flow, Node, Position, epoch_of};

/// Counts the streams that its one hub has attached. The hub keeps their history.
#[derive(Debug)]
pub(crate) struct Memory {
    flow: Flow,
    counts: Mutex<Counts>,
    /// What makes the names of epochs this process's own.
    secret: RandomState,
}

#[derive(Debug)]
struct Counts {
    by_stream: HashMap<Arc<str>, Count>,
    /// How many events went to streams that were not attached, and how many streams with events were detached, by a hash of
    /// the streams' names. As long as that is the same nothing was missed on a stream without events, and it has the same
    /// epoch when it is attached again.
    missed: Box<[u64]>,
}

/// How many streams share a count of what was missed: a few, each of which then takes another epoch.
const MISSED: usize = 16_384;

/// The position of a stream's last entry. Its lock is held until the hub has applied the next, which keeps them in order.
type Count = Arc<Mutex<Position>>;

impl Memory {
    pub(crate) fn new(flow: Flow) -> Self {
        let counts = Counts { by_stream: HashMap::new(), missed: vec![0; MISSED].into() };
        Self { flow, counts: Mutex::new(counts), secret: RandomState::new() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, mut entry: Entry) -> Arc<Entry> {
        // In the order of their names, so that two publishers who share streams do not wait for each other.
        let counts: BTreeMap<_, _> = {
            let mut counts = self.counts();
            let streams = entry.places.iter().map(|place| &place.target.stream);
            let counted = streams.filter_map(|stream| {
                let count = counts.by_stream.get(stream).cloned();
                if count.is_none() {
                    *counts.missed(stream, &self.secret) += 1;
                }
                Some((stream.clone(), count?))
            });
            counted.collect()
        };
        let mut tops: BTreeMap<_, _> = counts.iter().map(|(stream, count)| (stream, lock(count))).collect();
        for place in &mut entry.places {
            place.position = tops.get_mut(&place.target.stream).map(|top| {
                top.offset += 1;
                top.clone()
            });
        }
        let entry = Arc::new(entry);
        for place in 0..entry.places.len() {
            self.flow.entry(Copy::of(entry.clone(), place));
        }
        entry
    }
}

fn lock(count: &Count) -> MutexGuard<'_, Position> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bus for Memory {
    fn attach<'a>(
        &'a self,
        stream: &'a Arc<str>,
        _: Option<Position>,
        _: bool,
    ) -> BoxFuture<'a, Result<Attached, Down>> {
        let count = self.counts().count(stream, &self.secret);
        let top = lock(&count).clone();
        let floor = top.offset;
        Box::pin(ready(Ok(Attached { top, floor })))
    }

    fn read<'a>(&'a self, _: &'a Arc<str>, _: &'a Position) -> BoxFuture<'a, Read> {
        Box::pin(ready(Read::Gone))
    }

    fn publish(&self, entry: Entry) -> BoxFuture<'_, Sent> {
        Box::pin(ready(Sent::Counted(self.count(entry))))
    }

    fn detach(&self, stream: &Arc<str>) {
        let mut counts = self.counts();
        if let Some(count) = counts.by_stream.remove(stream)
            && lock(&count).offset > 0
        {
            *counts.missed(stream, &self.secret) += 1;
        }
    }

    #[cfg(test)]
    fn streams(&self) -> usize {
        self.counts().by_stream.len()
    }

    fn others(&self) -> BoxFuture<'_, Result<Vec<Node>, Down>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn linger(&self) -> Option<Duration> {
        None
    }
}

impl Counts {
    /// The count of a stream, which begins if there is none.
    fn count(&mut self, stream: &Arc<str>, secret: &RandomState) -> Count {
        if let Some(count) = self.by_stream.get(stream) {
            return count.clone();
        }
        let epoch = epoch_of(secret.hash_one((stream, *self.missed(stream, secret))));
        let count = Arc::new(Mutex::new(Position { epoch, offset: 0 }));
        self.by_stream.insert(stream.clone(), count.clone());
        count
    }

    fn missed(&mut self, stream: &str, secret: &RandomState) -> &mut u64 {
        let hash = secret.hash_one(stream);
        &mut self.missed[usize::try_from(hash % MISSED as u64).unwrap_or_default()]
    }
}
