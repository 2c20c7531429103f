//! What is published at the same time is counted in one transaction.

use std::{collections::BTreeMap, sync::Mutex};

use tokio::sync::oneshot;

use super::{
    super::{Sent, encoding::encode},
    values::{lock, name},
};
use crate::{History, PublishedEvent};

/// The most entries of a transaction, and about their most bytes: the streams are locked for as long as it takes.
const MAX_ENTRIES: usize = 64;
const MAX_BYTES: usize = 1024 * 1024;
/// What stands for a history without an age, in milliseconds: a hundred years.
const FOR_EVER: i64 = 100 * 365 * 24 * 3600 * 1000;

/// An entry that waits to be counted, and who waits for what becomes of it.
#[derive(Debug)]
pub(super) struct Waiting {
    entry: PublishedEvent,
    body: Vec<u8>,
    answer: oneshot::Sender<Sent>,
}

impl Waiting {
    pub(super) fn new(mut entry: PublishedEvent) -> (Self, oneshot::Receiver<Sent>) {
        // One order on all servers, whatever the publisher named first.
        entry.destinations.sort_by_cached_key(|destination| name(&destination.target.stream));
        let (answer, sent) = oneshot::channel();
        let body = encode(&entry).into_bytes();
        (Self { entry, body, answer }, sent)
    }

    pub(super) fn into_parts(self) -> (PublishedEvent, oneshot::Sender<Sent>) {
        (self.entry, self.answer)
    }
}

/// The entries that wait while others are counted.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Waiting>,
    /// Somebody takes what waits.
    taken: bool,
}

impl Queue {
    /// Whether nobody takes what waits: then whoever asks has to.
    pub(super) fn push(&self, waiting: Waiting) -> bool {
        let mut state = lock(&self.0);
        state.waiting.push(waiting);
        !std::mem::replace(&mut state.taken, true)
    }

    /// The next to be counted together, in their order; nothing if none waits, and then nobody takes any more.
    pub(super) fn take(&self) -> Vec<Waiting> {
        let mut state = lock(&self.0);
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.body.len();
            bytes <= MAX_BYTES
        };
        let count = state.waiting.iter().take(MAX_ENTRIES).take_while(fits).count().max(1).min(state.waiting.len());
        state.taken = count > 0;
        let rest = state.waiting.split_off(count);
        std::mem::replace(&mut state.waiting, rest)
    }
}

/// Entries as the tables count them.
#[derive(Debug, Default)]
pub(super) struct Counting {
    /// The streams in the order of their names, in which they are locked so that two publishers who share some do not wait for
    /// each other; and what each keeps.
    pub(super) names: Vec<Vec<u8>>,
    pub(super) events: Vec<i64>,
    pub(super) bytes: Vec<i64>,
    pub(super) ages: Vec<i64>,
    pub(super) bodies: Vec<Vec<u8>>,
    /// How many destinations each entry has, and the streams of these from 1 on.
    pub(super) counts: Vec<i32>,
    pub(super) destinations: Vec<i32>,
}

impl Counting {
    pub(super) fn of(batch: &mut [Waiting]) -> Self {
        let targets = |waiting: &Waiting| {
            waiting.entry.destinations.iter().map(|destination| destination.target.clone()).collect::<Vec<_>>()
        };
        let mut streams: BTreeMap<Vec<u8>, (i32, History)> = BTreeMap::new();
        for target in batch.iter().flat_map(targets) {
            let kept = streams.entry(name(&target.stream)).or_insert((0, target.history));
            kept.1 = kept.1.and(target.history);
        }
        let mut counting = Self::default();
        for (number, (name, (destination, history))) in (1..).zip(&mut streams) {
            *destination = number;
            counting.names.push(name.clone());
            counting.events.push(kept_events(*history));
            counting.bytes.push(kept_bytes(*history));
            counting.ages.push(kept_age(*history));
        }
        for waiting in batch {
            counting.bodies.push(std::mem::take(&mut waiting.body));
            let destinations =
                waiting.entry.destinations.iter().map(|destination| streams[&name(&destination.target.stream)].0);
            let before = counting.destinations.len();
            counting.destinations.extend(destinations);
            counting.counts.push(i32::try_from(counting.destinations.len() - before).unwrap_or(i32::MAX));
        }
        counting
    }
}

fn kept_events(history: History) -> i64 {
    history.entries.try_into().unwrap_or(i64::MAX)
}

fn kept_bytes(history: History) -> i64 {
    if history.entries == 0 { 0 } else { history.bytes.try_into().unwrap_or(i64::MAX) }
}

/// In milliseconds; without a limit, so many that none is older.
fn kept_age(history: History) -> i64 {
    let age = history.age.map_or(FOR_EVER, |age| i64::try_from(age.as_millis()).unwrap_or(FOR_EVER).min(FOR_EVER));
    if history.entries == 0 { 0 } else { age }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{Destination, EncodedEvent, Id, Node, Target};

    fn waiting(number: u64, bytes: usize, streams: &[(&str, History)]) -> Waiting {
        let destination = |&(stream, history): &(&str, History)| {
            let target = Target { channel: stream.into(), stream: stream.into(), history, shape: None };
            Destination { target, position: None }
        };
        let entry = PublishedEvent {
            id: Id { node: Node(1), number },
            message: EncodedEvent { name: "e".repeat(bytes), arguments: Vec::new() },
            except: Vec::new(),
            destinations: streams.iter().map(destination).collect(),
            at: SystemTime::now(),
        };
        Waiting::new(entry).0
    }

    fn numbers(batch: &[Waiting]) -> Vec<u64> {
        batch.iter().map(|waiting| waiting.entry.id.number).collect()
    }

    #[test]
    fn waiting_entries_are_taken_together_up_to_a_limit() {
        let queue = Queue::default();
        assert!(queue.push(waiting(0, 1, &[])));
        assert!(!queue.push(waiting(1, 2 * MAX_BYTES, &[])));
        (2..70).for_each(|number| assert!(!queue.push(waiting(number, 1, &[]))));
        assert_eq!(numbers(&queue.take()), [0]);
        assert_eq!(numbers(&queue.take()), [1]);
        assert_eq!(numbers(&queue.take()), (2..66).collect::<Vec<_>>());
        assert_eq!(numbers(&queue.take()), [66, 67, 68, 69]);
        assert!(queue.take().is_empty());
        assert!(queue.push(waiting(0, 1, &[])));
    }

    #[test]
    fn a_stream_of_several_entries_is_named_once() {
        let (short, long) = (History::of(1), History::of(9).seconds(2));
        let mut batch = [waiting(0, 1, &[("b", short), ("a", short)]), waiting(1, 1, &[("b", long)])];
        let counting = Counting::of(&mut batch);
        assert_eq!(counting.names, [b"a", b"b"]);
        assert_eq!(counting.events, [1, 9]);
        assert_eq!((counting.counts, counting.destinations), (vec![2, 1], vec![1, 2, 2]));
        assert_eq!(counting.bodies.len(), 2);
    }
}
