//! Two connections to the server, and what is done on them for as long as both live.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{interval, sleep, timeout},
};
use tokio_postgres::{Config, Row, Statement};

use super::{
    cleaner,
    connection::{Connected, Failure, Parameters},
    link::{Link, lock},
    news::{self, Snapshot},
    statements::Statements,
};
use crate::{Entry, History, Node, Position, epoch};

/// How long it may take to connect, and to make the tables or to empty them.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How many statements are on their way at once. What waits for its turn is not late.
const MAX_UNDER_WAY: usize = 128;
/// How often this node shows that it lives, which also shows that the server does; and how long others believe it.
const BEAT: Duration = Duration::from_secs(1);
const BELIEVED: Duration = Duration::from_secs(5);
/// How often news are looked for although no notification came.
const POLL: Duration = Duration::from_millis(500);
/// How often other nodes are woken at most.
const TELL: Duration = Duration::from_millis(2);
/// What stands for a history without an age, in milliseconds: a hundred years.
const FOR_EVER: i64 = 100 * 365 * 24 * 3600 * 1000;

/// The connections, which end with this value, and what is done on them.
pub(super) struct Opened {
    pub(super) session: Arc<Session>,
    connections: JoinSet<Failure>,
    seen: Snapshot,
}

#[derive(Debug)]
pub(super) struct Session {
    node: Node,
    write: Connected,
    read: Connected,
    pub(super) statements: Statements,
    turns: Semaphore,
    /// Something may be new.
    woken: Arc<Notify>,
    /// Other nodes should look for news.
    telling: Notify,
    /// The entries of this node that came by one of two ways: the answer to their publish, or the news.
    came: Mutex<HashSet<i64>>,
    /// Why a statement failed, which ends the session.
    failed: Mutex<Option<String>>,
    ended: Notify,
}

impl Session {
    pub(super) async fn open(config: &Config, node: Node) -> Result<Opened, Failure> {
        timeout(OPEN_LIMIT, Self::open_in_time(config, node)).await.unwrap_or(Err(Failure::Late))
    }

    async fn open_in_time(config: &Config, node: Node) -> Result<Opened, Failure> {
        let (woken, nobody) = (Arc::new(Notify::new()), Arc::default());
        let mut connections = JoinSet::new();
        let write = Connected::to(config, &mut connections, &nobody).await?;
        write.enter(node).await?;
        let read = Connected::to(config, &mut connections, &woken).await?;
        let seen = read.listen().await?;
        let session = Self {
            node,
            statements: Statements::prepare(&write, &read).await?,
            write,
            read,
            turns: Semaphore::new(MAX_UNDER_WAY),
            woken,
            telling: Notify::new(),
            came: Mutex::default(),
            failed: Mutex::default(),
            ended: Notify::new(),
        };
        Ok(Opened { session: Arc::new(session), connections, seen })
    }

    /// Whoever waits for a turn has it no more.
    pub(super) fn close(&self) {
        self.turns.close();
    }

    /// Counts an entry on the streams with these names.
    pub(super) async fn publish(&self, entry: &Entry, names: &[Vec<u8>], body: &[u8]) -> Result<Row, Failure> {
        let kept = |part: fn(History) -> i64| -> Vec<_> {
            entry.places.iter().map(|place| place.target.history).map(part).collect()
        };
        let (entries, bytes, ages) = (kept(kept_entries), kept(kept_bytes), kept(kept_age));
        let (node, fresh) = (self.node(), epoch());
        let parameters: Parameters<'_> = &[&node, &names, &&*fresh, &body, &entries, &bytes, &ages];
        self.ask_in_turn(&self.write, &self.statements.publish, parameters).await?.pop().ok_or(Failure::Late)
    }

    pub(super) async fn attach(&self, name: &[u8], known: Option<Position>, turn: bool) -> Result<Row, Failure> {
        let (counted, offset) = known.map(|known| (known.epoch.to_string(), known.offset.cast_signed())).unzip();
        let (node, fresh) = (self.node(), epoch());
        let parameters: Parameters<'_> = &[&node, &name, &counted, &offset, &turn, &&*fresh];
        let row =
            self.ask_in_turn(&self.write, &self.statements.attach, parameters).await?.pop().ok_or(Failure::Late)?;
        if row.get("turned") {
            self.tell();
        }
        Ok(row)
    }

    /// The entries of a stream after a position.
    pub(super) async fn read(&self, name: &[u8], after: &Position) -> Result<Vec<Row>, Failure> {
        let parameters: Parameters<'_> = &[&name, &&*after.epoch, &after.offset.cast_signed()];
        self.ask_in_turn(&self.read, &self.statements.entries, parameters).await
    }

    /// What is new since a snapshot, without the events themselves.
    pub(super) async fn news(&self, since: &Snapshot) -> Result<Vec<Row>, Failure> {
        self.ask(&self.read, &self.statements.news, &[&since.next, &since.running]).await
    }

    pub(super) async fn bodies(&self, ids: &[i64]) -> Result<Vec<Row>, Failure> {
        self.ask(&self.read, &self.statements.bodies, &[&ids]).await
    }

    /// Whether this node is the one that cleans, from now on.
    pub(super) async fn leads(&self) -> Result<bool, Failure> {
        Ok(self.ask(&self.write, &self.statements.lead, &[]).await?.iter().any(|row| row.get(0)))
    }

    /// Runs one of the cleaner's statements.
    pub(super) async fn clean(&self, statement: &Statement, parameters: Parameters<'_>) -> Result<Vec<Row>, Failure> {
        self.ask(&self.write, statement, parameters).await
    }

    pub(super) async fn others(&self) -> Result<Vec<Row>, Failure> {
        let parameters: Parameters<'_> = &[&self.node(), &BELIEVED.as_secs_f64()];
        self.ask_in_turn(&self.read, &self.statements.others, parameters).await
    }

    /// As the tables have it.
    pub(super) fn node(&self) -> i64 {
        self.node.0.cast_signed()
    }

    /// Waits until something may be new.
    pub(super) async fn woken(&self) {
        // A notification that was lost is found by looking anyway.
        let _ = timeout(POLL, self.woken.notified()).await;
    }

    /// Other nodes should look for news.
    pub(super) fn tell(&self) {
        self.telling.notify_one();
    }

    /// An entry of this node came by one of its two ways; whether it did not by the other before.
    pub(super) fn came(&self, id: i64) -> bool {
        let mut came = lock(&self.came);
        !came.remove(&id) && came.insert(id)
    }

    async fn ask_in_turn(
        &self,
        client: &Connected,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let Ok(_turn) = self.turns.acquire().await else { return Err(Failure::Closed) };
        self.ask(client, statement, parameters).await
    }

    /// Runs a statement. A failure ends the session: whatever it was, the hub then begins anew with what is certain.
    async fn ask(
        &self,
        connected: &Connected,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let answer = connected.ask(statement, parameters).await;
        answer.inspect_err(|failure| {
            lock(&self.failed).get_or_insert_with(|| failure.to_string());
            self.ended.notify_one();
        })
    }

    /// Shows every second that this node lives.
    async fn beat(&self) -> Result<Infallible, Failure> {
        let mut beats = interval(BEAT);
        loop {
            beats.tick().await;
            self.ask(&self.write, &self.statements.beat, &[&self.node()]).await?;
        }
    }

    /// Wakes the other nodes when there is something new, a while after it did so last.
    async fn tell_others(&self) -> Result<Infallible, Failure> {
        loop {
            self.telling.notified().await;
            match self.read.ask(&self.statements.notify, &[]).await {
                // The queue of notifications may be full, by the fault of anybody who listens. News are looked for anyway.
                Ok(_) | Err(Failure::Refused(_)) => {}
                Err(failure) => return Err(failure),
            }
            sleep(TELL).await;
        }
    }
}

impl Opened {
    /// Does what is to be done until a connection ends, and says why it did.
    pub(super) async fn serve(&mut self, link: &Link) -> String {
        let session = &*self.session;
        let failure = tokio::select! {
            Some(Ok(failure)) = self.connections.join_next() => failure,
            Err(failure) = news::follow(session, link, &mut self.seen) => failure,
            Err(failure) = session.beat() => failure,
            Err(failure) = session.tell_others() => failure,
            Err(failure) = cleaner::clean(session) => failure,
            () = session.ended.notified() => Failure::Closed,
            else => Failure::Closed,
        };
        lock(&session.failed).take().unwrap_or_else(|| failure.to_string())
    }
}

fn kept_entries(history: History) -> i64 {
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
