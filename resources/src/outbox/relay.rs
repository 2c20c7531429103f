//! What tells the changes that stand in the outbox.

use std::time::Duration;

use catamaran::Hub;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, QueryResult, TransactionTrait,
    sea_query::{Alias, Condition, Expr, ExprTrait, LockType, Order, Query, SelectStatement},
};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};

use super::{
    TABLE,
    image::{self, Ended},
    lock, triggers,
};
use crate::{
    Meta, Resources,
    engine::{Change, begin},
    messages,
};

/// How long what another program has written, or a server that died has left, may lie.
const POLL: Duration = Duration::from_millis(100);
/// How long to wait after the database has failed.
const RETRY: Duration = Duration::from_secs(1);
/// How many rows are told in one transaction, and how long that may take.
const BATCH: u64 = 100;
const TURN: Duration = Duration::from_secs(1);

/// What tells the changes that stand in the outbox; nobody hears of any until it [runs](Self::run).
#[derive(Debug)]
#[must_use = "nobody hears of a change until the relay runs: `tokio::spawn(relay.run(app.hub()))`"]
pub struct Relay {
    resources: Resources,
    /// The resources whose tables have triggers.
    watched: Vec<&'static Meta>,
}

impl Relay {
    pub(crate) fn new(resources: Resources, watched: Vec<&'static Meta>) -> Self {
        Self { resources, watched }
    }

    /// Tells what stands in the outbox and what comes, for as long as the server runs. One that died is relieved by the
    /// others, or by the next.
    ///
    /// While the database or the bus cannot be reached, what is written waits, in order.
    pub async fn run(self, hub: Hub) {
        let Some(outbox) = &self.resources.outbox else { return };
        loop {
            let told = if hub.is_alone() { Ok(0) } else { self.tell(&hub).await };
            match told {
                Ok(BATCH..) => {}
                Ok(_) => drop(timeout(POLL, outbox.written.notified()).await),
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read; what is in it waits");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Tells the oldest rows, and how many these were.
    ///
    /// They are removed when they have been told. A server that dies in between leaves them to another, which tells them once
    /// more, by the same ids: so nobody hears them twice.
    async fn tell(&self, hub: &Hub) -> Result<u64, DbErr> {
        // Looking takes neither the lock nor, in SQLite, the turn of those who write.
        if self.resources.db.query_one(self.rows().column(Alias::new("seq")).limit(1)).await?.is_none() {
            return Ok(0);
        }
        let _turn = self.resources.turn().await;
        let transaction = begin(&self.resources).await?;
        lock(&transaction).await?;
        let mut oldest = self.rows();
        oldest.columns(["seq", "nonce", "resource", "changed_table", "message", "leaves_out"].map(Alias::new));
        oldest.order_by(Alias::new("seq"), Order::Asc).limit(BATCH);
        if transaction.get_database_backend() == DbBackend::MySql {
            oldest.lock(LockType::Update);
        }
        let (begun, mut told) = (Instant::now(), Vec::<i64>::new());
        let rows = transaction.query_all(&oldest).await?;
        let Some(first) = rows.first() else { return transaction.commit().await.map(|()| 0) };
        let mut ended = Ended::since(first.try_get("", "seq")?);
        for row in rows {
            if begun.elapsed() > TURN || !self.publish(hub, &transaction, &row, &mut ended).await? {
                break;
            }
            told.push(row.try_get("", "seq")?);
        }
        let count = told.len() as u64;
        let mut delete = Query::delete();
        delete.from_table(Alias::new(TABLE)).and_where(Expr::col(Alias::new("seq")).is_in(told));
        transaction.execute(&delete).await?;
        transaction.commit().await?;
        Ok(count)
    }

    /// The rows that this server can tell: those of tables that it does not know wait for one that does.
    fn rows(&self) -> SelectStatement {
        let table = || Expr::col(Alias::new("changed_table"));
        let known = triggers::tables(&self.watched).into_keys();
        let mut select = Query::select();
        select.from(Alias::new(TABLE));
        select.cond_where(Condition::any().add(table().is_null()).add(table().is_in(known)));
        select
    }

    /// False if it may not have reached the bus.
    async fn publish(
        &self,
        hub: &Hub,
        transaction: &DatabaseTransaction,
        row: &QueryResult,
        ended: &mut Ended,
    ) -> Result<bool, DbErr> {
        let nonce: i64 = row.try_get("", "nonce")?;
        let (resource, table): (Option<String>, Option<String>) =
            (row.try_get("", "resource")?, row.try_get("", "changed_table")?);
        let (message, except): (String, Option<String>) = (row.try_get("", "message")?, row.try_get("", "leaves_out")?);
        let except = except.and_then(|text| serde_json::from_str(&text).ok());
        let mut changes = Vec::new();
        if let Some(table) = table {
            for change in self.read(transaction, &table, &message, ended).await? {
                changes.push((change.number(), change.meta.identity().to_owned(), messages::write(&change)));
            }
        } else if let (Some(resource), Ok(change)) = (resource, RawValue::from_string(message)) {
            // The row has no other.
            changes.push((0, resource, change));
        }
        for (number, resource, change) in changes {
            let id = (nonce.cast_unsigned(), number);
            if !messages::publish_once(hub, id, &resource, change, except.clone()).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The changes of a row that triggers wrote. One that the database or the resource does not understand any more holds up
    /// nobody.
    async fn read(
        &self,
        transaction: &DatabaseTransaction,
        table: &str,
        images: &str,
        ended: &mut Ended,
    ) -> Result<Vec<Change>, DbErr> {
        let attempt = transaction.begin().await?;
        match image::changes(&attempt, &self.watched, table, images, ended).await {
            Ok(changes) => attempt.commit().await.map(|()| changes),
            Err(error) => {
                attempt.rollback().await?;
                error.passing()?;
                tracing::warn!(table, "a change could not be read, and nobody was told");
                Ok(Vec::new())
            }
        }
    }
}
