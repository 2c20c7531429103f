//! Two connections to the server, and what is done on them for as long as both live.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_postgres::{Config, Row, Statement};

use super::{
    batch::Counting,
    cleaner,
    connection::{Connected, Failure, Parameters, Wakes},
    link::{Link, lock},
    news::{self, Snapshot},
    statements::Statements,
};
use crate::{Node, Position, epoch};

/// How long it may take to connect, and to make the tables or to empty them.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How many statements are on their way at once. What waits for its turn is not late.
const MAX_UNDER_WAY: usize = 128;
/// How often this node shows that it lives, which also shows that the server does; and how long others believe it. A node that
/// was silent or deaf for longer has lost the broker, whatever its connections say: others count on its absence.
const BEAT: Duration = Duration::from_secs(1);
pub(super) const BELIEVED: Duration = Duration::from_secs(5);
/// How often news are looked for although no notification came.
const POLL: Duration = Duration::from_millis(500);

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
    /// The news were brought once more.
    brought: Notify,
    /// The entries of this node that came by one of two ways: the answer to their publish, or the news.
    came: Mutex<HashSet<Id>>,
    lease: Mutex<Lease>,
    /// The node says no more that it lives.
    leaving: AtomicBool,
    /// Why a statement failed, which ends the session.
    failed: Mutex<Option<String>>,
    ended: Notify,
}

/// An entry in the tables: its transaction, and its number there.
pub(super) type Id = (i64, i32);

/// Until when others believe that this node lives: by its own clock, and by that of the server.
#[derive(Debug)]
struct Lease {
    here: Instant,
    there: f64,
}

impl Lease {
    /// From a sign of life that was not sent before, and had this time on the server.
    fn of(sent: Instant, seen: f64) -> Self {
        Self { here: sent + BELIEVED, there: seen + BELIEVED.as_secs_f64() }
    }
}

impl Session {
    pub(super) async fn open(config: &Config, node: Node) -> Result<Opened, Failure> {
        timeout(OPEN_LIMIT, Self::open_in_time(config, node)).await.unwrap_or(Err(Failure::Late))
    }

    async fn open_in_time(config: &Config, node: Node) -> Result<Opened, Failure> {
        let woken = Arc::new(Notify::new());
        let mut connections = JoinSet::new();
        let write = Connected::to(config, &mut connections, None).await?;
        let entered = Instant::now();
        let (seen_at, own) = write.enter(node).await?;
        let read = Connected::to(config, &mut connections, Some(Wakes { woken: woken.clone(), own })).await?;
        let seen = read.listen().await?;
        let session = Self {
            node,
            statements: Statements::prepare(&write, &read).await?,
            write,
            read,
            turns: Semaphore::new(MAX_UNDER_WAY),
            woken,
            brought: Notify::new(),
            came: Mutex::default(),
            lease: Mutex::new(Lease::of(entered, seen_at)),
            leaving: AtomicBool::new(false),
            failed: Mutex::default(),
            ended: Notify::new(),
        };
        Ok(Opened { session: Arc::new(session), connections, seen })
    }

    /// Whoever waits for a turn has it no more.
    pub(super) fn close(&self) {
        self.turns.close();
    }

    /// Counts entries on their streams.
    pub(super) async fn publish(&self, entries: &Counting) -> Result<Row, Failure> {
        let (node, fresh) = (self.node(), epoch());
        let Counting { names, events, bytes, ages, bodies, counts, destinations } = entries;
        let parameters: Parameters<'_> = &[&node, &&*fresh, names, events, bytes, ages, bodies, counts, destinations];
        self.ask(&self.write, &self.statements.publish, parameters).await?.pop().ok_or(Failure::Late)
    }

    pub(super) async fn attach(&self, name: &[u8], known: Option<Position>, turn: bool) -> Result<Row, Failure> {
        let (counted, offset) = known.map(|known| (known.epoch.to_string(), known.offset.cast_signed())).unzip();
        let (node, fresh) = (self.node(), epoch());
        let parameters: Parameters<'_> = &[&node, &name, &counted, &offset, &turn, &&*fresh];
        self.ask_in_turn(&self.write, &self.statements.attach, parameters).await?.pop().ok_or(Failure::Late)
    }

    /// The entries of a stream after a position.
    pub(super) async fn read(&self, name: &[u8], after: &Position) -> Result<Vec<Row>, Failure> {
        let parameters: Parameters<'_> = &[&name, &&*after.epoch, &after.offset.cast_signed()];
        self.ask_in_turn(&self.read, &self.statements.entries, parameters).await
    }

    /// What is new since a snapshot, with the bodies of other nodes' events of so many bytes.
    pub(super) async fn news(&self, since: &Snapshot, small: i32) -> Result<Vec<Row>, Failure> {
        let parameters: Parameters<'_> = &[&since.next, &since.running, &small, &self.node()];
        self.ask(&self.read, &self.statements.news, parameters).await
    }

    pub(super) async fn bodies(&self, of: &[Id]) -> Result<Vec<Row>, Failure> {
        let (ids, numbers): (Vec<i64>, Vec<i32>) = of.iter().copied().unzip();
        self.ask(&self.read, &self.statements.bodies, &[&ids, &numbers]).await
    }

    /// Whether this node is the one that cleans, for so long, and up to where that was done. A failure is not the session's.
    pub(super) async fn leads(&self, cleaned: i64, lease: Duration) -> Result<Option<i64>, Failure> {
        let parameters: Parameters<'_> = &[&self.node(), &cleaned, &lease.as_secs_f64()];
        let rows = self.write.ask(&self.statements.lead, parameters).await?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }

    pub(super) async fn others(&self) -> Result<Vec<Row>, Failure> {
        let parameters: Parameters<'_> = &[&self.node(), &BELIEVED.as_secs_f64()];
        self.ask_in_turn(&self.read, &self.statements.others, parameters).await
    }

    /// Asks for records.
    pub(super) async fn ask_records(
        &self,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Failure> {
        self.ask_in_turn(&self.write, statement, parameters).await
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

    /// The news were brought.
    pub(super) fn has_brought(&self) {
        self.brought.notify_waiters();
    }

    /// An entry of this node came by one of its two ways; whether it did not by the other before.
    pub(super) fn came(&self, id: Id) -> bool {
        let mut came = lock(&self.came);
        !came.remove(&id) && came.insert(id)
    }

    /// Whether others believe that this node lives. If not, what came may not be delivered: the session ends, and whom others
    /// have closed meanwhile is asked first.
    pub(super) fn is_believed(&self) -> bool {
        let believed = Instant::now() < lock(&self.lease).here;
        if !believed {
            self.fail(&Failure::Silent);
        }
        believed
    }

    /// Whether others believed that this node lives at a time of the server.
    pub(super) fn was_believed(&self, at: f64) -> bool {
        at < lock(&self.lease).there
    }

    /// Leaves the others, once what they asked before is answered.
    pub(super) async fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        if self.ask(&self.write, &self.statements.leave, &[&self.node()]).await.is_err() {
            return;
        }
        // Who asked later does not count on this node. The second time begins after that.
        for _ in 0..2 {
            let brought = self.brought.notified();
            self.woken.notify_one();
            brought.await;
        }
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
        let answer = connected.ask(statement, parameters).await.inspect_err(|failure| self.fail(failure))?;
        if self.is_believed() { Ok(answer) } else { Err(Failure::Silent) }
    }

    fn fail(&self, failure: &Failure) {
        lock(&self.failed).get_or_insert_with(|| failure.to_string());
        self.ended.notify_one();
    }

    /// Shows every second that this node lives.
    async fn beat(&self) -> Result<Infallible, Failure> {
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            if self.leaving.load(Ordering::SeqCst) {
                continue;
            }
            let sent = Instant::now();
            let parameters: Parameters<'_> = &[&self.node(), &BELIEVED.as_secs_f64()];
            let rows = self.write.ask(&self.statements.beat, parameters).await?;
            match rows.first().and_then(|row| row.get::<_, Option<f64>>(0)) {
                Some(seen) => *lock(&self.lease) = Lease::of(sent, seen),
                // It left while it was asked.
                None if self.leaving.load(Ordering::SeqCst) => {}
                None => return Err(Failure::Silent),
            }
        }
    }
}

impl Opened {
    /// Does what is to be done until a connection ends, and says why it did.
    pub(super) async fn serve(&mut self, link: &Link, config: &Config) -> String {
        let session = &*self.session;
        let failure = tokio::select! {
            Some(Ok(failure)) = self.connections.join_next() => failure,
            Err(failure) = news::follow(session, link, &mut self.seen) => failure,
            Err(failure) = session.beat() => failure,
            never = cleaner::clean(session, config) => match never {},
            () = session.ended.notified() => Failure::Closed,
            else => Failure::Closed,
        };
        lock(&session.failed).take().unwrap_or_else(|| failure.to_string())
    }
}
