//! The actions of a resource: a request to what is asked of it, and back.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{RawQuery, Request},
    http::HeaderMap,
    response::Response,
};
use catamaran::__private::{Call, Param, Reply, call1, call2, call3, call4};
use sea_orm::Value;

use crate::{
    Error, Meta, Resource,
    asking::Asking,
    body::{self, Purpose},
    engine::{Work, identity},
    meta::Association,
    resource::{Tell, Viewed},
    state::HasResources,
};

/// What is asked of a resource; a number is the position of an association.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    /// `GET /pet`
    Find,
    /// `GET /pet/{id}`
    FindOne,
    /// `POST /pet`
    Create,
    /// `PATCH /pet/{id}`
    Update,
    /// `DELETE /pet/{id}`, and `DELETE /pet`, of which the query or the body says the identity
    Destroy,
    /// `GET /pet/{id}/toys`
    Populate(usize),
    /// `PUT /pet/{id}/toys/{fk}`
    Add(usize),
    /// `DELETE /pet/{id}/toys/{fk}`
    Remove(usize),
    /// `PUT /pet/{id}/toys`
    Replace(usize),
}

/// Runs an action of the resource `E`. What has its type is compiled for each, so it is but this.
pub fn ask<E, S>(call: Call<S>, verb: Verb) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    run(call, verb, E::meta(), E::VIEWERS)
}

/// Reads who asks, by the types of the application, and does what knows none of them.
fn run<S>(call: Call<S>, verb: Verb, meta: &'static Meta, viewers: &'static [Tell<S>]) -> Reply
where
    S: HasResources + Send + Sync + 'static,
{
    Box::pin(async move {
        let Call { request, state, params } = call;
        let (mut parts, body) = request.into_parts();
        match Asking::read(meta, viewers, &mut parts, &*state).await {
            Ok(asking) => {
                let request = Request::from_parts(parts, body);
                verb.run(asking, Call { request, state: Arc::new(()), params }).await
            }
            Err(refusal) => refusal,
        }
    })
}

type Id = Param<0, String>;
type Child = Param<1, String>;

impl Verb {
    fn run(self, asking: Asking, call: Call<()>) -> Reply {
        match self {
            Self::Find => call1(call, |query: RawQuery| find(asking, query)),
            Self::FindOne => call2(call, |id: Id, query: RawQuery| find_one(asking, id, query)),
            Self::Create => call2(call, |headers: HeaderMap, bytes: Bytes| create(asking, headers, bytes)),
            Self::Update => call3(call, |id: Id, headers: HeaderMap, bytes: Bytes| update(asking, id, headers, bytes)),
            Self::Destroy => call4(call, |id: Id, query: RawQuery, headers: HeaderMap, bytes: Bytes| {
                destroy(asking, id, query, headers, bytes)
            }),
            Self::Populate(at) => call2(call, move |id: Id, query: RawQuery| populate(asking, at, id, query)),
            Self::Add(at) => call2(call, move |id: Id, child: Child| add(asking, at, id, child)),
            Self::Remove(at) => call2(call, move |id: Id, child: Child| remove(asking, at, id, child)),
            Self::Replace(at) => {
                call3(call, move |id: Id, headers: HeaderMap, bytes: Bytes| replace(asking, at, id, headers, bytes))
            }
        }
    }
}

async fn find(asking: Asking, RawQuery(query): RawQuery) -> Response {
    let outcome = asking.find(&query.unwrap_or_default()).await;
    asking.answer(outcome)
}

async fn find_one(asking: Asking, id: Id, RawQuery(query): RawQuery) -> Response {
    let outcome = asking.find_one(&id.0, &query.unwrap_or_default()).await;
    asking.answer(outcome)
}

async fn create(asking: Asking, headers: HeaderMap, bytes: Bytes) -> Response {
    let read = |asking: &Asking| {
        let body::Parts { values, members } = asking.body(Purpose::Create, &headers, &bytes)?;
        Ok(Work::Create { values, members })
    };
    asking.settle(bytes.len(), read).await
}

async fn update(asking: Asking, Param(id): Id, headers: HeaderMap, bytes: Bytes) -> Response {
    let read = |asking: &Asking| {
        let id = identity(asking.meta, id)?;
        let body::Parts { values, members } = asking.body(Purpose::Update, &headers, &bytes)?;
        Ok(Work::Update { id, values, members })
    };
    asking.settle(bytes.len(), read).await
}

async fn destroy(
    asking: Asking,
    Param(id): Id,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let read = |asking: &Asking| {
        let id = match &*id {
            "" => body::named(asking.meta, &query.unwrap_or_default(), &headers, &bytes)?,
            id => identity(asking.meta, id)?,
        };
        Ok(Work::Destroy { id })
    };
    asking.settle(bytes.len(), read).await
}

async fn populate(asking: Asking, at: usize, id: Id, RawQuery(query): RawQuery) -> Response {
    let outcome = asking.populate(&id.0, at, &query.unwrap_or_default()).await;
    asking.answer(outcome)
}

async fn add(asking: Asking, at: usize, id: Id, child: Child) -> Response {
    let read = |asking: &Asking| {
        let (id, association, child) = pair(asking, at, id, child)?;
        Ok(Work::Add { id, association, child })
    };
    asking.settle(0, read).await
}

async fn remove(asking: Asking, at: usize, id: Id, child: Child) -> Response {
    let read = |asking: &Asking| {
        let (id, association, child) = pair(asking, at, id, child)?;
        Ok(Work::Remove { id, association, child })
    };
    asking.settle(0, read).await
}

async fn replace(asking: Asking, at: usize, Param(id): Id, headers: HeaderMap, bytes: Bytes) -> Response {
    let read = |asking: &Asking| {
        let id = identity(asking.meta, id)?;
        let members = body::members(asking.meta, asking.association(at), &headers, &bytes)?;
        Ok(Work::Replace { id, members })
    };
    asking.settle(bytes.len(), read).await
}

/// The identities of both ends of a membership.
fn pair(asking: &Asking, at: usize, id: Id, child: Child) -> Result<(Value, &'static Association, Value), Error> {
    let association = asking.association(at);
    Ok((identity(asking.meta, id.0)?, association, identity(association.target(), child.0)?))
}

/// Fails while the application is built if a resource makes no sense.
pub fn check<E: Resource>() {
    E::meta().check::<E>();
}
