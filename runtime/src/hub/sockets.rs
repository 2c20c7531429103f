//! The sockets of this node.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::peer::Peer;

/// Who is connected.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Mutex<Connected>);

#[derive(Debug, Default)]
struct Connected {
    by_id: HashMap<String, Peer>,
    /// The socket of each client that said who it is.
    by_client: HashMap<Arc<str>, Peer>,
}

/// The client of a socket has made a newer connection.
pub(super) struct Outdated;

impl Connected {
    fn has_newer(&self, peer: &Peer) -> bool {
        peer.client().and_then(|client| self.by_client.get(client)).is_some_and(|other| other.is_newer_than(peer))
    }
}

impl Sockets {
    /// A socket is let in, and takes the place of the one that its client had before, unless that one is the newer.
    pub(super) fn connect(&self, peer: &Peer) -> Result<Option<Peer>, Outdated> {
        let mut connected = self.lock();
        if connected.has_newer(peer) {
            return Err(Outdated);
        }
        connected.by_id.insert(peer.id().to_owned(), peer.clone());
        Ok(peer.client().and_then(|client| connected.by_client.insert(client.clone(), peer.clone())))
    }

    /// Whether the client of a socket has made a newer connection.
    pub(crate) fn has_newer(&self, peer: &Peer) -> bool {
        self.lock().has_newer(peer)
    }

    pub(super) fn disconnect(&self, peer: &Peer) {
        let mut connected = self.lock();
        connected.by_id.remove(peer.id());
        if let Some(client) = peer.client()
            && connected.by_client.get(client).is_some_and(|current| current.id() == peer.id())
        {
            connected.by_client.remove(client);
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<Peer> {
        self.lock().by_id.get(id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Peer> {
        self.lock().by_id.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
