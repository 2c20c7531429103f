//! Changes that outlive the server that made them: they are written with the records, and told from there.

mod image;
mod postgres;
mod relay;
#[cfg(test)]
mod tests;
mod triggers;

use std::sync::Arc;

use catamaran::{__resources::except, Socket};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement,
    sea_query::{Alias, Query},
};
use tokio::sync::Notify;

pub use self::relay::Relay;
use crate::{
    Meta, Resources,
    engine::{Change, begin},
    messages,
};

const TABLE: &str = "catamaran_outbox";
/// The lock of whoever makes the table, or tells what is in it: `catamara`, as a number.
const LOCK: i64 = 0x6361_7461_6d61_7261;

/// How many changes one statement writes down: a statement of SQLite has 32,766 parameters at most.
const ROWS: usize = 1_000;

/// For how many milliseconds whoever has that lock may be silent.
const FROZEN: u32 = 10_000;

/// Where a write leaves what it changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    /// Tells the relay that something was written.
    pub(crate) written: Arc<Notify>,
    /// The database writes it down by itself.
    by_triggers: bool,
}

/// Makes the table, unless it is there.
///
/// Without triggers: where there are some, each write would be told twice.
pub(crate) async fn make(resources: &Resources) -> Result<Outbox, DbErr> {
    let transaction = begin_making(resources).await?;
    if let [table, ..] = &*triggers::there(&transaction).await? {
        return Err(DbErr::Custom(format!(
            "the table `{table}` has triggers of `Resources::triggers`; without that, drop them: see its documentation"
        )));
    }
    transaction.commit().await?;
    Ok(Outbox::default())
}

/// Makes the table, and the triggers that write into it.
pub(crate) async fn make_with_triggers(resources: &Resources, watched: &[&'static Meta]) -> Result<Outbox, DbErr> {
    triggers::names_differ(watched)?;
    let transaction = begin_making(resources).await?;
    triggers::make(&transaction, watched).await?;
    transaction.commit().await?;
    Ok(Outbox { by_triggers: true, ..Outbox::default() })
}

async fn begin_making(resources: &Resources) -> Result<DatabaseTransaction, DbErr> {
    let transaction = begin(resources).await?;
    lock(&transaction).await?;
    let backend = transaction.get_database_backend();
    // PostgreSQL does not let everybody make a table that is there.
    let there = Statement::from_string(backend, format!("select 1 where to_regclass('{TABLE}') is not null"));
    if backend == DbBackend::Postgres && transaction.query_one_raw(there).await?.is_some() {
        return Ok(transaction);
    }
    let (key, text, random) = match backend {
        DbBackend::Postgres => ("bigserial primary key", "text", "(random() * 9e18)::bigint"),
        DbBackend::MySql => ("bigint primary key auto_increment", "longtext", "(floor(rand() * 9e18))"),
        _ => ("integer primary key autoincrement", "text", "(random())"),
    };
    // The nonce tells a row from that with its number in a table that was here before.
    let table = format!(
        "create table if not exists {TABLE} (
            seq {key}, nonce bigint not null default {random},
            resource {text}, changed_table {text}, message {text} not null, leaves_out {text}
        )"
    );
    transaction.execute_unprepared(&table).await?;
    Ok(transaction)
}

/// Two servers would make the table at once, and tell the changes of one record in any order. The database ends the lock with
/// the transaction, or with the server: also with one that stands still, or is out of reach.
async fn lock(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    match transaction.get_database_backend() {
        DbBackend::Postgres => {
            let lock = format!(
                "set local idle_in_transaction_session_timeout = {FROZEN}; select pg_advisory_xact_lock({LOCK})"
            );
            transaction.execute_unprepared(&lock).await.map(drop)
        }
        _ => Ok(()),
    }
}

impl Outbox {
    /// Before a write, whose socket hears nothing of it.
    pub(crate) async fn begin(&self, transaction: &DatabaseTransaction, except: Option<&Socket>) -> Result<(), DbErr> {
        match except.and_then(text) {
            Some(except) if self.by_triggers => triggers::leave_out(transaction, except).await,
            _ => Ok(()),
        }
    }

    /// After a write, in the transaction that makes it: since the records are locked by then, the numbers of what happened to
    /// one record are in the order of the commits.
    pub(crate) async fn end(
        &self,
        transaction: &DatabaseTransaction,
        changes: &[Change],
        except: Option<&Socket>,
    ) -> Result<(), DbErr> {
        if self.by_triggers {
            return triggers::leave_out_nobody(transaction).await;
        }
        let except = except.and_then(text);
        for changes in changes.chunks(ROWS) {
            let mut insert = Query::insert();
            insert.into_table(Alias::new(TABLE)).columns(["resource", "message", "leaves_out"].map(Alias::new));
            for change in changes {
                let message = messages::write(change).get().to_owned();
                insert.values_panic([change.meta.identity().into(), message.into(), except.clone().into()]);
            }
            transaction.execute(&insert).await?;
        }
        Ok(())
    }
}

/// A socket as it stands in the table.
fn text(socket: &Socket) -> Option<String> {
    serde_json::to_string(&except(socket)).ok()
}
