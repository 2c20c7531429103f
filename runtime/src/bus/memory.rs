//! The bus of an application with one server: it counts in memory, and the hub applies inline.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, ready};

use super::{Attached, Bus, Down, Read, Sent};
use crate::hub::{Copy, Entry, Flow, Node, Position, epoch};

/// Counts the streams that its one hub has attached. The hub keeps their history.
#[derive(Debug)]
pub(crate) struct Memory {
    flow: Flow,
    counts: Mutex<HashMap<Arc<str>, Count>>,
}

/// The position of a stream's last entry. Its lock is held until the hub has applied the next, which keeps them in order.
type Count = Arc<Mutex<Position>>;

impl Memory {
    pub(crate) fn new(flow: Flow) -> Self {
        Self { flow, counts: Mutex::default() }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Arc<str>, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, mut entry: Entry) -> Arc<Entry> {
        // In the order of their names, so that two publishers who share streams do not wait for each other.
        let counts: BTreeMap<_, _> = {
            let counts = self.counts();
            let streams = entry.places.iter().map(|place| &place.target.stream);
            streams.filter_map(|stream| Some((stream.clone(), counts.get(stream)?.clone()))).collect()
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
        let count = self.counts().entry(stream.clone()).or_insert_with(new_count).clone();
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
        self.counts().remove(stream);
    }

    fn others(&self) -> BoxFuture<'_, Result<Vec<Node>, Down>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn linger(&self) -> Option<Duration> {
        None
    }
}

fn new_count() -> Count {
    Arc::new(Mutex::new(Position { epoch: epoch(), offset: 0 }))
}
