//! The actions of a resource: a request to what the engine does, and back.

use axum::{body::Bytes, extract::RawQuery, http::HeaderMap, response::Response};
use catamaran::__private::{Call, Param, Reply, call2, call3, call4};

use crate::{
    Error, Records, Resource,
    asking::Asking,
    body::{self, Purpose},
    engine::{Work, identity},
    meta::Association,
    resource::Viewed,
    state::HasResources,
};

/// `GET /pet`
pub fn find<E, S>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call2::<S, Records<E>, RawQuery, Response, _, _, _>(call, |Records { asking, .. }, RawQuery(query)| async move {
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
    call3::<S, Param<0, String>, Records<E>, RawQuery, Response, _, _, _>(
        call,
        |id, Records { asking, .. }, RawQuery(query)| async move {
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
    call3::<S, Records<E>, HeaderMap, Bytes, Response, _, _, _>(
        call,
        |Records { asking, .. }, headers, bytes| async move {
            let parts = asking.body(Purpose::Create, &headers, &bytes);
            asking.settle(parts.map(|body::Parts { values, members }| Work::Create { values, members })).await
        },
    )
}

/// `PATCH /pet/{id}`
pub fn update<E, S>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call4::<S, Param<0, String>, Records<E>, HeaderMap, Bytes, Response, _, _, _>(
        call,
        |id, Records { asking, .. }, headers, bytes| async move {
            let work = identity(asking.meta, id.0).and_then(|id| {
                let body::Parts { values, members } = asking.body(Purpose::Update, &headers, &bytes)?;
                Ok(Work::Update { id, values, members })
            });
            asking.settle(work).await
        },
    )
}

/// `DELETE /pet/{id}`
pub fn destroy<E, S>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call2::<S, Param<0, String>, Records<E>, Response, _, _, _>(call, |id, Records { asking, .. }| async move {
        let work = identity(asking.meta, id.0).map(|id| Work::Destroy { id });
        asking.settle(work).await
    })
}

/// `DELETE /pet?id=1`, or with the id in the body.
pub fn destroy_named<E, S>(call: Call<S>) -> Reply
where
    E: Viewed<S>,
    S: HasResources + Send + Sync + 'static,
{
    call4::<S, Records<E>, RawQuery, HeaderMap, Bytes, Response, _, _, _>(
        call,
        |Records { asking, .. }, RawQuery(query), headers, bytes| async move {
            let id = body::identified(asking.meta, &query.unwrap_or_default(), &headers, &bytes);
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
    call3::<S, Param<0, String>, Records<E>, RawQuery, Response, _, _, _>(
        call,
        |id, Records { asking, .. }, RawQuery(query)| async move {
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
    call3::<S, Param<0, String>, Param<1, String>, Records<E>, Response, _, _, _>(
        call,
        |id, child, Records { asking, .. }| async move {
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
    call3::<S, Param<0, String>, Param<1, String>, Records<E>, Response, _, _, _>(
        call,
        |id, child, Records { asking, .. }| async move {
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
    call4::<S, Param<0, String>, Records<E>, HeaderMap, Bytes, Response, _, _, _>(
        call,
        |id, Records { asking, .. }, headers, bytes| async move {
            let work = identity(asking.meta, id.0).and_then(|id| {
                Ok(Work::Replace { id, members: body::members(asking.meta, asking.association(AT), &headers, &bytes)? })
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
