//! The records that a request subscribes its socket to.

use std::sync::Arc;

use axum::response::IntoResponse;
use catamaran::Socket;
use serde_json::Value as Json;

use super::{
    channel,
    gate::{Changes, Follow},
};
use crate::{
    Compat, Error, Limits, Meta, Resources,
    criteria::Shape,
    engine::Shown,
    meta::{Association, Row, key_text},
    policy::Viewers,
};

/// The resources of which a request's socket hears, from before the database is asked until after its answer; nothing, if
/// the request has no socket.
///
/// What happens meanwhile is kept and follows the answer, so that nothing falls between.
pub(crate) struct Following<'a> {
    socket: Option<&'a Socket>,
    viewers: &'a Viewers,
    changes: &'a Arc<Changes>,
    compat: Compat,
    limits: Limits,
    gates: Vec<(&'static Meta, Arc<Follow>)>,
}

impl<'a> Following<'a> {
    pub(crate) fn new(socket: Option<&'a Socket>, viewers: &'a Viewers, resources: &'a Resources) -> Self {
        let Resources { changes, compat, limits, .. } = resources;
        Self { socket, viewers, changes, compat: *compat, limits: *limits, gates: Vec::new() }
    }

    /// Begins to hear of a list of records, and of new ones.
    pub(crate) async fn list(&mut self, meta: &'static Meta) -> Result<(), Error> {
        if let Some(gate) = self.begin(meta).await? {
            gate.state().list();
            gate.state().watch();
        }
        Ok(())
    }

    /// Begins to hear of some records.
    pub(crate) async fn records(&mut self, meta: &'static Meta) -> Result<(), Error> {
        self.begin(meta).await.map(drop)
    }

    /// Begins to hear of what an association leads to: in Sails' way of new records as well, whoever they belong to.
    pub(crate) async fn associated(&mut self, association: &'static Association) -> Result<(), Error> {
        let target = association.target();
        if !self.viewers.are_let_in(target) {
            return Ok(());
        }
        let watches = self.compat == Compat::Sails;
        if let Some(gate) = self.begin(target).await? {
            gate.state().list();
            if watches {
                gate.state().watch();
            }
        }
        Ok(())
    }

    /// Begins to hear of what records are populated with.
    pub(crate) async fn populated(&mut self, shape: &Shape) -> Result<(), Error> {
        for association in &shape.populate {
            self.associated(association).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, meta: &'static Meta) -> Result<Option<Arc<Follow>>, Error> {
        let Some(socket) = self.socket else { return Ok(None) };
        if let Some(gate) = self.gate(meta) {
            return Ok(Some(gate.clone()));
        }
        let gate = Arc::new(Follow::new(meta, self.viewers, self.changes.clone())?);
        gate.state().bound(&self.limits);
        let subscribed = socket.subscribe_behind(&channel(meta.identity()), gate.clone()).await;
        subscribed.map_err(|error| Error::refused(catamaran::Error::from(error).into_response()))?;
        self.gates.push((meta, gate.clone()));
        Ok(Some(gate))
    }

    fn gate(&self, meta: &Meta) -> Option<&Arc<Follow>> {
        self.gates.iter().find(|(known, _)| std::ptr::eq(*known, meta)).map(|(_, gate)| gate)
    }

    /// The record that has this identity.
    pub(crate) fn identity(&self, meta: &Meta, id: &sea_orm::Value) {
        if let Some(gate) = self.gate(meta) {
            gate.state().follow(key_text(id));
        }
    }

    /// Records as they go out, and what they are populated with.
    pub(crate) fn add(&self, meta: &'static Meta, records: &[Shown], shape: &Shape) {
        self.follow(meta, records.iter().map(Shown::id));
        for association in &shape.populate {
            let others = records.iter().flat_map(|record| record.with(association));
            self.follow(association.target(), others.map(Row::id));
        }
    }

    fn follow<'r>(&self, meta: &Meta, ids: impl Iterator<Item = &'r Json>) {
        let Some(gate) = self.gate(meta) else { return };
        let mut state = gate.state();
        ids.for_each(|id| state.follow(id.to_string()));
    }
}
