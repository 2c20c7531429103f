//! The broker of an application with one server: it counts in memory, and the hub applies inline.

use std::{
    collections::BTreeMap,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, ready};

use super::{Attached, Broker, Down, Read, RecordStore, Sent, records::Table};
use crate::{BrokerEvents, Node, Position, PublishedEvent, RandomState, StreamEntry, epoch_of, sharded::Sharded};

/// Counts the streams that its one hub has attached. The hub keeps their history.
#[derive(Debug)]
pub(crate) struct Memory {
    flow: BrokerEvents,
    counts: Sharded<Count>,
    records: Mutex<Table>,
    /// What makes the names of epochs this process's own.
    secret: RandomState,
    /// How many events went to streams that were not attached, and how many streams with events were detached, by a hash of
    /// the streams' names. As long as that is the same nothing was missed on a stream without events, and it has the same
    /// epoch when it is attached again. A stream's is read and counted under the lock that its count is found by.
    missed: Box<[AtomicU64]>,
}

/// How many streams share a count of what was missed: a few, each of which then takes another epoch.
const MISSED: usize = 16_384;

/// The position of a stream's last entry. Its lock is held until the hub has applied the next, which keeps them in order; it is
/// not waited for under a lock of several counts.
#[derive(Clone, Debug)]
struct Count(Arc<Top>);

#[derive(Debug)]
struct Top {
    position: Mutex<Position>,
    /// The stream was detached: a publisher that finds it so looks for its count once more.
    detached: AtomicBool,
}

impl Count {
    fn lock(&self) -> MutexGuard<'_, Position> {
        self.0.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_detached(&self) -> bool {
        self.0.detached.load(Ordering::SeqCst)
    }
}

impl Memory {
    pub(crate) fn new(flow: BrokerEvents) -> Self {
        let missed = (0..MISSED).map(|_| AtomicU64::default()).collect();
        Self { flow, counts: Sharded::default(), records: Mutex::default(), secret: RandomState::new(), missed }
    }

    /// How many streams are attached.
    #[cfg(test)]
    pub(crate) fn streams(&self) -> usize {
        self.counts.len()
    }

    /// The count of a stream, or a note if it is not attached.
    fn count_of(&self, stream: &str) -> Option<Count> {
        self.counts.get_or_else(stream, || self.miss(stream))
    }

    fn miss(&self, stream: &str) {
        self.missed(stream).fetch_add(1, Ordering::Relaxed);
    }

    fn missed(&self, stream: &str) -> &AtomicU64 {
        let hash = self.secret.hash_one(stream);
        &self.missed[usize::try_from(hash % MISSED as u64).unwrap_or_default()]
    }

    /// Counts an entry, and has it applied.
    fn count(&self, mut entry: PublishedEvent) -> Arc<PublishedEvent> {
        if let [destination] = &mut entry.destinations[..] {
            while let Some(count) = self.count_of(&destination.target.stream) {
                let mut top = count.lock();
                if count.is_detached() {
                    continue;
                }
                top.offset += 1;
                destination.position = Some(top.clone());
                let entry = Arc::new(entry);
                self.flow.entry(StreamEntry::of(entry.clone(), 0));
                return entry;
            }
            return Arc::new(entry);
        }
        loop {
            let streams = entry.destinations.iter().map(|destination| &destination.target.stream);
            let counts = streams.filter_map(|stream| Some((stream.clone(), self.count_of(stream)?)));
            // In the order of their names, so that two publishers who share streams do not wait for each other.
            let counts: BTreeMap<_, _> = counts.collect();
            let mut tops: BTreeMap<_, _> = counts.iter().map(|(stream, count)| (stream, count.lock())).collect();
            if counts.values().any(Count::is_detached) {
                continue;
            }
            for destination in &mut entry.destinations {
                destination.position = tops.get_mut(&destination.target.stream).map(|top| {
                    top.offset += 1;
                    top.clone()
                });
            }
            let entry = Arc::new(entry);
            for destination in 0..entry.destinations.len() {
                self.flow.entry(StreamEntry::of(entry.clone(), destination));
            }
            return entry;
        }
    }

    /// The count of a stream, which begins if there is none.
    fn begin(&self, stream: &Arc<str>) -> Count {
        self.counts.get_or_insert_with(stream, || {
            let missed = self.missed(stream).load(Ordering::Relaxed);
            let position = Position { epoch: epoch_of(self.secret.hash_one((stream, missed))), offset: 0 };
            Count(Arc::new(Top { position: Mutex::new(position), detached: AtomicBool::new(false) }))
        })
    }
}

impl Broker for Memory {
    fn attach<'a>(
        &'a self,
        stream: &'a Arc<str>,
        _: Option<Position>,
        _: Option<Duration>,
    ) -> BoxFuture<'a, Result<Attached, Down>> {
        let count = self.begin(stream);
        let top = count.lock().clone();
        let floor = top.offset;
        Box::pin(ready(Ok(Attached { top, floor })))
    }

    fn read<'a>(&'a self, _: &'a Arc<str>, _: &'a Position) -> BoxFuture<'a, Read> {
        Box::pin(ready(Read::Gone))
    }

    fn publish(&self, entry: PublishedEvent) -> BoxFuture<'_, Sent> {
        Box::pin(ready(Sent::Counted(self.count(entry))))
    }

    fn detach(&self, stream: &Arc<str>) {
        self.counts.remove_with(stream, |count| {
            count.0.detached.store(true, Ordering::SeqCst);
            // Somebody who holds it publishes.
            let silent = count.0.position.try_lock().is_ok_and(|top| top.offset == 0);
            if !silent {
                self.miss(stream);
            }
        });
    }

    fn others(&self) -> BoxFuture<'_, Result<Vec<Node>, Down>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn linger(&self) -> Option<Duration> {
        None
    }

    fn records(&self) -> &dyn RecordStore {
        &self.records
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{Destination, EncodedEvent, History, Target, testing::Hub};

    fn attach(broker: &Memory, stream: &Arc<str>) -> Position {
        broker.attach(stream, None, None).now_or_never().unwrap().unwrap().top
    }

    fn publish(broker: &Memory, stream: &Arc<str>) -> Option<Position> {
        let target = Target { channel: stream.clone(), stream: stream.clone(), history: History::NONE, shape: None };
        let message = EncodedEvent { name: "said".into(), arguments: Vec::new() };
        let id = crate::Id { node: Node(0), number: 0 };
        let destinations = vec![Destination { target, position: None }];
        let entry = PublishedEvent { id, message, except: Vec::new(), destinations, at: std::time::SystemTime::now() };
        broker.count(entry).destinations[0].position.clone()
    }

    #[test]
    fn an_epoch_lasts_as_long_as_nothing_was_published() {
        let hub = Hub::default();
        let (broker, room, other) = (Memory::new(hub.registry().flow()), "room".into(), "other".into());
        let first = attach(&broker, &room);
        assert_eq!((first.epoch.len(), first.offset), (8, 0));
        assert_ne!(attach(&broker, &other).epoch, first.epoch);
        broker.detach(&room);
        assert_eq!(attach(&broker, &room), first);
        // Not after an event that nobody counted, nor after one that was counted.
        broker.detach(&room);
        assert_eq!(publish(&broker, &room), None);
        let second = attach(&broker, &room);
        assert_ne!(second.epoch, first.epoch);
        assert_eq!(publish(&broker, &room).unwrap(), Position { offset: 1, ..second.clone() });
        broker.detach(&room);
        assert!(![first.epoch, second.epoch].contains(&attach(&broker, &room).epoch));
    }

    #[test]
    fn a_stream_that_is_detached_during_a_publish_is_another() {
        let hub = Hub::default();
        let (broker, room) = (Memory::new(hub.registry().flow()), "room".into());
        let before = attach(&broker, &room);
        let count = broker.counts.get(&room).unwrap();
        // The publisher holds the count: what it publishes is of the epoch that ends.
        let publishing = count.lock();
        broker.detach(&room);
        assert_ne!(attach(&broker, &room).epoch, before.epoch);
        drop(publishing);
        // The publisher is about to hold it: it finds that it is no count any more.
        let count = broker.counts.get(&room).unwrap();
        broker.detach(&room);
        assert!(count.is_detached());
        let after = attach(&broker, &room);
        assert_eq!(publish(&broker, &room).unwrap(), Position { offset: 1, ..after });
    }
}
