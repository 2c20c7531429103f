//! The sockets of this node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{close::TagError, environment::HashMap, peer::Peer};

/// How many tags a socket may have.
const MAX_TAGS: usize = 16;
/// How many bytes each may have.
const MAX_TAG_BYTES: usize = 256;

/// Who is connected.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Mutex<Connected>);

#[derive(Debug, Default)]
struct Connected {
    by_id: HashMap<String, Peer>,
    /// The socket of each client that said who it is.
    by_client: HashMap<Arc<str>, Peer>,
    /// By tag and id, those too that are about to be let in.
    by_tag: HashMap<Arc<str>, HashMap<String, Peer>>,
    /// The tags of each socket that has any.
    tags: HashMap<String, Vec<Arc<str>>>,
    /// How many there were that read too slowly.
    slow: u64,
}

/// The client of a socket has made a newer connection.
pub(super) struct Outdated;

impl Connected {
    fn has_newer(&self, peer: &Peer) -> bool {
        peer.client().and_then(|client| self.by_client.get(client)).is_some_and(|other| other.is_newer_than(peer))
    }

    fn forget_tags(&mut self, id: &str) {
        for tag in self.tags.remove(id).into_iter().flatten() {
            if let Some(sockets) = self.by_tag.get_mut(&tag) {
                sockets.remove(id);
                if sockets.is_empty() {
                    self.by_tag.remove(&tag);
                }
            }
        }
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
        if connected.by_id.remove(peer.id()).is_some() && peer.is_slow() {
            connected.slow += 1;
        }
        connected.forget_tags(peer.id());
        if let Some(client) = peer.client()
            && connected.by_client.get(client).is_some_and(|current| current.id() == peer.id())
        {
            connected.by_client.remove(client);
        }
    }

    /// Marks a socket until it is gone.
    pub(super) fn tag(&self, peer: &Peer, tag: &str) -> Result<(), TagError> {
        if tag.len() > MAX_TAG_BYTES {
            return Err(TagError::TooLong(MAX_TAG_BYTES));
        }
        let mut connected = self.lock();
        // `disconnect` runs after the socket was marked as gone, so it finds what was added before.
        if peer.is_gone() {
            return Err(TagError::Gone);
        }
        let tags = connected.tags.entry(peer.id().to_owned()).or_default();
        if tags.iter().any(|had| **had == *tag) {
            return Ok(());
        }
        if tags.len() >= MAX_TAGS {
            return Err(TagError::TooMany(MAX_TAGS));
        }
        let tag: Arc<str> = tag.into();
        tags.push(tag.clone());
        connected.by_tag.entry(tag).or_default().insert(peer.id().to_owned(), peer.clone());
        Ok(())
    }

    pub(super) fn tagged(&self, tag: &str) -> Vec<Peer> {
        self.lock().by_tag.get(tag).into_iter().flat_map(HashMap::values).cloned().collect()
    }

    pub(crate) fn get(&self, id: &str) -> Option<Peer> {
        self.lock().by_id.get(id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Peer> {
        self.lock().by_id.values().cloned().collect()
    }

    /// How many sockets that read too slowly have been cut off.
    pub(super) fn slow(&self) -> u64 {
        self.lock().slow
    }

    /// Those of our own client.
    pub(crate) fn clients(&self) -> Vec<Peer> {
        self.lock().by_client.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hub, test::TestSocket};

    #[tokio::test]
    async fn tags_past_their_limits_are_refused() {
        let hub = Hub::default();
        let ada = TestSocket::new(&hub);
        let too_long = ada.socket().tag("x".repeat(100_000)).unwrap_err();
        assert!(matches!(too_long, TagError::TooLong(256)) && too_long.to_string().contains("256 bytes"));
        assert!(hub.streams().sockets().lock().tags.is_empty());
        for n in 0..MAX_TAGS {
            ada.socket().tag(format!("{n:0>256}")).unwrap();
        }
        assert!(matches!(ada.socket().tag("one more"), Err(TagError::TooMany(MAX_TAGS))));
        let connected = hub.streams().sockets().lock();
        let bytes: usize = connected.by_tag.keys().map(|tag| tag.len()).sum();
        assert_eq!((bytes, connected.by_tag.len()), (MAX_TAGS * MAX_TAG_BYTES, MAX_TAGS));
    }

    #[tokio::test]
    async fn tags_are_forgotten_with_their_sockets() {
        let hub = Hub::default();
        let (ada, bob) = (TestSocket::new(&hub), TestSocket::new(&hub));
        for tag in ["user:7", "session:a", "user:7"] {
            ada.socket().tag(tag).unwrap();
        }
        bob.socket().tag("user:7").unwrap();
        let known = || {
            let connected = hub.streams().sockets().lock();
            (connected.by_tag.len(), connected.tags.len())
        };
        assert_eq!((hub.streams().sockets().tagged("user:7").len(), known()), (2, (2, 2)));
        drop(ada);
        assert_eq!(known(), (1, 1));
        assert_eq!(hub.close_tagged("user:7", "").await.unwrap(), 1);
        assert_eq!(known(), (0, 0));
        assert!(matches!(bob.socket().tag("user:7"), Err(TagError::Gone)));
        assert_eq!(known(), (0, 0));
    }
}
