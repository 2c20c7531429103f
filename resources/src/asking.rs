//! One request to a resource, and what is done about it.

use std::{panic::resume_unwind, slice};

use axum::{
    Json as Body,
    body::Bytes,
    extract::FromRequestParts,
    http::{HeaderMap, Method, request::Parts},
    response::{IntoResponse, Response},
};
use catamaran::{Hub, Socket};
use serde::Serialize;
use tokio::sync::oneshot;
use tracing::Instrument;

use crate::{
    Error, Meta, Resources,
    body::{self, Purpose},
    criteria::{Criteria, Shape},
    engine::{self, Shown, View, Work, identity},
    messages::Following,
    meta::Association,
    policy::Viewers,
    resource::Tell,
    state::HasResources,
};

/// One request to a resource.
pub(crate) struct Asking {
    pub(crate) resources: Resources,
    pub(crate) hub: Hub,
    /// The socket by which it came.
    pub(crate) socket: Option<Socket>,
    pub(crate) viewers: Viewers,
    pub(crate) meta: &'static Meta,
    pub(crate) method: Method,
    pub(crate) path: String,
}

/// What an association leads to.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Led {
    Many(Vec<Shown>),
    One(Shown),
}

impl Asking {
    /// Reads who asks of a resource, and by what.
    pub(crate) async fn read<S>(
        meta: &'static Meta,
        viewers: &[Tell<S>],
        parts: &mut Parts,
        state: &S,
    ) -> Result<Self, Response>
    where
        S: HasResources + Send + Sync,
    {
        let viewers = Viewers::of_request(viewers, parts, state).await;
        // Who is not let in is told nothing else.
        if let Err(error) = viewers.of(meta) {
            return Err(error.respond(&parts.method, parts.uri.path()));
        }
        let hub = Hub::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        let socket = parts.extensions.get().cloned();
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        Ok(Self { resources: state.resources(), hub, socket, viewers, meta, method, path })
    }

    fn view(&self) -> View<'_, sea_orm::DatabaseConnection> {
        View { db: &self.resources.db, viewers: &self.viewers }
    }

    pub(crate) fn association(&self, at: usize) -> &'static Association {
        &self.meta.associations[at]
    }

    pub(crate) fn following(&self) -> Following<'_> {
        Following::new(self.socket.as_ref(), &self.viewers, &self.resources)
    }

    pub(crate) async fn find(&self, query: &str) -> Result<Vec<Shown>, Error> {
        let criteria = Criteria::read(self.meta, query, self.resources.compat, &self.resources.limits)?;
        let mut following = self.following();
        following.list(self.meta).await?;
        following.populated(&criteria.shape).await?;
        let records = self.view().find(self.meta, &criteria).await?;
        following.add(self.meta, &records, &criteria.shape);
        Ok(records)
    }

    pub(crate) async fn find_one(&self, id: &str, query: &str) -> Result<Shown, Error> {
        let shape = Shape::read(self.meta, query, self.resources.compat, &self.resources.limits)?;
        let mut following = self.following();
        following.records(self.meta).await?;
        following.populated(&shape).await?;
        let record = self.view().find_one(self.meta, id, &shape).await?;
        following.add(self.meta, slice::from_ref(&record), &shape);
        Ok(record)
    }

    pub(crate) async fn populate(&self, id: &str, at: usize, query: &str) -> Result<Led, Error> {
        let association = self.association(at);
        if !self.meta.reads(association) {
            return Err(Error::NotFound);
        }
        let Resources { compat, limits, .. } = &self.resources;
        let criteria = Criteria::read_associated(association.target(), query, *compat, limits)?;
        let id = identity(self.meta, id)?;
        let mut following = self.following();
        following.records(self.meta).await?;
        following.associated(association).await?;
        let mut records = self.view().populate(self.meta, id.clone(), association, &criteria).await?;
        following.identity(self.meta, &id);
        following.add(association.target(), &records, &criteria.shape);
        match association.is_many() {
            true => Ok(Led::Many(records)),
            false => records.pop().map(Led::One).ok_or(Error::NotFound),
        }
    }

    pub(crate) fn body(&self, purpose: Purpose, headers: &HeaderMap, bytes: &Bytes) -> Result<body::Parts, Error> {
        body::read(self.meta, purpose, self.resources.compat, headers, bytes)
    }

    /// Carries out a write, and tells of what it changed.
    async fn write(&self, work: &Work, mut request: oneshot::Sender<()>) -> Result<Shown, Error> {
        let mut following = self.following();
        match work {
            Work::Create { .. } | Work::Update { .. } | Work::Replace { .. } => following.records(self.meta).await?,
            Work::Add { association, .. } => {
                following.records(self.meta).await?;
                following.records(association.target()).await?;
            }
            Work::Destroy { .. } | Work::Remove { .. } => {}
        }
        let except = self.socket.as_ref();
        let written = engine::write(&self.resources, &self.viewers, self.meta, work, except, &mut request).await?;
        following.add(self.meta, slice::from_ref(&written.reply), &Shape::default());
        if let Work::Add { association, child, .. } = work {
            following.identity(association.target(), child);
        }
        // While the records are held, so that everybody hears of them in the order of the commits.
        self.resources.hand_on(&self.hub, &written.changes, except).await;
        Ok(written.reply)
    }

    /// An error, as an action of an application's own is told it.
    pub(crate) fn own(&self, error: Error) -> catamaran::Error {
        error.into_own(&self.method, &self.path)
    }

    pub(crate) fn answer(&self, outcome: Result<impl Serialize, Error>) -> Response {
        match outcome {
            Ok(body) => Body(body).into_response(),
            Err(error) => error.respond(&self.method, &self.path),
        }
    }

    /// Answers with what a write gives that has a body of so many bytes.
    ///
    /// It runs as a task of its own: a request that is cut off cannot part a commit from the word of it. A write that has not
    /// begun ends with its request.
    pub(crate) async fn settle(self, bytes: usize, read: impl FnOnce(&Self) -> Result<Work, Error>) -> Response {
        let queued = self.resources.queue.enter(bytes, &self.resources.limits);
        let (queued, work) = match queued.and_then(|queued| Ok((queued, read(&self)?))) {
            Ok(write) => write,
            Err(error) => return self.answer(Err::<(), _>(error)),
        };
        // Closed as soon as this future is dropped.
        let (request, _alive) = oneshot::channel();
        let work = async move {
            let _queued = queued;
            let outcome = self.write(&work, request).await;
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
