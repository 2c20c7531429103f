//! A connection: how it is made, what it is asked, and why it may not answer.

use std::{error::Error, fmt, future::poll_fn, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures_util::TryStreamExt;
use tokio::{sync::Notify, task::JoinSet, time::timeout};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, NoTls, Row, Socket, Statement,
    error::{Severity, SqlState},
    tls::NoTlsStream,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use super::{Postgres, news::Snapshot};
use crate::Node;

pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How long it may take to connect, and a statement; the server itself gives up a little earlier, and says so.
const LIMIT: Duration = Duration::from_secs(3);
/// The version of the tables and functions that this server uses.
const VERSION: i32 = 3;

/// What the statements rely on, whatever the database or the role says. The tables fill and empty too quickly for
/// statistics, so that only the indexes are right for them. The search path holds for the functions of the schema, too: nobody
/// who may make functions elsewhere can have one of theirs run by this role. The server ends the connections of a machine that
/// is gone after half a minute.
const SETTINGS: &str = "
    set search_path = pg_catalog, pg_temp;
    set statement_timeout = '2500ms';
    set tcp_keepalives_idle = 10;
    set tcp_keepalives_interval = 5;
    set tcp_keepalives_count = 3;
    set tcp_user_timeout = 30000;
    set lock_timeout = 0;
    set enable_seqscan = off;
    set jit = off;
    set plan_cache_mode = force_generic_plan;
    set default_transaction_isolation = 'read committed';";

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
    /// Two connections reached two servers.
    Divided,
    /// This node was silent for so long that others may have taken it for gone, or has not looked for news for as long.
    Silent,
    /// The tables are of a later version.
    Newer(i32),
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
            Self::Divided => f.write_str("two connections to it reached two servers"),
            Self::Silent => f.write_str("this server was silent for too long"),
            Self::Newer(version) => write!(f, "the tables have version {version}, and this server knows {VERSION}"),
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
pub(super) struct Connected(Client);

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Connected {
    /// Connects. The connection ends with its driver.
    pub(super) async fn to(
        config: &Config,
        drivers: &mut JoinSet<Failure>,
        wakes: Option<Wakes>,
    ) -> Result<Self, Failure> {
        let (client, connection) = timeout(LIMIT, config.connect(NoTls)).await.map_err(|_| Failure::Late)??;
        drivers.spawn(drive(connection, wakes));
        Ok(Self(client))
    }

    /// Makes the tables if they are missing or old, and enters the node in them. Gives when that was by the server's clock, in
    /// seconds, and the id of the process that serves this connection.
    pub(super) async fn enter(&self, node: Node) -> Result<(f64, i32), Failure> {
        let Self(client) = self;
        if client.query_one("select pg_is_in_recovery()", &[]).await?.get(0) {
            return Err(Failure::ReadOnly);
        }
        client.batch_execute(&format!("{SETTINGS} set statement_timeout = '10s'")).await?;
        match self.version().await? {
            VERSION => {}
            newer if newer > VERSION => return Err(Failure::Newer(newer)),
            // Nodes that start together make them one after the other.
            _ => {
                let made = format!("select pg_advisory_xact_lock(1667331169, 0); {}", Postgres::SCHEMA);
                client.batch_execute(&made).await?;
            }
        }
        let sql = "select catamaran.enter($1, $2), pg_backend_pid()";
        let row = client.query_one(sql, &[&node.0.cast_signed(), &VERSION]).await?;
        client.batch_execute(SETTINGS).await?;
        Ok((row.get(0), row.get(1)))
    }

    /// The version of the tables; 0 before there was any, or without tables.
    async fn version(&self) -> Result<i32, Failure> {
        let Self(client) = self;
        let known = "select to_regprocedure('catamaran.version()') is not null";
        if !client.query_one(known, &[]).await?.get::<_, bool>(0) {
            return Ok(0);
        }
        Ok(client.query_one("select catamaran.version()", &[]).await?.get(0))
    }

    /// Listens to notifications in the tables that a node has entered: everything after this snapshot is new.
    pub(super) async fn listen(&self) -> Result<Snapshot, Failure> {
        let Self(client) = self;
        client.batch_execute(&format!("{SETTINGS} listen catamaran")).await?;
        let sql = "select pg_current_snapshot()::text as seen, extract(epoch from clock_timestamp())::float8 as at,
            started = pg_postmaster_start_time() as same from catamaran.server";
        let row = client.query_one(sql, &[]).await?;
        Snapshot::of(&row).filter(|_| row.get("same")).ok_or(Failure::Divided)
    }

    /// Prepares for cleaning, which gives up earlier than a publish that waits for it.
    pub(super) async fn settle_to_clean(&self) -> Result<(), Failure> {
        let Self(client) = self;
        Ok(client.batch_execute(&format!("{SETTINGS} set statement_timeout = '1500ms'")).await?)
    }

    pub(super) async fn prepare(&self, sql: &str) -> Result<Statement, Failure> {
        Ok(self.0.prepare(sql).await?)
    }

    pub(super) async fn ask(&self, statement: &Statement, parameters: Parameters<'_>) -> Result<Vec<Row>, Failure> {
        let Self(client) = self;
        if client.is_closed() {
            return Err(Failure::Closed);
        }
        let rows = async {
            let rows = client.query_raw(statement, parameters.iter().copied().map(Unlogged)).await?;
            rows.try_collect().await
        };
        timeout(LIMIT, rows).await.map_or(Err(Failure::Late), |answer| answer.map_err(Failure::from))
    }
}

/// Who is woken by notifications, and by whose not.
#[derive(Debug)]
pub(super) struct Wakes {
    pub(super) woken: Arc<Notify>,
    /// The process of the server that publishes for this node: what it counts comes with its answer.
    pub(super) own: i32,
}

/// Moves what a connection sends and receives, and wakes whoever waits for notifications, until it ends.
async fn drive(mut connection: Connection<Socket, NoTlsStream>, wakes: Option<Wakes>) -> Failure {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(from))) => {
                if let Some(Wakes { woken, .. }) = wakes.as_ref().filter(|wakes| from.process_id() != wakes.own) {
                    woken.notify_one();
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Failure::Lost(error),
            None => return Failure::Closed,
        }
    }
}
