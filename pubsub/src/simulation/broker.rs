//! A broker that a plan treats badly. It knows nothing of the engine: its entries are of any type.

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

    /// The epoch that a stream has, if it is known.
    pub(super) fn epoch(&self, stream: &str) -> Option<u64> {
        self.lock().streams.get(stream).map(|stream| stream.top.epoch)
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

    /// A connection ends; another is made after a while.
    fn cut(&self, node: usize, millis: u64) {
        {
            let mut state = self.lock();
            if !state.nodes[node].is_running {
                return;
            }
            state.end_session(node);
        }
        let broker = self.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(millis)).await;
            broker.connect(node);
        });
    }

    /// A server connects, unless it is connected or has ended.
    pub(super) fn connect(&self, node: usize) {
        let mut state = self.lock();
        let session = state.sessions + 1;
        let known = &mut state.nodes[node];
        if !known.is_running || known.session.is_some() {
            return;
        }
        known.session = Some(session);
        known.attached.clear();
        known.push(News::Up, 0);
        state.sessions = session;
    }

    /// All that is wrong comes right.
    pub(super) fn heal(&self) {
        let nodes = {
            let mut state = self.lock();
            state.paused_until = Instant::now();
            state.changed.notify_waiters();
            for node in &mut state.nodes {
                node.paused_until = Instant::now();
                (node.lose, node.repeat, node.late, node.unknown, node.refuse) = (0, 0, (0, 0), None, false);
            }
            state.nodes.len()
        };
        (0..nodes).for_each(|node| self.connect(node));
    }

    pub(super) fn pause_server(&self, node: usize, millis: u64) {
        let mut state = self.lock();
        let now = Instant::now();
        let node = &mut state.nodes[node];
        node.seen = now;
        node.paused_until = now + Duration::from_millis(millis);
    }

    /// The number of a server stands for the node that it is now.
    pub(super) fn suffer(
        &self,
        fault: &Fault,
        node: impl Fn(usize) -> Option<usize>,
        stream: impl Fn(usize) -> String,
    ) {
        match *fault {
            Fault::Down { server, millis } => {
                if let Some(node) = node(server) {
                    self.cut(node, millis);
                }
            }
            Fault::Lose { server, count } => self.with(node(server), |node| node.lose = count),
            Fault::Repeat { server, count } => self.with(node(server), |node| node.repeat = count),
            Fault::Late { server, count, millis } => self.with(node(server), |node| node.late = (count, millis)),
            Fault::Unknown { server, counted } => self.with(node(server), |node| node.unknown = Some(counted)),
            Fault::Refuse { server } => self.with(node(server), |node| node.refuse = true),
            Fault::Pause { millis } => self.pause(Duration::from_millis(millis)),
            Fault::FailOver { age, millis } => {
                let mut state = self.lock();
                let older = state.snapshots.iter().rev().nth(age).or(state.snapshots.front()).cloned();
                state.streams = older.unwrap_or_default();
                state.life += u64::from(!state.faults.keeps_its_name);
                state.losses += 1;
                drop(state);
                self.cut_all(millis);
            }
            Fault::Restart { millis } => {
                let mut state = self.lock();
                state.streams.clear();
                state.life += 1;
                state.losses += 1;
                drop(state);
                self.cut_all(millis);
            }
            Fault::Evict { channel } => {
                self.lock().streams.remove(&stream(channel));
            }
            Fault::Trim { channel } => {
                if let Some(stream) = self.lock().streams.get_mut(&stream(channel)) {
                    stream.kept.clear();
                }
            }
        }
    }

    fn with(&self, node: Option<usize>, change: impl FnOnce(&mut Node<E>)) {
        if let Some(node) = node {
            change(&mut self.lock().nodes[node]);
        }
    }

    fn cut_all(&self, millis: u64) {
        let nodes = self.lock().nodes.len();
        for node in 0..nodes {
            let apart = self.lock().random.u64(0..1000);
            self.cut(node, millis + apart);
        }
    }

    /// Nothing is answered for a while. After a few seconds the servers give their connections up.
    fn pause(&self, time: Duration) {
        let now = Instant::now();
        self.lock().paused_until = now + time;
        if time <= PATIENCE {
            return;
        }
        let broker = self.clone();
        tokio::spawn(async move {
            sleep(PATIENCE).await;
            let still = broker.lock().paused_until.saturating_duration_since(Instant::now());
            if !still.is_zero() {
                broker.cut_all(u64::try_from(still.as_millis()).unwrap_or(u64::MAX));
            }
        });
    }

    /// A snapshot for a failover.
    pub(super) fn snapshot(&self) {
        let mut state = self.lock();
        let streams = state.streams.clone();
        state.snapshots.push_back(streams);
        if state.snapshots.len() > SNAPSHOTS {
            state.snapshots.pop_front();
        }
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
        turn: bool,
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
            let turned = same && (turn || behind);
            if turned {
                (stream.top, stream.most) = (At { epoch, offset: 0 }, 0);
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

impl<E: Clone + Send + Sync + 'static> State<E> {
    fn end_session(&mut self, node: usize) {
        self.changed.notify_waiters();
        let node = &mut self.nodes[node];
        if node.session.take().is_some() {
            node.seen = Instant::now();
            // It hears of its end whatever comes first.
            node.queued += 1;
            let _ = node.queue.send(Queued { session: None, news: News::Down, offset: 0 });
        }
    }

    /// Most of the time nothing, a turn of the others, or a few milliseconds.
    fn jitter(&mut self) -> Option<Duration> {
        match self.random.u8(0..16) {
            0..8 => None,
            8..13 => Some(Duration::ZERO),
            _ => Some(Duration::from_millis(self.random.u64(1..6))),
        }
    }

    fn stream(&mut self, name: &str, fresh: u64) -> &mut Stream<E> {
        let life = self.life;
        let new = || Stream { life, top: At { epoch: fresh, offset: 0 }, kept: VecDeque::new(), most: 0 };
        let stream = self.streams.entry(name.to_owned()).or_insert_with(new);
        if stream.life != life {
            *stream = new();
        }
        stream
    }

    fn count(
        &mut self,
        broker: &Broker<E>,
        streams: Vec<(String, usize)>,
        fresh: &mut impl FnMut() -> u64,
        make: impl FnOnce(Vec<At>) -> E,
    ) -> E {
        let mut positions = Vec::new();
        for (name, most) in &streams {
            let epoch = fresh();
            let stream = self.stream(name, epoch);
            stream.top.offset += 1;
            stream.most = stream.most.max(*most);
            positions.push(stream.top.clone());
        }
        let entry = make(positions.clone());
        for (destination, ((name, _), at)) in streams.into_iter().zip(positions).enumerate() {
            let stream = self.streams.get_mut(&name).expect("it was just counted");
            stream.kept.push_back((entry.clone(), destination));
            while stream.kept.len() > stream.most {
                stream.kept.pop_front();
            }
            for number in 0..self.nodes.len() {
                self.bring(broker, number, &name, &entry, destination, at.offset);
            }
        }
        entry
    }

    fn bring(&mut self, broker: &Broker<E>, number: usize, name: &str, entry: &E, destination: usize, offset: u64) {
        let is_spared = self.faults.spares_commands && is_for_servers(name);
        let node = &mut self.nodes[number];
        let Some(session) = node.session.filter(|_| node.attached.contains(name)) else { return };
        if node.lose > 0 && !is_spared {
            node.lose -= 1;
            // It finds out, late.
            let (broker, name) = (broker.clone(), name.to_owned());
            let after = Duration::from_millis(self.random.u64(100..1500));
            tokio::spawn(async move {
                sleep(after).await;
                broker.push_late(number, session, News::Lost(name), 0);
            });
            return;
        }
        let news = || News::Entry(entry.clone(), destination);
        if node.late.0 > 0 && !is_spared && node.paused_until <= Instant::now() {
            node.late.0 -= 1;
            let (broker, news, after) = (broker.clone(), news(), Duration::from_millis(node.late.1));
            tokio::spawn(async move {
                sleep(after).await;
                broker.push_late(number, session, news, offset);
            });
            return;
        }
        node.push(news(), offset);
        if node.repeat > 0 {
            node.repeat -= 1;
            node.push(news(), offset);
        }
    }
}

impl<E: Clone + Send + Sync + 'static> Broker<E> {
    /// What was on its way comes, unless the connection has ended.
    fn push_late(&self, node: usize, session: u64, news: News<E>, offset: u64) {
        let mut state = self.lock();
        if state.nodes[node].session == Some(session) {
            state.nodes[node].push(news, offset);
        }
    }
}

impl<E> Node<E> {
    fn push(&mut self, news: News<E>, offset: u64) {
        // A delivering task that has panicked takes nothing more.
        if self.session.is_some() {
            self.queued += 1;
            let _ = self.queue.send(Queued { session: self.session, news, offset });
        }
    }
}

/// Whether a stream is for the servers, and not for sockets.
fn is_for_servers(stream: &str) -> bool {
    ["catamaran:commands", "catamaran:closings", "catamaran:answers:"].iter().any(|name| stream.starts_with(name))
}

async fn wait(time: Option<Duration>) {
    match time {
        None => {}
        Some(Duration::ZERO) => yield_now().await,
        Some(time) => sleep(time).await,
    }
}
