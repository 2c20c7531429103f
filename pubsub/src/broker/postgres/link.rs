//! The way to the server as the hub sees it: up or down, and nothing of an old connection after its end.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use sha2::{Digest, Sha256};
use tokio::time::sleep;
use tokio_postgres::Config;

use super::{
    super::{Attached, Down, Read, Sent},
    batch::{Counting, Queue, Waiting},
    connection::Failure,
    news,
    session::Session,
};
use crate::{BrokerEvents, Destination, Node, Position, PublishedEvent, StreamEntry};

/// The longest wait before it is tried again to connect, and the longest first one.
const MAX_WAIT: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// How long answers to other servers may take that are on their way when this one leaves.
const LAST_ANSWERS: Duration = Duration::from_millis(20);
/// The longest name of a stream that is stored as it is: an index takes no key of any length.
const MAX_NAME: usize = 1024;

#[derive(Debug)]
pub(super) struct Link {
    config: Config,
    flow: BrokerEvents,
    /// The streams that this node wants, by their names in the tables.
    attached: Mutex<HashMap<Vec<u8>, Arc<str>>>,
    /// The connections while the broker is up. Its lock is held while they bring something, so that it comes before their end.
    session: Mutex<Option<Arc<Session>>>,
    queue: Queue,
    /// The node has left the others, for good.
    left: AtomicBool,
}

impl Link {
    pub(super) fn new(config: Config, flow: BrokerEvents) -> Self {
        Self {
            config,
            flow,
            attached: Mutex::default(),
            session: Mutex::default(),
            queue: Queue::default(),
            left: AtomicBool::new(false),
        }
    }

    /// Connects, and again whenever the connections end.
    pub(super) async fn run(self: Arc<Self>) {
        let mut attempts = 0;
        while !self.left.load(Ordering::SeqCst) {
            match Session::open(&self.config, self.flow.node).await {
                Ok(mut opened) => {
                    attempts = 0;
                    let session = opened.session.clone();
                    *lock(&self.session) = Some(session.clone());
                    self.flow.up();
                    let served = AssertUnwindSafe(opened.serve(&self, &self.config)).catch_unwind().await;
                    *lock(&self.session) = None;
                    session.close();
                    match served {
                        Ok(failure) => tracing::warn!("the connection to postgres ended: {failure}"),
                        Err(_) => tracing::error!("task of the postgres connection panicked: connects again"),
                    }
                    self.flow.down();
                }
                Err(failure) => {
                    if attempts == 0 {
                        tracing::warn!("postgres cannot be used as the broker, which is tried again: {failure}");
                    }
                    attempts += 1;
                }
            }
            sleep(wait_before(attempts)).await;
        }
    }

    /// Tells the hub what these connections brought, unless they have ended or others take this node for gone.
    pub(super) fn bring(&self, from: &Session, news: impl FnOnce(&BrokerEvents)) {
        let session = lock(&self.session);
        if session.as_ref().is_some_and(|session| std::ptr::eq(&raw const **session, from)) && from.is_believed() {
            news(&self.flow);
        }
    }

    /// The stream with this name in the tables, if this node wants it.
    pub(super) fn wanted(&self, name: &[u8]) -> Option<Arc<str>> {
        lock(&self.attached).get(name).cloned()
    }

    pub(super) async fn attach(
        &self,
        stream: &Arc<str>,
        known: Option<Position>,
        turn: bool,
    ) -> Result<Attached, Down> {
        let name = name(stream);
        // Before it is asked, since what is counted after the answer comes as news.
        lock(&self.attached).insert(name.clone(), stream.clone());
        let session = self.session().ok_or(Down)?;
        let row = session.attach(&name, known, turn).await.map_err(|_| Down)?;
        let top = Position { epoch: row.get::<_, &str>("epoch").into(), offset: unsigned(row.get("top")) };
        Ok(Attached { top, floor: unsigned(row.get("floor")) })
    }

    pub(super) fn detach(&self, stream: &Arc<str>) {
        lock(&self.attached).remove(&name(stream));
    }

    pub(super) async fn read(&self, stream: &Arc<str>, after: &Position) -> Result<Read, Down> {
        let name = name(stream);
        let session = self.session().ok_or(Down)?;
        let rows = session.read(&name, after).await.map_err(|_| Down)?;
        let mut kept = Vec::new();
        for (row, offset) in rows.iter().zip(after.offset + 1..) {
            let Some(found) = row.get::<_, Option<i64>>("offset") else { break };
            let body = row.get::<_, Option<&[u8]>>("body").filter(|_| unsigned(found) == offset);
            let Some(entry) = body.and_then(|body| news::entry(body, news::positions(row))) else {
                return Ok(Read::Gone);
            };
            let at = Position { epoch: after.epoch.clone(), offset };
            let is_here = |destination: &Destination| {
                destination.target.stream == *stream && destination.position.as_ref() == Some(&at)
            };
            let Some(destination) = entry.destinations.iter().position(is_here) else { return Ok(Read::Gone) };
            kept.push(StreamEntry::of(Arc::new(entry), destination));
        }
        // Without a row the epoch is another, or some of it is no longer kept.
        Ok(if rows.is_empty() { Read::Gone } else { Read::Entries(kept) })
    }

    /// Counts an entry, with others that are published meanwhile. It goes on when whoever asked for it is gone.
    pub(super) fn publish(self: &Arc<Self>, entry: PublishedEvent) -> impl Future<Output = Sent> + Send + use<> {
        let (waiting, sent) = Waiting::new(entry);
        if self.queue.push(waiting) {
            tokio::spawn(self.clone().publish_all());
        }
        async { sent.await.unwrap_or(Sent::Unknown) }
    }

    async fn publish_all(self: Arc<Self>) {
        loop {
            let batch = self.queue.take();
            if batch.is_empty() {
                return;
            }
            // What fails as it is delivered fails on its own.
            let _ = tokio::spawn(self.clone().publish_together(batch)).await;
        }
    }

    async fn publish_together(self: Arc<Self>, mut batch: Vec<Waiting>) {
        let refuse = |batch: Vec<Waiting>| {
            for (entry, answer) in batch.into_iter().map(Waiting::into_parts) {
                // Whoever asked may be gone.
                let _ = answer.send(Sent::Not(entry));
            }
        };
        let Some(session) = self.session() else { return refuse(batch) };
        let counting = Counting::of(&mut batch);
        let row = match session.publish(&counting).await {
            Ok(row) => row,
            // Those who wait are told that nobody knows.
            Err(Failure::Lost(_) | Failure::Late | Failure::Silent) => return,
            Err(_) => return refuse(batch),
        };
        let (id, epochs, offsets) =
            (row.get("id"), row.get::<_, Vec<&str>>("epochs"), row.get::<_, Vec<i64>>("offsets"));
        let epochs: Vec<Arc<str>> = epochs.into_iter().map(Into::into).collect();
        let mut positions = counting.destinations.iter().zip(offsets).filter_map(|(stream, offset)| {
            let epoch = epochs.get(usize::try_from(*stream - 1).ok()?)?;
            Some(Position { epoch: epoch.clone(), offset: unsigned(offset) })
        });
        for (waiting, number) in batch.into_iter().zip(1..) {
            let (mut entry, answer) = waiting.into_parts();
            for destination in &mut entry.destinations {
                destination.position = positions.next();
            }
            let entry = Arc::new(entry);
            if session.came((id, number)) {
                self.bring(&session, |flow| {
                    (0..entry.destinations.len())
                        .for_each(|destination| flow.entry(StreamEntry::of(entry.clone(), destination)));
                });
            }
            let _ = answer.send(Sent::Counted(entry));
        }
    }

    /// Leaves the others, if they can be reached.
    pub(super) async fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
        if let Some(session) = self.session() {
            session.leave().await;
            // What it was asked before is answered by tasks of their own.
            sleep(LAST_ANSWERS).await;
        }
    }

    pub(super) async fn others(&self) -> Result<Vec<Node>, Down> {
        let session = self.session().ok_or(Down)?;
        let rows = session.others().await.map_err(|_| Down)?;
        Ok(rows.iter().map(|row| Node(unsigned(row.get("id")))).collect())
    }

    pub(super) fn session(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone()
    }
}

/// The name of a stream in the tables.
pub(super) fn name(stream: &str) -> Vec<u8> {
    if stream.len() <= MAX_NAME {
        return stream.into();
    }
    // No text begins with this byte.
    [&[0xff], &*Sha256::digest(stream)].concat()
}

/// Any time up to a bound that grows, so that servers that lost a server together do not come back together.
fn wait_before(attempt: u32) -> Duration {
    let most = (FIRST_WAIT * 2_u32.pow(attempt.min(10))).min(MAX_WAIT);
    most.mul_f64((RandomState::new().hash_one(0) as f64) / (u64::MAX as f64))
}

/// The offsets and nodes of the tables were unsigned before.
pub(super) fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
