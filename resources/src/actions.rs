//! The actions of a resource: a request to what the engine does, and back.

use std::{marker::PhantomData, panic::resume_unwind, slice};

use axum::{
    Json as Body,
    body::Bytes,
    extract::{FromRequestParts, RawQuery},
    http::{HeaderMap, Method, request::Parts},
    response::{IntoResponse, Response},
};
use catamaran::{
    __private::{Call, Param, Reply, call2, call3, call4, call5},
    Hub, RequestSocket,
};
use serde_json::Value as Json;
use tracing::Instrument;

use crate::{
    Error, Meta, Resource, Resources,
    body::{self, Purpose},
    criteria::{Criteria, Shape},
    engine::{self, View, Work, identity},
    messages::Following,
    meta::Association,
    policy::Viewers,
    resource::Viewed,
    state::HasResources,
};

/// One request to a resource.
struct Asking {
    resources: Resources,
    hub: Hub,
    /// The socket by which it came.
    socket: Option<RequestSocket>,
    viewers: Viewers,
    meta: &'static Meta,
    method: Method,
    path: String,
}

/// One request to the resource `E`, as an extractor; the rest of an action does not know `E`.
struct For<E>(Asking, PhantomData<fn() -> E>);

impl<E, S> FromRequestParts<S> for For<E>
where
    E: Viewed<S>,
    S: HasResources + Send + Sync,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let viewers = E::viewers(parts, state).await;
        // Who is not let in is told nothing else.
        if let Err(error) = viewers.of(E::meta()) {
            return Err(error.respond(&parts.method, parts.uri.path()));
        }
        let hub = Hub::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        let socket = parts.extensions.get().cloned();
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let asking = Asking { resources: state.resources(), hub, socket, viewers, meta: E::meta(), method, path };
        Ok(Self(asking, PhantomData))
    }
}

impl Asking {
    fn view(&self) -> View<'_, sea_orm::DatabaseConnection> {
        View { db: &self.resources.db, viewers: &self.viewers }
    }

    fn association(&self, at: usize) -> &'static Association {
        &self.meta.associations[at]
    }

    fn following(&self) -> Following<'_> {
        Following::new(self.socket.as_ref(), &self.viewers, &self.resources)
    }

    async fn find(&self, query: &str) -> Result<Json, Error> {
        let criteria = Criteria::read(self.meta, query, self.resources.compat)?;
        let mut following = self.following();
        following.list(self.meta).await?;
        following.populated(&criteria.shape).await?;
        let records = self.view().find(self.meta, &criteria).await?;
        following.add(self.meta, &records, &criteria.shape);
        Ok(records.into())
    }

    async fn find_one(&self, id: &str, query: &str) -> Result<Json, Error> {
        let shape = Shape::read(self.meta, query, self.resources.compat)?;
        let mut following = self.following();
        following.records(self.meta).await?;
        following.populated(&shape).await?;
        let record = self.view().find_one(self.meta, id, &shape).await?;
        following.add(self.meta, slice::from_ref(&record), &shape);
        Ok(record)
    }

    async fn populate(&self, id: &str, at: usize, query: &str) -> Result<Json, Error> {
        let association = self.association(at);
        let criteria = Criteria::read_associated(association.target(), query, self.resources.compat)?;
        let id = identity(self.meta, id)?;
        let mut following = self.following();
        following.records(self.meta).await?;
        following.associated(association).await?;
        let mut records = self.view().populate(self.meta, id.clone(), association, &criteria).await?;
        following.identity(self.meta, &id);
        following.add(association.target(), &records, &criteria.shape);
        match association.is_many() {
            true => Ok(records.into()),
            false => records.pop().ok_or(Error::NotFound),
        }
    }

    fn body(&self, purpose: Purpose, headers: &HeaderMap, bytes: &Bytes) -> Result<body::Parts, Error> {
        body::read(self.meta, purpose, self.resources.compat, headers, bytes)
    }

    /// Carries out a write, and tells of what it changed.
    async fn write(&self, work: &Work) -> Result<Json, Error> {
        let mut following = self.following();
        match work {
            Work::Create { .. } | Work::Update { .. } | Work::Replace { .. } => following.records(self.meta).await?,
            Work::Add { association, .. } => {
                following.records(self.meta).await?;
                following.records(association.target()).await?;
            }
            Work::Destroy { .. } | Work::Remove { .. } => {}
        }
        let written = engine::write(&self.resources, &self.viewers, self.meta, work, self.socket.as_ref()).await?;
        following.add(self.meta, slice::from_ref(&written.reply), &Shape::default());
        if let Work::Add { association, child, .. } = work {
            following.identity(association.target(), child);
        }
        // While the records are held, so that everybody hears of them in the order of the commits.
        self.resources.hand_on(&self.hub, &written.changes, self.socket.as_ref()).await;
        Ok(written.reply)
    }

    fn answer(&self, outcome: Result<Json, Error>) -> Response {
        match outcome {
            Ok(body) => Body(body).into_response(),
            Err(error) => error.respond(&self.method, &self.path),
        }
    }

    /// Answers with what a write gives.
    ///
    /// It runs as a task of its own: a request that is cut off cannot part a commit from the word of it.
    async fn settle(self, work: Result<Work, Error>) -> Response {
        let work = async move {
            let outcome = match work {
                Ok(work) => self.write(&work).await,
                Err(error) => Err(error),
            };
            self.answer(outcome)
        };
        let task = tokio::spawn(work.in_current_span());
        match task.await {
            Ok(response) => response,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(cancelled) => catamaran::Error::from(cancelled).into_response(),
            },
        }
    }
}

/// `GET /pet`
pub fn find<E, S>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call2::<S, For<E>, RawQuery, Response, _, _, _>(call, |For(asking, _), RawQuery(query)| async move {
        let outcome = asking.find(&query.unwrap_or_default()).await;
        asking.answer(outcome)
    })
}

/// `GET /pet/{id}`
pub fn find_one<E, S>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call3::<S, Param<0, String>, For<E>, RawQuery, Response, _, _, _>(
        call,
        |id, For(asking, _), RawQuery(query)| async move {
            let outcome = asking.find_one(&id.0, &query.unwrap_or_default()).await;
            asking.answer(outcome)
        },
    )
}

/// `POST /pet`
pub fn create<E, S>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call3::<S, For<E>, HeaderMap, Bytes, Response, _, _, _>(call, |For(asking, _), headers, bytes| async move {
        let parts = asking.body(Purpose::Create, &headers, &bytes);
        asking.settle(parts.map(|body::Parts { values, members }| Work::Create { values, members })).await
    })
}

/// `PATCH /pet/{id}`
pub fn update<E, S>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call4::<S, Param<0, String>, For<E>, HeaderMap, Bytes, Response, _, _, _>(
        call,
        |id, For(asking, _), headers, bytes| async move {
            let work = identity(asking.meta, id.0).and_then(|id| {
                let body::Parts { values, members } = asking.body(Purpose::Update, &headers, &bytes)?;
                Ok(Work::Update { id, values, members })
            });
            asking.settle(work).await
        },
    )
}

/// `DELETE /pet/{id}`, and `DELETE /pet`, of which the query or the body says the identity
pub fn destroy<E, S>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call5::<S, Param<0, String>, For<E>, RawQuery, HeaderMap, Bytes, Response, _, _, _>(
        call,
        |Param(id), For(asking, _), RawQuery(query), headers, bytes| async move {
            let id = match &*id {
                "" => body::named(asking.meta, &query.unwrap_or_default(), &headers, &bytes),
                id => identity(asking.meta, id),
            };
            asking.settle(id.map(|id| Work::Destroy { id })).await
        },
    )
}

/// `GET /pet/{id}/toys`, where `AT` is the position of the association.
pub fn populate<E, S, const AT: usize>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call3::<S, Param<0, String>, For<E>, RawQuery, Response, _, _, _>(
        call,
        |id, For(asking, _), RawQuery(query)| async move {
            let outcome = asking.populate(&id.0, AT, &query.unwrap_or_default()).await;
            asking.answer(outcome)
        },
    )
}

/// `PUT /pet/{id}/toys/{fk}`
pub fn add<E, S, const AT: usize>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call3::<S, Param<0, String>, Param<1, String>, For<E>, Response, _, _, _>(
        call,
        |id, child, For(asking, _)| async move {
            let work =
                pair(&asking, AT, id.0, child.0).map(|(id, association, child)| Work::Add { id, association, child });
            asking.settle(work).await
        },
    )
}

/// `DELETE /pet/{id}/toys/{fk}`
pub fn remove<E, S, const AT: usize>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call3::<S, Param<0, String>, Param<1, String>, For<E>, Response, _, _, _>(
        call,
        |id, child, For(asking, _)| async move {
            let work = pair(&asking, AT, id.0, child.0).map(|(id, association, child)| Work::Remove {
                id,
                association,
                child,
            });
            asking.settle(work).await
        },
    )
}

/// `PUT /pet/{id}/toys`
pub fn replace<E, S, const AT: usize>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call4::<S, Param<0, String>, For<E>, HeaderMap, Bytes, Response, _, _, _>(
        call,
        |id, For(asking, _), headers, bytes| async move {
            let work = identity(asking.meta, id.0).and_then(|id| {
                Ok(Work::Replace { id, members: body::members(asking.association(AT), &headers, &bytes)? })
            });
            asking.settle(work).await
        },
    )
}

/// The identities of both ends of a membership.
fn pair(
    asking: &Asking,
    at: usize,
    id: String,
    child: String,
) -> Result<(sea_orm::Value, &'static Association, sea_orm::Value), Error> {
    let association = asking.association(at);
    Ok((identity(asking.meta, id)?, association, identity(association.target(), child)?))
}

/// Fails while the application is built if an association of a resource leads nowhere.
pub fn check<E: Resource>() {
    let meta = E::meta();
    meta.associations.iter().for_each(|association| {
        meta.link(association);
    });
}
