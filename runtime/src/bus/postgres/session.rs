//! Two connections to the server, and what is done on them for as long as both live.

use std::{
    collections::HashSet,
    convert::Infallible,
    error::Error,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::TryStreamExt;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{interval, sleep, timeout},
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, NoTls, Row, Socket, Statement,
    error::{Severity, SqlState},
    tls::NoTlsStream,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use super::{
    Postgres, cleaner,
    link::{Link, lock},
    news::{self, Snapshot},
    statements::Statements,
};
use crate::hub::{self, Entry, History, Node, Position, epoch};

pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How long a statement may take; the server itself gives up a little earlier, and says so.
const LIMIT: Duration = Duration::from_secs(3);
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

/// What the statements rely on, whatever the database or the role says. The tables fill and empty too quickly for
/// statistics, so that only the indexes are right for them.
const SETTINGS: &str = "
    set statement_timeout = '2500ms';
    set lock_timeout = 0;
    set enable_seqscan = off;
    set jit = off;
    set plan_cache_mode = force_generic_plan;
    set default_transaction_isolation = 'read committed';
";

/// Why a statement was not answered with rows.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server says that it did not run.
    Refused(tokio_postgres::Error),
    /// Nobody was asked: the connections had ended.
    Closed,
    /// The connection ended before the answer.
    Lost(tokio_postgres::Error),
    /// No answer came in time.
    Late,
    /// The server is a replica.
    ReadOnly,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Without its details, which may have values of rows.
            Self::Refused(error) | Self::Lost(error) => match (error.as_db_error(), error.source()) {
                (Some(said), _) if *said.code() == SqlState::INSUFFICIENT_PRIVILEGE => {
                    write!(f, "{} (`catamaran::Postgres` says which rights it needs)", said.message())
                }
                (Some(said), _) => write!(f, "{} ({})", said.message(), said.code().code()),
                (None, Some(source)) => write!(f, "{error}: {source}"),
                (None, None) => write!(f, "{error}"),
            },
            Self::Closed => f.write_str("it is closed"),
            Self::ReadOnly => f.write_str("the server is a read-only replica"),
            Self::Late => f.write_str("the server does not answer"),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        // After what is fatal the connection ends, and what else was on its way may have run.
        match error.as_db_error() {
            Some(said) if said.parsed_severity() == Some(Severity::Error) => Self::Refused(error),
            _ => Self::Lost(error),
        }
    }
}

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

/// A parameter that the library does not write into the log: at the level `debug` it does so with all.
struct Unlogged<'a>(&'a (dyn ToSql + Sync));

impl fmt::Debug for Unlogged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl ToSql for Unlogged<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql_checked(of, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A connection; it says nothing else of itself.
struct Connected(Client);

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Session {
    pub(super) async fn open(config: &Config, node: Node) -> Result<Opened, Failure> {
        timeout(OPEN_LIMIT, Self::open_in_time(config, node)).await.unwrap_or(Err(Failure::Late))
    }

    async fn open_in_time(config: &Config, node: Node) -> Result<Opened, Failure> {
        let woken = Arc::new(Notify::new());
        let mut connections = JoinSet::new();
        let (write, connection) = config.connect(NoTls).await?;
        connections.spawn(drive(connection, Arc::default()));
        let (read, connection) = config.connect(NoTls).await?;
        connections.spawn(drive(connection, woken.clone()));
        enter(&write, node).await?;
        read.batch_execute(&format!("{SETTINGS} listen catamaran")).await?;
        let seen = read.query_one("select pg_current_snapshot()::text", &[]).await?;
        let seen = Snapshot::parse(seen.get(0)).ok_or(Failure::Late)?;
        let session = Self {
            node,
            statements: Statements::prepare(&write, &read).await?,
            write: Connected(write),
            read: Connected(read),
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
        let (epoch, offset) = known.map(|known| (known.epoch.to_string(), known.offset.cast_signed())).unzip();
        let (node, fresh) = (self.node(), hub::epoch());
        let parameters: Parameters<'_> = &[&node, &name, &epoch, &offset, &turn, &&*fresh];
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
        let answer = self.try_to_ask(connected, statement, parameters).await;
        answer.inspect_err(|failure| {
            lock(&self.failed).get_or_insert_with(|| failure.to_string());
            self.ended.notify_one();
        })
    }

    async fn try_to_ask(
        &self,
        Connected(client): &Connected,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Failure> {
        if client.is_closed() {
            return Err(Failure::Closed);
        }
        let rows = async {
            let rows = client.query_raw(statement, parameters.iter().copied().map(Unlogged)).await?;
            rows.try_collect().await
        };
        timeout(LIMIT, rows).await.map_or(Err(Failure::Late), |answer| answer.map_err(Failure::from))
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
            match self.try_to_ask(&self.read, &self.statements.notify, &[]).await {
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

/// Makes the tables if they are missing, and enters the node in them.
async fn enter(client: &Client, node: Node) -> Result<(), Failure> {
    if client.query_one("select pg_is_in_recovery()", &[]).await?.get(0) {
        return Err(Failure::ReadOnly);
    }
    client.batch_execute(SETTINGS).await?;
    client.batch_execute("set statement_timeout = '10s'").await?;
    let made = "select to_regprocedure('catamaran.enter(bigint)') is not null";
    if !client.query_one(made, &[]).await?.get::<_, bool>(0) {
        // Nodes that start together make them one after the other.
        client.batch_execute(&format!("select pg_advisory_xact_lock(1667331169, 0); {}", Postgres::SCHEMA)).await?;
    }
    client.execute("select catamaran.enter($1)", &[&node.0.cast_signed()]).await?;
    client.batch_execute(SETTINGS).await?;
    Ok(())
}

/// Moves what a connection sends and receives, and wakes whoever waits for notifications, until it ends.
async fn drive(mut connection: Connection<Socket, NoTlsStream>, woken: Arc<Notify>) -> Failure {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(_))) => woken.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Failure::Lost(error),
            None => return Failure::Closed,
        }
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
