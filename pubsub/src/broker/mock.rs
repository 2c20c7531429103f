//! A broker for tests: it joins several hubs in one process, and loses, repeats and delays what it is told to.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::{BoxFuture, pending, ready};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::{
    Attached, Broker, Down, Read, Sent,
    records::{
        FromStore, RecordError, RecordOutcome, RecordPage, Table,
        store::{RecordStore, Renewed, Write},
    },
};
use crate::{BrokerEvents, Position, PublishedEvent, RESERVED, StreamEntry, epoch};

/// What all nodes share, as a server of Redis or Postgres would.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backend(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    streams: HashMap<Arc<str>, Stream>,
    nodes: Vec<Node>,
    /// How often it was asked.
    pub(crate) attaches: usize,
    pub(crate) reads: usize,
    /// What it was asked to bring no more.
    pub(crate) detached: Vec<Arc<str>>,
    /// An attach is answered when there is a permit.
    pub(crate) filter: Option<Arc<Semaphore>>,
    /// How many of the next attaches and reads panic, those of commands too.
    pub(crate) panics: usize,
    /// It answers no attach, no publish, and not who else is there, as if a network dropped all packets.
    pub(crate) black_hole: bool,
    /// The next publish, or call for records, is refused.
    pub(crate) refused: bool,
    /// The outcome of the next publish, or call for records, is not known; whether it arrives.
    pub(crate) unknown: Option<bool>,
    pub(crate) linger: Option<Duration>,
    records: Table,
}

#[derive(Debug)]
struct Stream {
    top: Position,
    kept: Vec<StreamEntry>,
    /// When its epoch began.
    begun: Instant,
}

#[derive(Debug)]
struct Node {
    flow: BrokerEvents,
    attached: HashSet<Arc<str>>,
    down: bool,
    /// What is on its way, if the test brings it.
    pile: Option<Vec<StreamEntry>>,
    /// The stream whose entries it cannot read.
    unreadable: Option<&'static str>,
}

/// What reaches a node.
struct Brought {
    flow: BrokerEvents,
    copy: StreamEntry,
    is_readable: bool,
}

impl Backend {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test fails under this lock")
    }

    /// The broker of the next node.
    pub(crate) fn connect(&self, flow: BrokerEvents) -> MockBroker {
        let mut state = self.lock();
        state.nodes.push(Node { flow, attached: HashSet::new(), down: false, pile: None, unreadable: None });
        MockBroker { backend: self.clone(), node: state.nodes.len() - 1 }
    }

    /// From now on the test brings a node what is published.
    pub(crate) fn intercept(&self, node: usize) {
        self.lock().nodes[node].pile = Some(Vec::new());
    }

    /// From now on a node cannot read what comes of a stream, and asks for it.
    pub(crate) fn garble(&self, node: usize, stream: &'static str) {
        self.lock().nodes[node].unreadable = Some(stream);
    }

    /// What is on its way to a node.
    pub(crate) fn pile(&self, node: usize) -> Vec<StreamEntry> {
        self.lock().nodes[node].pile.replace(Vec::new()).expect("it is intercepted")
    }

    pub(crate) fn flow(&self, node: usize) -> BrokerEvents {
        self.lock().nodes[node].flow.clone()
    }

    /// A node loses its connection. What is published meanwhile passes it by.
    pub(crate) fn down(&self, node: usize) {
        self.lock().nodes[node].down = true;
        self.flow(node).down();
    }

    pub(crate) fn up(&self, node: usize) {
        self.lock().nodes[node].down = false;
        self.flow(node).up();
    }

    /// Comes up with what it had when it counted less.
    pub(crate) fn rewind(&self, stream: &str, offset: u64) {
        let mut state = self.lock();
        let stream = state.streams.get_mut(stream).expect("it is known");
        stream.top.offset = offset;
        stream.kept.retain(|copy| copy.offset() <= offset);
    }

    /// Knows nothing of a stream any more, and counts it anew.
    pub(crate) fn forget(&self, stream: &str) {
        self.lock().streams.remove(stream);
    }

    /// Knows no record any more.
    pub(crate) fn forget_records(&self) {
        self.lock().records = Table::default();
    }

    /// A mistake in the code of a backend.
    fn panic_if_told(&self) {
        let left = self.lock().panics.checked_sub(1);
        if let Some(left) = left {
            self.lock().panics = left;
            panic!("the test asked for it");
        }
    }

    /// Keeps nothing of a stream up to an offset.
    pub(crate) fn trim(&self, stream: &str, offset: u64) {
        let mut state = self.lock();
        state.streams.get_mut(stream).expect("it is known").kept.retain(|copy| copy.offset() > offset);
    }
}

impl Stream {
    fn new() -> Self {
        Self { top: Position { epoch: epoch(), offset: 0 }, kept: Vec::new(), begun: Instant::now() }
    }
}

impl State {
    fn stream(&mut self, name: &Arc<str>) -> &mut Stream {
        self.streams.entry(name.clone()).or_insert_with(Stream::new)
    }

    /// Counts and keeps an entry, and says which flows bring it.
    fn count(&mut self, mut entry: PublishedEvent) -> (Arc<PublishedEvent>, Vec<Brought>) {
        for destination in &mut entry.destinations {
            let top = &mut self.stream(&destination.target.stream).top;
            top.offset += 1;
            destination.position = Some(top.clone());
        }
        let entry = Arc::new(entry);
        let mut brought = Vec::new();
        for destination in 0..entry.destinations.len() {
            let copy = StreamEntry::of(entry.clone(), destination);
            let name = &copy.target().stream;
            self.stream(name).kept.push(copy.clone());
            for node in self.nodes.iter_mut().filter(|node| !node.down && node.attached.contains(name)) {
                match &mut node.pile {
                    Some(pile) if !name.starts_with(RESERVED) => pile.push(copy.clone()),
                    _ => brought.push(Brought {
                        flow: node.flow.clone(),
                        copy: copy.clone(),
                        is_readable: node.unreadable != Some(name),
                    }),
                }
            }
        }
        (entry, brought)
    }
}

/// One node's way to the backend.
#[derive(Debug)]
pub(crate) struct MockBroker {
    backend: Backend,
    node: usize,
}

impl Broker for MockBroker {
    fn attach<'a>(
        &'a self,
        name: &'a Arc<str>,
        known: Option<Position>,
        alone: Option<Duration>,
    ) -> BoxFuture<'a, Result<Attached, Down>> {
        Box::pin(async move {
            self.backend.panic_if_told();
            let black_hole = {
                let mut state = self.backend.lock();
                state.attaches += usize::from(!name.starts_with(RESERVED));
                state.black_hole
            };
            if black_hole {
                return pending().await;
            }
            let (attached, told) = {
                let mut state = self.backend.lock();
                if state.nodes[self.node].down {
                    return Err(Down);
                }
                state.nodes[self.node].attached.insert(name.clone());
                let stream = state.stream(name);
                let same = known.as_ref().is_none_or(|known| known.epoch == stream.top.epoch);
                let behind = known.is_some_and(|known| known.offset > stream.top.offset);
                let is_owed = alone.is_some_and(|alone| same || stream.begun.elapsed() >= alone);
                let turned = is_owed || (same && behind);
                if turned {
                    *stream = Stream::new();
                }
                let floor = stream.kept.first().map_or(stream.top.offset, |oldest| oldest.offset() - 1);
                let attached = Attached { top: stream.top.clone(), floor };
                let others = state.nodes.iter().enumerate().filter(|(node, _)| turned && *node != self.node);
                let others = others.filter(|(_, node)| !node.down && node.attached.contains(name));
                (attached, others.map(|(_, node)| node.flow.clone()).collect::<Vec<_>>())
            };
            told.iter().for_each(|flow| flow.lost(name));
            let filter = self.backend.lock().filter.clone();
            if let Some(filter) = filter.filter(|_| !name.starts_with(RESERVED)) {
                filter.acquire().await.expect("it stays open").forget();
            }
            Ok(attached)
        })
    }

    fn read<'a>(&'a self, name: &'a Arc<str>, after: &'a Position) -> BoxFuture<'a, Read> {
        Box::pin(async move {
            self.backend.panic_if_told();
            if self.backend.lock().nodes[self.node].unreadable == Some(name) {
                // Other tasks go on meanwhile, as they do when a network is asked.
                sleep(Duration::from_millis(1)).await;
            }
            let mut state = self.backend.lock();
            state.reads += usize::from(!name.starts_with(RESERVED));
            if state.nodes[self.node].down {
                return Read::Down;
            }
            let stream = state.stream(name);
            let kept: Vec<_> = stream.kept.iter().filter(|copy| copy.offset() > after.offset).cloned().collect();
            let whole = kept.len() as u64 == stream.top.offset.saturating_sub(after.offset);
            if stream.top.epoch == after.epoch && whole { Read::Entries(kept) } else { Read::Gone }
        })
    }

    fn publish(&self, entry: PublishedEvent) -> BoxFuture<'_, Sent> {
        if self.backend.lock().black_hole {
            return Box::pin(pending());
        }
        Box::pin(async move {
            let (sent, brought) = {
                let mut state = self.backend.lock();
                if state.nodes[self.node].down || std::mem::take(&mut state.refused) {
                    return Sent::Not(entry);
                }
                match state.unknown.take() {
                    Some(false) => return Sent::Unknown,
                    Some(true) => (Sent::Unknown, state.count(entry).1),
                    None => {
                        let (entry, brought) = state.count(entry);
                        (Sent::Counted(entry), brought)
                    }
                }
            };
            for Brought { flow, copy, is_readable } in brought {
                if is_readable { flow.entry(copy) } else { flow.lost(&copy.target().stream) }
            }
            sent
        })
    }

    fn detach(&self, stream: &Arc<str>) {
        let mut state = self.backend.lock();
        state.nodes[self.node].attached.remove(stream);
        state.detached.push(stream.clone());
    }

    fn others(&self) -> BoxFuture<'_, Result<Vec<crate::Node>, Down>> {
        let state = self.backend.lock();
        if state.black_hole {
            return Box::pin(pending());
        }
        let others = state.nodes.iter().enumerate().filter(|(node, _)| *node != self.node);
        let others = others.map(|(_, node)| node.flow.node).collect();
        Box::pin(ready(if state.nodes[self.node].down { Err(Down) } else { Ok(others) }))
    }

    fn linger(&self) -> Option<Duration> {
        self.backend.lock().linger
    }

    fn records(&self) -> &dyn RecordStore {
        self
    }
}

impl MockBroker {
    /// Asks the records, as the test has it.
    fn ask_records<'a, T: Send + 'a>(
        &'a self,
        ask: impl FnOnce(&mut Table) -> T + Send + 'a,
    ) -> BoxFuture<'a, Result<T, RecordError>> {
        let mut state = self.backend.lock();
        if state.black_hole {
            return Box::pin(pending());
        }
        let answer = match state.unknown.take() {
            _ if state.nodes[self.node].down || std::mem::take(&mut state.refused) => Err(RecordError::Down),
            Some(arrives) => {
                arrives.then(|| ask(&mut state.records));
                Err(RecordError::Unknown)
            }
            None => Ok(ask(&mut state.records)),
        };
        Box::pin(ready(answer))
    }
}

impl RecordStore for MockBroker {
    fn write<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<FromStore<RecordOutcome>, RecordError>> {
        self.ask_records(move |table| table.write(write))
    }

    fn renew<'a>(
        &'a self,
        holder: &'a str,
        lease: Duration,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<FromStore<Renewed>, RecordError>> {
        self.ask_records(move |table| table.renew(holder, lease, after))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<FromStore<RecordPage>, RecordError>> {
        self.ask_records(move |table| table.list(prefix, after, limit))
    }
}
