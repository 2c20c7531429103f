//! A transaction with the locks of its process.

use catamaran::Socket;
use sea_orm::{DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use tokio::sync::OwnedMutexGuard;

use super::{Change, stripes::Held, write::Changes};
use crate::{Error, Meta, Resources};

/// A transaction under way.
pub(crate) struct Attempt {
    pub(crate) transaction: DatabaseTransaction,
    pub(super) held: Held,
    resources: Resources,
    except: Option<Socket>,
    _turn: Option<OwnedMutexGuard<()>>,
}

/// What a transaction needs before it begins. The database knows nothing of it yet, so whoever waits for this may give up.
pub(crate) struct Ready {
    held: Held,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Ready {
    /// Waits for the turn to write, with what is held.
    pub(super) async fn with(resources: &Resources, held: Held) -> Self {
        Self { held, turn: resources.turn().await }
    }

    /// Waits until nobody else in this process writes: what runs only once can be in nobody's way.
    pub(crate) async fn alone(resources: &Resources) -> Self {
        Self::with(resources, resources.stripes.hold_all().await).await
    }
}

/// Begins a transaction that will write.
///
/// It must not be dropped before it is done: PostgreSQL's driver would give a connection back that is inside a transaction.
pub(crate) async fn begin(resources: &Resources) -> Result<DatabaseTransaction, DbErr> {
    // A transaction of SQLite that reads first may find at its first write that it is too late.
    let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
    let options = TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() };
    resources.db.begin_with_options(options).await
}

impl Attempt {
    /// Begins a transaction, and must not be dropped before it has. The socket by which the request came hears nothing of it.
    pub(crate) async fn begin(
        resources: &Resources,
        Ready { held, turn }: Ready,
        except: Option<&Socket>,
    ) -> Result<Self, Error> {
        let transaction = begin(resources).await?;
        if let Some(outbox) = &resources.outbox {
            outbox.begin(&transaction, except).await?;
        }
        Ok(Self { transaction, held, resources: resources.clone(), except: except.cloned(), _turn: turn })
    }

    /// Commits changes whose records are all held.
    pub(crate) async fn commit(self, meta: &'static Meta, list: Vec<Change>) -> Result<Changes, (Held, Error)> {
        let written = match &self.resources.outbox {
            Some(outbox) => outbox.end(&self.transaction, &list, self.except.as_ref()).await,
            None => Ok(()),
        };
        // The outbox takes whatever a resource takes, so its error is no fault of the request.
        let committed = match written {
            Ok(()) => self.transaction.commit().await.map_err(|error| Error::written(meta, error)),
            Err(error) => Err(self.transaction.rollback().await.err().unwrap_or(error).into()),
        };
        match committed {
            Ok(()) => Ok(Changes::new(list, self.held)),
            Err(error) => Err((self.held, error)),
        }
    }

    pub(crate) async fn rollback(self) -> Result<Held, Error> {
        self.transaction.rollback().await?;
        Ok(self.held)
    }
}
