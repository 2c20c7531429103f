//! What an application keeps for its resources: a database, and how they behave.

use std::sync::Arc;
#[cfg(feature = "sqlite")]
use std::time::Duration;

use axum::extract::FromRef;
use catamaran::{__resources::except, Hub, Socket};
#[cfg(feature = "sqlite")]
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend, DbErr, SchemaBuilder};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::yield_now,
};

use crate::{
    Limits, Meta, Relay,
    engine::{Changes as Committed, Queue, Stripes},
    messages::{self, Changes},
    outbox::{self, Outbox},
};

/// The connections of a file of SQLite: one that writes, since there is one writer at a time, and some that read.
#[cfg(feature = "sqlite")]
const FILE_CONNECTIONS: u32 = 5;

/// How many changes of one write are sent before sockets get the time to pass them on: a socket that cannot is disconnected.
const BURST: usize = 64;

/// The state of resources: a cheap handle to the database and to what orders the writes.
///
/// It is the whole state of the smallest program; an application with a state of its own implements
/// [`FromRef`](axum::extract::FromRef) for it.
///
/// ```no_run
/// use catamaran::prelude::*;
/// use catamaran_resources::Resources;
/// # mod pet {
/// #     use sea_orm::entity::prelude::*;
/// #     #[catamaran_resources::resource(path = "/pet", policy = catamaran_resources::Public)]
/// #     #[sea_orm::model]
/// #     #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
/// #     #[sea_orm(table_name = "pet")]
/// #     pub struct Model {
/// #         #[sea_orm(primary_key)]
/// #         pub id: i64,
/// #         pub name: String,
/// #     }
/// #     impl ActiveModelBehavior for ActiveModel {}
/// # }
///
/// #[tokio::main]
/// async fn main() -> catamaran::Result {
///     let resources = Resources::open("sqlite://app.db").await?;
///     resources.sync(|schema| schema.register(pet::Entity)).await?;
///     App::new(resources).mount(routes![pet]).serve("127.0.0.1:1337").await?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Resources {
    pub(crate) db: DatabaseConnection,
    pub(crate) compat: Compat,
    pub(crate) limits: Limits,
    /// The writes that wait or are under way.
    pub(crate) queue: Arc<Queue>,
    pub(crate) stripes: Arc<Stripes>,
    /// The newest changes, as sockets are told of them.
    pub(crate) changes: Arc<Changes>,
    /// Where changes are written down, if they are.
    pub(crate) outbox: Option<Outbox>,
    /// Whose turn it is to write, where there is one writer at a time.
    turn: Option<Arc<Mutex<()>>>,
}

/// Whose answers the resources give where they differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compat {
    /// Associations are populated where that is asked for, and members are written where the model says
    /// `#[field(writable)]`. Refused are unknown fields of a body, members that are not there, and `select` beside `omit`.
    #[default]
    Strict,
    /// As Sails 1: all associations are populated, and their members are written unless the model says otherwise. Unknown
    /// fields of a body are dropped, so are members that are not there, and `select` wins over `omit`.
    ///
    /// Policies and the rules of fields hold as ever.
    Sails,
}

impl Resources {
    /// Opens a database by its URL: `sqlite://app.db`, `sqlite::memory:`, `postgres://..`, `mysql://..`.
    ///
    /// A [`ConnectOptions`] in the place of the URL sets the size of the pool and its timeouts.
    ///
    /// ```no_run
    /// # use catamaran_resources::Resources;
    /// use sea_orm::ConnectOptions;
    ///
    /// # async fn open() -> Result<Resources, sea_orm::DbErr> {
    /// let mut options = ConnectOptions::new("sqlite://app.db");
    /// options.max_connections(9).acquire_timeout(std::time::Duration::from_secs(2));
    /// Resources::open(options).await
    /// # }
    /// ```
    ///
    /// SQLite is set up for a server: its file is made if there is none, foreign keys are checked, and a statement waits up to
    /// 5 s for the lock of another process. A file has a write-ahead log (WAL) and, unless the options say another number,
    /// 5 connections: one request writes while others read. A database in memory has one connection, so a read waits for a
    /// write.
    ///
    /// # Errors
    ///
    /// If the database does not answer, or the feature of its kind (`sqlite`, `postgres`, `mysql`) is off.
    pub async fn open(database: impl Into<ConnectOptions>) -> Result<Self, DbErr> {
        let mut options = database.into();
        // Each statement would be a line of the log.
        options.sqlx_logging(false);
        if options.get_url().starts_with("sqlite:") {
            for_sqlite(&mut options);
        }
        Ok(Self::new(Database::connect(options).await?))
    }

    /// Takes a connection that is there already.
    ///
    /// Of SQLite it needs what [`open`](Self::open) sets: `foreign_keys`, a `busy_timeout`, and for reads that do not wait for a
    /// write the journal mode WAL and several connections. SeaORM's default is one connection.
    pub fn new(db: DatabaseConnection) -> Self {
        let turn = (db.get_database_backend() == DbBackend::Sqlite).then(Arc::default);
        let (compat, limits) = Default::default();
        let (queue, stripes, changes) = Default::default();
        Self { db, compat, limits, queue, stripes, changes, outbox: None, turn }
    }

    /// Chooses whose answers to give; [`Compat::Strict`] unless said.
    #[must_use]
    pub fn compat(self, compat: Compat) -> Self {
        Self { compat, ..self }
    }

    /// Sets what requests may make the server do and keep; see [`Limits`].
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The database, for what an application asks of it itself.
    pub fn db(&self) -> &DatabaseConnection {
        &self.db
    }

    /// Makes tables, columns and indexes that the entities have and the database has not; for development.
    ///
    /// It removes nothing. A program in production has migrations: see `sea-orm-migration`.
    ///
    /// # Errors
    ///
    /// If the database refuses, as it does a new column that may not be null in a table with rows.
    pub async fn sync(&self, register: impl FnOnce(SchemaBuilder) -> SchemaBuilder) -> Result<(), DbErr> {
        register(self.db.get_schema_builder()).sync(&self.db).await
    }

    /// Writes changes down with the records, so that they are told even if the server dies right after the commit, and in the
    /// order of the commits whichever server makes them.
    ///
    /// They stand in a table of their own, `catamaran_outbox`, which this makes unless it is there, until the [`Relay`]
    /// has told them; it must be run, on each server.
    ///
    /// ```no_run
    /// # use catamaran::prelude::*;
    /// # use catamaran_resources::Resources;
    /// # async fn serve() -> catamaran::Result {
    /// let (resources, relay) = Resources::open("sqlite://app.db").await?.outbox().await?;
    /// let app = App::new(resources);
    /// tokio::spawn(relay.run(app.hub()));
    /// app.serve("127.0.0.1:1337").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the table cannot be made, or tables have [`triggers`](Self::triggers).
    pub async fn outbox(mut self) -> Result<(Self, Relay), DbErr> {
        self.outbox = Some(outbox::make(&self).await?);
        let relay = Relay::new(self.clone(), Vec::new());
        Ok((self, relay))
    }

    /// An [`outbox`](Self::outbox) that the database fills: so what other programs write is told as well, and what an
    /// application writes by itself, through [`db`](Self::db).
    ///
    /// This makes triggers on the tables of these resources and on those between them, unless they are there; a migration may
    /// call it in the stead of an application that owns no tables. Name all resources.
    ///
    /// ```no_run
    /// # use catamaran::prelude::*;
    /// # mod pet {
    /// #     use sea_orm::entity::prelude::*;
    /// #     #[catamaran_resources::resource(path = "/pet", policy = catamaran_resources::Public)]
    /// #     #[sea_orm::model]
    /// #     #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    /// #     #[sea_orm(table_name = "pet")]
    /// #     pub struct Model {
    /// #         #[sea_orm(primary_key)]
    /// #         pub id: i64,
    /// #         pub name: String,
    /// #     }
    /// #     impl ActiveModelBehavior for ActiveModel {}
    /// # }
    /// use catamaran_resources::{Resource, Resources};
    ///
    /// # async fn serve() -> catamaran::Result {
    /// let resources = Resources::open("sqlite://app.db").await?;
    /// let (resources, relay) = resources.triggers([pet::Entity::meta()]).await?;
    /// let app = App::new(resources).mount(routes![pet]);
    /// tokio::spawn(relay.run(app.hub()));
    /// app.serve("127.0.0.1:1337").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// They stay. To do without them, drop them: in PostgreSQL `drop function catamaran_outbox() cascade`, in SQLite for each
    /// table `drop trigger catamaran_insert_pet`, `catamaran_update_pet` and `catamaran_delete_pet`.
    ///
    /// # Errors
    ///
    /// If the database refuses, or is neither SQLite nor PostgreSQL; or if tables of several schemas have one name.
    pub async fn triggers(
        mut self,
        resources: impl IntoIterator<Item = &'static Meta>,
    ) -> Result<(Self, Relay), DbErr> {
        let watched: Vec<_> = resources.into_iter().collect();
        self.outbox = Some(outbox::make_with_triggers(&self, &watched).await?);
        let relay = Relay::new(self.clone(), watched);
        Ok((self, relay))
    }

    /// Tells of changes that were committed just now.
    pub(crate) async fn hand_on(&self, hub: &Hub, changes: &Committed, sender: Option<&Socket>) {
        if let Some(outbox) = &self.outbox {
            return outbox.written.notify_one();
        }
        for (number, change) in changes.iter().enumerate() {
            if number % BURST == BURST - 1 {
                yield_now().await;
            }
            let left_out = sender.map(except);
            messages::publish(hub, change.meta.identity(), messages::write(change), left_out).await;
        }
    }

    /// Waits for the turn to write. SQLite would let writers wait, too, but each with a connection that readers need, and
    /// in no order.
    pub(crate) async fn turn(&self) -> Option<OwnedMutexGuard<()>> {
        match &self.turn {
            Some(turn) => Some(turn.clone().lock_owned().await),
            None => None,
        }
    }
}

/// So an application can share them as it shares everything else; and a state that has none is told so by its name, which
/// the compiler would not do if [`Resources`] itself were the only state.
impl FromRef<Arc<Self>> for Resources {
    fn from_ref(state: &Arc<Self>) -> Self {
        (**state).clone()
    }
}

/// A state that resources can be had from.
#[diagnostic::on_unimplemented(
    message = "the state `{Self}` has no `Resources`",
    label = "a resource needs the `Resources` of the state",
    note = "give them to the application, `App::new(Resources::open(\"sqlite://app.db\").await?)`, or implement `FromRef<{Self}>` for `Resources`"
)]
pub trait HasResources: Sized {
    #[doc(hidden)]
    fn resources(&self) -> Resources;
}

#[diagnostic::do_not_recommend]
impl<S> HasResources for S
where
    Resources: FromRef<S>,
{
    fn resources(&self) -> Resources {
        Resources::from_ref(self)
    }
}

/// SQLite as a server needs it.
#[cfg(feature = "sqlite")]
fn for_sqlite(options: &mut ConnectOptions) {
    let url = options.get_url();
    let in_memory = url.contains(":memory:") || url.contains("mode=memory");
    if in_memory {
        // Each connection would be a database of its own, which ends with it.
        options.min_connections(1).max_connections(1).idle_timeout(None).max_lifetime(None);
    } else if options.get_max_connections().is_none() {
        options.max_connections(FILE_CONNECTIONS);
    }
    options.map_sqlx_sqlite_opts(|options| {
        options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
    });
}

/// Opening it will say that the feature is off.
#[cfg(not(feature = "sqlite"))]
fn for_sqlite(_: &mut ConnectOptions) {}
