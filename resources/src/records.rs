//! Records in actions that are written by hand.

use std::{fmt, marker::PhantomData, ops::Deref, panic::resume_unwind};

use axum::{
    Json as Body,
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use catamaran::Result;
use sea_orm::{DatabaseTransaction, PrimaryKeyTrait, TransactionTrait, Value, sea_query::IntoValueTuple};
use serde::{Serialize, Serializer};
use tracing::Instrument;

use crate::{
    Change, Error, Resource,
    asking::Asking,
    body::{self, Purpose},
    engine::{Attempt, Ready, Writer, named},
    error,
    messages::Following,
    meta::Row,
    resource::Viewed,
    state::HasResources,
};

/// The records of a resource, for an action that writes them by hand; an extractor.
///
/// What it writes is checked by the policy, stored in one transaction with whatever else the action does, and told to
/// sockets once that is committed; what is rolled back is told to nobody.
///
/// ```
/// use axum::Json;
/// use catamaran::prelude::*;
/// use catamaran_resources::{Record, Records, Resources};
/// use sea_orm::{ConnectionTrait, EntityTrait};
///
/// pub mod pet {
///     use catamaran_resources::{Public, resource};
///     use sea_orm::entity::prelude::*;
///
///     #[resource(path = "/pet", policy = Public, except = [create])]
///     #[sea_orm::model]
///     #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
///     #[sea_orm(table_name = "pet")]
///     pub struct Model {
///         #[sea_orm(primary_key)]
///         pub id: i64,
///         pub name: String,
///     }
///
///     impl ActiveModelBehavior for ActiveModel {}
/// }
///
/// #[action(post "/pet")]
/// async fn create(pets: Records<pet::Entity>, Json(new): Json<pet::Create>) -> catamaran::Result<Record<pet::Entity>> {
///     pets.transaction(async |tx| {
///         let pet = tx.create(&new).await?;
///         tx.db().execute_unprepared(&format!("INSERT INTO audit (pet) VALUES ({})", pet.id)).await?;
///         Ok(pet)
///     })
///     .await
/// }
///
/// fn app(resources: Resources) -> App<Resources> {
///     App::new(resources).mount(routes![pet, create])
/// }
/// ```
pub struct Records<E> {
    pub(crate) asking: Asking,
    entity: PhantomData<fn() -> E>,
}

impl<E, S> FromRequestParts<S> for Records<E>
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> std::result::Result<Self, Response> {
        Ok(Self { asking: Asking::read(E::meta(), E::VIEWERS, parts, state).await?, entity: PhantomData })
    }
}

impl<E: Resource> Records<E> {
    /// Runs `work` in a transaction, and tells sockets of the records that it wrote once that is committed.
    ///
    /// An error of `work` undoes all of it. Nobody else in this process writes to a resource until it ends, so `work` should do
    /// nothing but ask the database, and that through [`Transaction::db`].
    ///
    /// # Errors
    ///
    /// That of `work`, or of the database; if another process was in the way it is a 503.
    pub async fn transaction<T>(&self, work: impl AsyncFnOnce(&mut Transaction<'_, E>) -> Result<T>) -> Result<T> {
        self.run(work).await.map_err(|error| if error.is_busy() { busy() } else { self.asking.own(error) })
    }

    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut Transaction<'_, E>) -> Result<T>,
    ) -> std::result::Result<T, Error> {
        let Asking { resources, hub, socket, .. } = &self.asking;
        let (resources, hub, socket) = (resources.clone(), hub.clone(), socket.clone());
        let queued = resources.queue.enter(0, &resources.limits)?;
        let ready = Ready::alone(&resources).await;
        let (of_task, except) = (resources.clone(), socket.clone());
        let begin = async move { Ok((Attempt::begin(&of_task, ready, except.as_ref()).await?, queued)) };
        let (attempt, queued) = whole(begin).await?;
        let mut changes = Vec::new();
        let mut transaction = Transaction { records: self, db: &attempt.transaction, changes: &mut changes };
        let done = match work(&mut transaction).await {
            Ok(done) => done,
            Err(error) => {
                attempt.rollback().await?;
                return Err(Error::Own(error));
            }
        };
        let commit = async move {
            let _queued = queued;
            let changes = match attempt.commit(E::meta(), changes).await {
                Ok(changes) => changes,
                Err((_held, error)) => return Err(named(error, &resources.db).await),
            };
            resources.hand_on(&hub, &changes, socket.as_ref()).await;
            Ok(())
        };
        whole(commit).await.map(|()| done)
    }
}

/// Does something as a task of its own. A request that is cut off can neither part a commit from the word of it, nor leave
/// a connection behind that has half begun.
async fn whole<T: Send + 'static>(
    task: impl Future<Output = std::result::Result<T, Error>> + Send + 'static,
) -> std::result::Result<T, Error> {
    match tokio::spawn(task.in_current_span()).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(cancelled) => Err(Error::Own(cancelled.into())),
        },
    }
}

fn busy() -> catamaran::Error {
    catamaran::Error::answered("the database is busy: retry later", error::busy())
}

impl<E> fmt::Debug for Records<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("resource", &self.asking.meta.identity()).finish_non_exhaustive()
    }
}

/// A transaction under way, with the records of one resource.
///
/// Each call asks the policy and is undone alone if it fails, so an action may go on after it.
pub struct Transaction<'a, E> {
    records: &'a Records<E>,
    db: &'a DatabaseTransaction,
    changes: &'a mut Vec<Change>,
}

impl<'a, E: Resource> Transaction<'a, E> {
    /// Makes a record.
    ///
    /// # Errors
    ///
    /// If a rule, the policy or the database does not take it; as an answer that is what `POST` gives.
    pub async fn create(&mut self, new: &E::Create) -> Result<Record<E>> {
        let values = body::own(E::meta(), Purpose::Create, new.clone()).map_err(|error| self.own(error))?;
        let following = self.following().await?;
        let row = self.write(async |writer| writer.create(E::meta(), &values, &[]).await).await?;
        following.identity(E::meta(), row.value(E::meta().key()));
        self.record(row)
    }

    /// Changes the record with this identity.
    ///
    /// # Errors
    ///
    /// If the viewer does not see it, or a rule, the policy or the database does not take it; as an answer that is what
    /// `PATCH` gives.
    pub async fn update(&mut self, id: Key<E>, patch: &E::Patch) -> Result<Record<E>> {
        let values = body::own(E::meta(), Purpose::Update, patch.clone()).map_err(|error| self.own(error))?;
        let id = self.identity(id)?;
        let following = self.following().await?;
        let row = self.write(async |writer| writer.update(E::meta(), &id, &values, &[]).await).await?;
        following.identity(E::meta(), row.value(E::meta().key()));
        self.record(row)
    }

    /// Ends the record with this identity, and gives it as it was.
    ///
    /// # Errors
    ///
    /// If the viewer does not see it or may not write it, or other records need it; as an answer that is what `DELETE`
    /// gives.
    pub async fn destroy(&mut self, id: Key<E>) -> Result<Record<E>> {
        let id = self.identity(id)?;
        let row = self.write(async |writer| {
            let row = writer.record(E::meta(), &id).await?;
            writer.destroy(E::meta(), &row).await?;
            Ok(row)
        });
        let row = row.await?;
        self.record(row)
    }

    /// The same transaction, with the records of another resource.
    pub fn on<'b, F>(&'b mut self, records: &'b Records<F>) -> Transaction<'b, F> {
        Transaction { records, db: self.db, changes: self.changes }
    }

    /// The transaction of the database, for whatever else it is to do. Nobody is told of that.
    pub fn db(&self) -> &'a DatabaseTransaction {
        self.db
    }

    /// Writes, or leaves everything as it was.
    async fn write(
        &mut self,
        work: impl AsyncFnOnce(&mut Writer<'_>) -> std::result::Result<Row, Error>,
    ) -> Result<Row> {
        let asking = &self.records.asking;
        let savepoint = self.db.begin().await?;
        let mut writer = Writer::new(&savepoint, &asking.viewers, asking.resources.compat);
        let (done, changes) = (work(&mut writer).await, writer.changes);
        match done {
            Ok(row) => {
                savepoint.commit().await?;
                self.changes.extend(changes);
                Ok(row)
            }
            Err(error) => {
                savepoint.rollback().await?;
                Err(self.own(named(error, self.db).await))
            }
        }
    }

    /// Begins to hear of the records, as a request to the resource itself does.
    async fn following(&self) -> Result<Following<'a>> {
        let mut following = self.records.asking.following();
        following.records(E::meta()).await.map_err(|error| self.own(error))?;
        Ok(following)
    }

    fn record(&self, row: Row) -> Result<Record<E>> {
        let model = row.model::<E>().cloned().ok_or_else(|| self.own(Error::NotFound))?;
        Ok(Record { model, row })
    }

    fn identity(&self, id: Key<E>) -> Result<Value> {
        let value = id.into_value_tuple().into_iter().next();
        value.ok_or_else(|| self.own(Error::NotFound))
    }

    fn own(&self, error: Error) -> catamaran::Error {
        self.records.asking.own(error)
    }
}

/// What identifies a record.
type Key<E> = <<E as sea_orm::EntityTrait>::PrimaryKey as PrimaryKeyTrait>::ValueType;

impl<E> fmt::Debug for Transaction<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("records", &self.records).finish_non_exhaustive()
    }
}

/// A record that was written: the model, and as an answer what a client may see of it.
#[derive(Clone, Debug)]
pub struct Record<E: Resource> {
    model: E::Model,
    row: Row,
}

impl<E: Resource> Deref for Record<E> {
    type Target = E::Model;

    fn deref(&self) -> &E::Model {
        &self.model
    }
}

impl<E: Resource> Serialize for Record<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.row.serialize(serializer)
    }
}

impl<E: Resource> IntoResponse for Record<E> {
    fn into_response(self) -> Response {
        Body(self.row).into_response()
    }
}
