//! Changes that outlive the server that made them: they are written with the records, and told from there.

use std::{sync::Arc, time::Duration};

use catamaran::{__resources::Except, Hub, Published, RequestSocket};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, TransactionTrait,
    sea_query::{Alias, Expr, ExprTrait, Order, Query},
};
use serde_json::value::RawValue;
use tokio::{sync::Notify, time::timeout};

use crate::{
    Resources,
    engine::{Change, begin, sql},
    messages,
};

const TABLE: &str = "catamaran_outbox";
/// The lock of whoever tells what is written: `catamara`, as a number.
const LOCK: i64 = 0x6361_7461_6d61_7261;
/// How long what another server has left may lie.
const POLL: Duration = Duration::from_secs(1);
/// How many changes are told in one transaction.
const BATCH: u64 = 100;

/// What tells the changes that stand in the outbox; nobody hears of any until it [runs](Self::run).
#[derive(Debug)]
#[must_use = "nobody hears of a change until the relay runs: `tokio::spawn(relay.run(app.hub()))`"]
pub struct Relay {
    pub(crate) resources: Resources,
    pub(crate) written: Arc<Notify>,
}

/// Makes the table, unless it is there.
pub(crate) async fn make(resources: &Resources) -> Result<(), DbErr> {
    let db = &resources.db;
    let (key, text) = match db.get_database_backend() {
        DbBackend::Postgres => ("bigserial primary key", "text"),
        DbBackend::MySql => ("bigint primary key auto_increment", "longtext"),
        _ => ("integer primary key autoincrement", "text"),
    };
    let transaction = db.begin().await?;
    lock(&transaction).await?;
    let table = format!(
        "create table if not exists {TABLE} (seq {key}, resource {text} not null, message {text} not null, leaves_out {text})"
    );
    transaction.execute_unprepared(&table).await?;
    transaction.commit().await
}

/// Two servers would make the table at once, and tell the changes of one record in any order. The database ends the lock with
/// the transaction, or with the server.
async fn lock(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    match transaction.get_database_backend() {
        DbBackend::Postgres => {
            transaction.execute_unprepared(&format!("select pg_advisory_xact_lock({LOCK})")).await.map(drop)
        }
        _ => Ok(()),
    }
}

/// Writes down changes in the transaction that makes them, after the records: so the numbers of what happened to one record
/// are in the order of the commits.
pub(crate) async fn write(
    transaction: &DatabaseTransaction,
    changes: &[Change],
    except: Option<&RequestSocket>,
) -> Result<(), DbErr> {
    if changes.is_empty() {
        return Ok(());
    }
    let except = except.and_then(|socket| serde_json::to_string(&Except::of(socket)).ok());
    let mut insert = Query::insert();
    insert.into_table(Alias::new(TABLE)).columns(["resource", "message", "leaves_out"].map(Alias::new));
    for change in changes {
        let message = messages::write(change).get().to_owned();
        insert.values_panic([change.meta.identity().into(), message.into(), except.clone().into()]);
    }
    transaction.execute(&insert).await.map(drop)
}

impl Relay {
    /// Tells what stands in the outbox and what comes, for as long as the server runs. One that died is relieved by the
    /// others, or by the next.
    ///
    /// While the database or the bus cannot be reached, what is written waits, in order.
    pub async fn run(self, hub: Hub) {
        loop {
            let told = if hub.is_alone() { Ok(0) } else { self.tell(&hub).await };
            match told {
                Ok(BATCH..) => {}
                Ok(_) => drop(timeout(POLL, self.written.notified()).await),
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read; what is in it waits");
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// Tells the oldest changes, and how many these were.
    ///
    /// They are removed when they have been told, so what is there was not: a server that dies in between tells some
    /// of them twice.
    async fn tell(&self, hub: &Hub) -> Result<u64, DbErr> {
        let _turn = self.resources.turn().await;
        let transaction = begin(&self.resources).await?;
        lock(&transaction).await?;
        let mut oldest = Query::select();
        oldest.columns(["seq", "resource", "message", "leaves_out"].map(Alias::new)).from(Alias::new(TABLE));
        oldest.order_by(Alias::new("seq"), Order::Asc).limit(BATCH);
        sql::lock(&mut oldest, self.resources.db.get_database_backend());
        let mut told = Vec::new();
        for row in transaction.query_all(&oldest).await? {
            let seq: i64 = row.try_get("", "seq")?;
            let (resource, message): (String, String) = (row.try_get("", "resource")?, row.try_get("", "message")?);
            let except: Option<String> = row.try_get("", "leaves_out")?;
            let except = except.and_then(|text| serde_json::from_str(&text).ok());
            if let Ok(message) = RawValue::from_string(message)
                && messages::publish(hub, &resource, message, except).await != Published::Delivered
            {
                break;
            }
            told.push(seq);
        }
        let count = told.len() as u64;
        if count == 0 {
            transaction.rollback().await?;
            return Ok(0);
        }
        let mut delete = Query::delete();
        delete.from_table(Alias::new(TABLE)).and_where(Expr::col(Alias::new("seq")).is_in(told));
        transaction.execute(&delete).await?;
        transaction.commit().await?;
        Ok(count)
    }
}
