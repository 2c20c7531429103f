//! What the broker and its link share.

use std::sync::{Arc, Mutex, PoisonError};

use super::{keys::Keys, session::Session};
use crate::BrokerEvents;

/// One node's connection, as both see it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) keys: Keys,
    pub(super) flow: BrokerEvents,
    /// The name of this node.
    pub(super) node: String,
    /// The connection, if there is one.
    pub(super) session: Mutex<Option<Arc<Session>>>,
}

impl Shared {
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_session(&self, session: Option<Arc<Session>>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }
}
