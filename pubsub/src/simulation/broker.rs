//! A broker that a plan treats badly. It knows nothing of the engine: its entries are of any type.

mod counts;
mod faults;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    sync::{
        Notify,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
    },
    task::yield_now,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::plan::Fault;

/// How long a server that shows no life counts as living.
const LEASE: Duration = Duration::from_secs(5);
/// How long nothing may be answered before a connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many states are kept for a failover.
const SNAPSHOTS: usize = 8;

/// The name of a count, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) epoch: u64,
    pub(super) offset: u64,
}

/// What a server hears of the broker.
#[derive(Debug)]
pub(super) enum News<E> {
    /// An entry, and which of its destinations.
    Entry(E, usize),
    Lost(String),
    Down,
    Up,
}

/// Nothing can be asked.
#[derive(Debug)]
pub(super) struct Unreachable;

/// The stream, the top, and the offset before the oldest entry.
#[derive(Debug)]
pub(super) struct Stands {
    pub(super) top: At,
    pub(super) floor: u64,
}

#[derive(Debug)]
pub(super) enum Kept<E> {
    Entries(Vec<(E, usize)>),
    Gone,
    Unreachable,
}

pub(super) enum Sent<E> {
    Counted(E),
    Refused,
    Unknown,
}

/// What all servers share.
pub(super) struct Broker<E>(Arc<Mutex<State<E>>>);

struct State<E> {
    random: Rng,
    /// Tells whoever waits that a connection has ended, or that all is well.
    changed: Arc<Notify>,
    /// The server that counts; what another counted does not go on.
    life: u64,
    streams: BTreeMap<String, Stream<E>>,
    snapshots: VecDeque<BTreeMap<String, Stream<E>>>,
    nodes: Vec<Node<E>>,
    paused_until: Instant,
    sessions: u64,
    faults: Faults,
    /// How often something was forgotten that was counted.
    losses: u64,
}

/// What holds for a whole simulation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// After a failover the streams go on as if nothing had happened.
    pub(super) keeps_its_name: bool,
    /// A server that was paused is brought what waited by offsets, and not in its order.
    pub(super) sorts_after_pause: bool,
    /// As long as it is up, commands between servers are counted and come in their order.
    pub(super) spares_commands: bool,
}

#[derive(Clone, Debug)]
struct Stream<E> {
    life: u64,
    top: At,
    kept: VecDeque<(E, usize)>,
    most: usize,
    /// When its epoch began.
    begun: Instant,
}

struct Node<E> {
    name: u64,
    queue: UnboundedSender<Queued<E>>,
    attached: BTreeSet<String>,
    /// The number of its connection.
    session: Option<u64>,
    is_running: bool,
    has_left: bool,
    seen: Instant,
    paused_until: Instant,
    lose: usize,
    repeat: usize,
    late: (usize, u64),
    unknown: Option<bool>,
    refuse: bool,
    /// How much was queued for it, and is done with.
    queued: u64,
    delivered: u64,
}

struct Queued<E> {
    session: Option<u64>,
    news: News<E>,
    offset: u64,
}

impl<E> Clone for Broker<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> fmt::Debug for Broker<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

impl<E: Clone + Send + Sync + 'static> Broker<E> {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Rng::with_seed(seed),
            changed: Arc::default(),
            life: 0,
            streams: BTreeMap::new(),
            snapshots: VecDeque::new(),
            nodes: Vec::new(),
            paused_until: Instant::now(),
            sessions: 0,
            faults,
            losses: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn losses(&self) -> u64 {
        self.lock().losses
    }

    /// A server that is about to connect; its number. `tell` is called by one task, as that of a connection would.
    pub(super) fn join(&self, name: u64, tell: impl Fn(News<E>) + Send + 'static) -> usize {
        let (queue, queued) = mpsc::unbounded_channel();
        let mut state = self.lock();
        let now = Instant::now();
        state.nodes.push(Node {
            name,
            queue,
            attached: BTreeSet::new(),
            session: None,
            is_running: true,
            has_left: false,
            seen: now,
            paused_until: now,
            lose: 0,
            repeat: 0,
            late: (0, 0),
            unknown: None,
            refuse: false,
            queued: 0,
            delivered: 0,
        });
        let node = state.nodes.len() - 1;
        tokio::spawn(self.clone().deliver(node, queued, tell));
        node
    }

    /// A server has ended, with or without saying so.
    pub(super) fn leave(&self, node: usize, farewell: bool) {
        let mut state = self.lock();
        let node = &mut state.nodes[node];
        (node.session, node.is_running, node.has_left) = (None, false, farewell);
        node.seen = Instant::now();
    }

    /// Brings a server what is for it, in its order.
    async fn deliver(self, node: usize, mut queued: UnboundedReceiver<Queued<E>>, tell: impl Fn(News<E>)) {
        let mut waiting = VecDeque::new();
        loop {
            let next = match waiting.pop_front() {
                Some(next) => next,
                None => match queued.recv().await {
                    Some(next) => next,
                    None => return,
                },
            };
            let mut was_paused = false;
            while let Some(until) = self.paused(node) {
                was_paused = true;
                // It may end before.
                sleep_until(until.min(Instant::now() + Duration::from_millis(100))).await;
            }
            if was_paused && self.lock().faults.sorts_after_pause {
                waiting.push_back(next);
                waiting.extend(std::iter::from_fn(|| queued.try_recv().ok()));
                waiting.make_contiguous().sort_by_key(|queued| queued.offset);
                continue;
            }
            let is_current = {
                let state = self.lock();
                let current = state.nodes[node].session;
                state.nodes[node].is_running && (next.session.is_none() || next.session == current)
            };
            if is_current {
                tell(next.news);
            }
            let pause = {
                let mut state = self.lock();
                state.nodes[node].delivered += 1;
                state.jitter()
            };
            wait(pause).await;
        }
    }

    fn paused(&self, node: usize) -> Option<Instant> {
        let state = self.lock();
        let until = state.paused_until.max(state.nodes[node].paused_until);
        (until > Instant::now()).then_some(until)
    }

    fn session(&self, node: usize) -> Option<u64> {
        self.lock().nodes[node].session
    }

    /// One way of a question or its answer, which takes as long as it takes.
    async fn way(&self, node: usize, session: u64) -> Result<(), Unreachable> {
        let jitter = self.lock().jitter();
        wait(jitter).await;
        let changed = self.lock().changed.clone();
        loop {
            let mut changed = pin!(changed.notified());
            changed.as_mut().enable();
            if self.session(node) != Some(session) {
                return Err(Unreachable);
            }
            match self.paused(node) {
                Some(until) => drop(timeout_at(until, changed).await),
                None => return Ok(()),
            }
        }
    }

    /// Waits until a server was brought what is on its way, as on one connection.
    async fn overtake_nothing(&self, node: usize, session: u64) {
        let before = self.lock().nodes[node].queued;
        loop {
            {
                let state = self.lock();
                let node = &state.nodes[node];
                if node.delivered >= before || node.session != Some(session) || node.queue.is_closed() {
                    return;
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    pub(super) async fn attach(
        &self,
        node: usize,
        name: &str,
        known: Option<(u64, u64)>,
        alone: Option<Duration>,
        fresh: impl FnOnce() -> u64,
    ) -> Result<Stands, Unreachable> {
        let session = self.session(node).ok_or(Unreachable)?;
        self.way(node, session).await?;
        let stands = {
            let state = &mut *self.lock();
            state.nodes[node].attached.insert(name.to_owned());
            let epoch = fresh();
            let stream = state.stream(name, epoch);
            let same = known.is_none_or(|(known, _)| known == stream.top.epoch);
            let behind = known.is_some_and(|(_, offset)| offset > stream.top.offset);
            let is_owed = alone.is_some_and(|alone| same || stream.begun.elapsed() >= alone);
            let turned = is_owed || (same && behind);
            if turned {
                (stream.top, stream.most, stream.begun) = (At { epoch, offset: 0 }, 0, Instant::now());
                stream.kept.clear();
            }
            let stands = Stands { top: stream.top.clone(), floor: stream.top.offset - stream.kept.len() as u64 };
            if turned {
                for (number, other) in state.nodes.iter_mut().enumerate() {
                    if number != node && other.attached.contains(name) {
                        other.push(News::Lost(name.to_owned()), 0);
                    }
                }
            }
            stands
        };
        self.way(node, session).await?;
        Ok(stands)
    }

    pub(super) async fn read(&self, node: usize, name: &str, after: (u64, u64)) -> Kept<E> {
        let Some(session) = self.session(node) else { return Kept::Unreachable };
        if self.way(node, session).await.is_err() {
            return Kept::Unreachable;
        }
        let kept = {
            let state = self.lock();
            let current = state.streams.get(name).filter(|stream| stream.life == state.life);
            let current = current.filter(|stream| stream.top.epoch == after.0);
            current.and_then(|stream| {
                let floor = stream.top.offset - stream.kept.len() as u64;
                let skip = usize::try_from(after.1.checked_sub(floor)?).ok()?;
                (after.1 <= stream.top.offset).then(|| stream.kept.iter().skip(skip).cloned().collect())
            })
        };
        self.overtake_nothing(node, session).await;
        match self.way(node, session).await {
            Ok(()) => kept.map_or(Kept::Gone, Kept::Entries),
            Err(Unreachable) => Kept::Unreachable,
        }
    }

    /// Counts an entry on streams, of each of which so many are kept. `make` makes it of its positions.
    pub(super) async fn publish(
        &self,
        node: usize,
        streams: Vec<(String, usize)>,
        mut fresh: impl FnMut() -> u64,
        make: impl FnOnce(Vec<At>) -> E,
    ) -> Sent<E> {
        let Some(session) = self.session(node) else { return Sent::Refused };
        let is_spared = {
            let state = self.lock();
            state.faults.spares_commands && streams.iter().any(|(name, _)| is_for_servers(name))
        };
        if !is_spared && std::mem::take(&mut self.lock().nodes[node].refuse) {
            return Sent::Refused;
        }
        if self.way(node, session).await.is_err() {
            return Sent::Unknown;
        }
        let unknown = if is_spared { None } else { self.lock().nodes[node].unknown.take() };
        if unknown == Some(false) {
            return Sent::Unknown;
        }
        let entry = self.lock().count(&self.clone(), streams, &mut fresh, make);
        if unknown.is_some() || self.way(node, session).await.is_err() {
            return Sent::Unknown;
        }
        Sent::Counted(entry)
    }

    pub(super) fn detach(&self, node: usize, name: &str) {
        self.lock().nodes[node].attached.remove(name);
    }

    /// The names of the other servers that have shown life lately.
    pub(super) async fn others(&self, node: usize) -> Result<Vec<u64>, Unreachable> {
        let session = self.session(node).ok_or(Unreachable)?;
        self.way(node, session).await?;
        let others = {
            let state = self.lock();
            let now = Instant::now();
            let others = state.nodes.iter().enumerate().filter(|(number, _)| *number != node);
            let living = others.filter(|(_, other)| {
                let shows_life = other.session.is_some() && other.paused_until <= now;
                !other.has_left && (shows_life || now.duration_since(other.seen) < LEASE)
            });
            living.map(|(_, other)| other.name).collect()
        };
        self.way(node, session).await?;
        Ok(others)
    }
}

/// Whether a stream is for the servers, and not for sockets.
fn is_for_servers(stream: &str) -> bool {
    ["catamaran:commands", "catamaran:closings", "catamaran:answers:"].iter().any(|name| stream.starts_with(name))
}

/// Whether a stream says whose sockets are closed.
fn is_closing(stream: &str) -> bool {
    stream == "catamaran:closings"
}

async fn wait(time: Option<Duration>) {
    match time {
        None => {}
        Some(Duration::ZERO) => yield_now().await,
        Some(time) => sleep(time).await,
    }
}
