//! Channels: who is subscribed, and how what is published reaches them.

mod members;
mod message;
mod peer;

use std::{convert::Infallible, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};
use members::Members;
pub(crate) use message::Message;
pub(crate) use peer::Peer;

/// The channels of an application: what any task publishes through.
///
/// Actions have it in their context, axum handlers and actions take it as an extractor, and tasks hold a clone.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Members>);

impl Hub {
    pub(crate) fn members(&self) -> &Members {
        &self.0
    }
}
