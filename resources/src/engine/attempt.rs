//! A transaction with the locks of its process.

use sea_orm::{DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use tokio::sync::OwnedMutexGuard;

use super::{Change, stripes::Held, write::Changes};
use crate::{Error, Meta, Resources};

/// A transaction under way.
pub(crate) struct Attempt {
    pub(crate) transaction: DatabaseTransaction,
    pub(super) held: Held,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Attempt {
    pub(super) async fn begin(resources: &Resources, held: Held) -> Result<Self, Error> {
        let turn = resources.turn().await;
        // A transaction of SQLite that reads first may find at its first write that it is too late.
        let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() };
        let transaction = resources.db.begin_with_options(options).await?;
        Ok(Self { transaction, held, _turn: turn })
    }

    /// Begins while nobody else in this process writes: what runs only once can be in nobody's way.
    pub(crate) async fn alone(resources: &Resources) -> Result<Self, Error> {
        Self::begin(resources, resources.stripes.hold_all().await).await
    }

    /// Commits changes whose records are all held.
    pub(crate) async fn commit(self, meta: &Meta, list: Vec<Change>) -> Result<Changes, (Held, Error)> {
        match self.transaction.commit().await {
            Ok(()) => Ok(Changes::new(list, self.held)),
            Err(error) => Err((self.held, Error::written(meta, error))),
        }
    }

    pub(crate) async fn rollback(self) -> Result<Held, Error> {
        self.transaction.rollback().await?;
        Ok(self.held)
    }
}
