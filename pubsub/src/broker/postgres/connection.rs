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

/// What the statements rely on, whatever the database or the role says. The tables fill and empty too quickly for
/// statistics, so that only the indexes are right for them. The search path holds for the functions of the schema, too: nobody
/// who may make functions elsewhere can have one of theirs run by this role.
const SETTINGS: &str = "
    set search_path = pg_catalog, pg_temp;
    set statement_timeout = '2500ms';
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
    /// Connects; whoever waits for notifications is woken by each. The connection ends with its driver.
    pub(super) async fn to(
        config: &Config,
        drivers: &mut JoinSet<Failure>,
        woken: &Arc<Notify>,
    ) -> Result<Self, Failure> {
        let (client, connection) = timeout(LIMIT, config.connect(NoTls)).await.map_err(|_| Failure::Late)??;
        drivers.spawn(drive(connection, woken.clone()));
        Ok(Self(client))
    }

    /// Makes the tables if they are missing, and enters the node in them.
    pub(super) async fn enter(&self, node: Node) -> Result<(), Failure> {
        let Self(client) = self;
        if client.query_one("select pg_is_in_recovery()", &[]).await?.get(0) {
            return Err(Failure::ReadOnly);
        }
        client.batch_execute(&format!("{SETTINGS} set statement_timeout = '10s'")).await?;
        let made = "select to_regprocedure('catamaran.enter(bigint)') is not null";
        if !client.query_one(made, &[]).await?.get::<_, bool>(0) {
            // Nodes that start together make them one after the other.
            client.batch_execute(&format!("select pg_advisory_xact_lock(1667331169, 0); {}", Postgres::SCHEMA)).await?;
        }
        client.execute("select catamaran.enter($1)", &[&node.0.cast_signed()]).await?;
        client.batch_execute(SETTINGS).await?;
        Ok(())
    }

    /// Listens to notifications in the tables that a node has entered: everything after this snapshot is new.
    pub(super) async fn listen(&self) -> Result<Snapshot, Failure> {
        let Self(client) = self;
        client.batch_execute(&format!("{SETTINGS} listen catamaran")).await?;
        let sql = "select pg_current_snapshot()::text, started = pg_postmaster_start_time() from catamaran.server";
        let row = client.query_one(sql, &[]).await?;
        Snapshot::parse(row.get(0)).filter(|_| row.get(1)).ok_or(Failure::Divided)
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
