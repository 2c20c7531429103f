//! The way to the server as the hub sees it: up or down, and nothing of an old connection after its end.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use sha2::{Digest, Sha256};
use tokio::time::sleep;
use tokio_postgres::Config;

use super::{
    super::{Attached, Down, Read, Sent, encoding::encode},
    connection::Failure,
    news,
    session::Session,
};
use crate::{Copy, Entry, Flow, Node, Place, Position};

/// The longest wait before it is tried again to connect, and the longest first one.
const MAX_WAIT: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest name of a stream that is stored as it is: an index takes no key of any length.
const MAX_NAME: usize = 1024;

#[derive(Debug)]
pub(super) struct Link {
    config: Config,
    flow: Flow,
    /// The streams that this node wants, by their names in the tables.
    attached: Mutex<HashMap<Vec<u8>, Arc<str>>>,
    /// The connections while the bus is up. Its lock is held while they bring something, so that it comes before their end.
    session: Mutex<Option<Arc<Session>>>,
}

impl Link {
    pub(super) fn new(config: Config, flow: Flow) -> Self {
        Self { config, flow, attached: Mutex::default(), session: Mutex::default() }
    }

    /// Connects, and again whenever the connections end.
    pub(super) async fn run(self: Arc<Self>) {
        let mut attempts = 0;
        loop {
            match Session::open(&self.config, self.flow.node).await {
                Ok(mut opened) => {
                    attempts = 0;
                    let session = opened.session.clone();
                    *lock(&self.session) = Some(session.clone());
                    self.flow.up();
                    let served = AssertUnwindSafe(opened.serve(&self)).catch_unwind().await;
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
                        tracing::warn!("postgres cannot be used as the bus, which is tried again: {failure}");
                    }
                    attempts += 1;
                }
            }
            sleep(wait_before(attempts)).await;
        }
    }

    /// Tells the hub what these connections brought, unless they have ended.
    pub(super) fn bring(&self, from: &Session, news: impl FnOnce(&Flow)) {
        let session = lock(&self.session);
        if session.as_ref().is_some_and(|session| std::ptr::eq(&raw const **session, from)) {
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
            let is_here = |place: &Place| place.target.stream == *stream && place.position.as_ref() == Some(&at);
            let Some(place) = entry.places.iter().position(is_here) else { return Ok(Read::Gone) };
            kept.push(Copy::of(Arc::new(entry), place));
        }
        // Without a row the epoch is another, or some of it is no longer kept.
        Ok(if rows.is_empty() { Read::Gone } else { Read::Entries(kept) })
    }

    pub(super) async fn publish(self: Arc<Self>, mut entry: Entry) -> Sent {
        let Some(session) = self.session() else { return Sent::Not(entry) };
        // Streams are locked in the order of their names, so that two publishers who share some do not wait for each other.
        entry.places.sort_by_cached_key(|place| name(&place.target.stream));
        let names: Vec<_> = entry.places.iter().map(|place| name(&place.target.stream)).collect();
        let row = match session.publish(&entry, &names, encode(&entry).as_bytes()).await {
            Ok(row) => row,
            Err(Failure::Lost(_) | Failure::Late) => return Sent::Unknown,
            Err(_) => return Sent::Not(entry),
        };
        let positions = news::positions(&row);
        for (place, position) in entry.places.iter_mut().zip(positions) {
            place.position = Some(position);
        }
        let entry = Arc::new(entry);
        session.tell();
        if session.came(row.get("id")) {
            self.bring(&session, |flow| {
                (0..entry.places.len()).for_each(|place| flow.entry(Copy::of(entry.clone(), place)));
            });
        }
        Sent::Counted(entry)
    }

    pub(super) async fn others(&self) -> Result<Vec<Node>, Down> {
        let session = self.session().ok_or(Down)?;
        let rows = session.others().await.map_err(|_| Down)?;
        Ok(rows.iter().map(|row| Node(unsigned(row.get("id")))).collect())
    }

    fn session(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone()
    }
}

/// The name of a stream in the tables.
fn name(stream: &str) -> Vec<u8> {
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
