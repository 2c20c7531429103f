//! The sockets of this node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{environment::HashMap, subscriber::Subscriber};

/// How many tags a socket may have.
const MAX_TAGS: usize = 16;
/// How many bytes each may have.
const MAX_TAG_BYTES: usize = 256;

/// Why a socket could not be tagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// The socket is gone, or is closed by this, since its tag was closed after its connection began.
    #[error("the socket is gone")]
    Gone,
    /// It has so many tags already.
    #[error("a socket has at most {0} tags")]
    TooMany(usize),
    /// The tag has more bytes than this.
    #[error("a tag has at most {0} bytes")]
    TooLong(usize),
}

/// Who is connected.
#[derive(Debug, Default)]
pub struct Subscribers(Mutex<Connected>);

#[derive(Debug, Default)]
struct Connected {
    by_id: HashMap<String, Subscriber>,
    /// The socket of each client that said who it is.
    by_client: HashMap<Arc<str>, Subscriber>,
    /// By tag and id, those too that are about to be let in.
    by_tag: HashMap<Arc<str>, HashMap<String, Subscriber>>,
    /// The tags of each socket that has any.
    tags: HashMap<String, Vec<Arc<str>>>,
}

/// The client of a socket has made a newer connection.
pub(super) struct Outdated;

impl Connected {
    fn has_newer(&self, subscriber: &Subscriber) -> bool {
        subscriber
            .client()
            .and_then(|client| self.by_client.get(client))
            .is_some_and(|other| other.is_newer_than(subscriber))
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

impl Subscribers {
    /// A socket is let in, and takes the destination of the one that its client had before, unless that one is the newer.
    pub(super) fn connect(&self, subscriber: &Subscriber) -> Result<Option<Subscriber>, Outdated> {
        let mut connected = self.lock();
        if connected.has_newer(subscriber) {
            return Err(Outdated);
        }
        connected.by_id.insert(subscriber.id().to_owned(), subscriber.clone());
        Ok(subscriber.client().and_then(|client| connected.by_client.insert(client.clone(), subscriber.clone())))
    }

    /// Returns whether the client of a socket has made a newer connection.
    pub fn has_newer(&self, subscriber: &Subscriber) -> bool {
        self.lock().has_newer(subscriber)
    }

    pub(super) fn disconnect(&self, subscriber: &Subscriber) {
        let mut connected = self.lock();
        connected.by_id.remove(subscriber.id());
        connected.forget_tags(subscriber.id());
        if let Some(client) = subscriber.client()
            && connected.by_client.get(client).is_some_and(|current| current.id() == subscriber.id())
        {
            connected.by_client.remove(client);
        }
    }

    /// Marks a socket until it is gone.
    pub(super) fn tag(&self, subscriber: &Subscriber, tag: &str) -> Result<(), TagError> {
        if tag.len() > MAX_TAG_BYTES {
            return Err(TagError::TooLong(MAX_TAG_BYTES));
        }
        let mut connected = self.lock();
        // `disconnect` runs after the socket was marked as gone, so it finds what was added before.
        if subscriber.is_gone() {
            return Err(TagError::Gone);
        }
        let tags = connected.tags.entry(subscriber.id().to_owned()).or_default();
        if tags.iter().any(|had| **had == *tag) {
            return Ok(());
        }
        if tags.len() >= MAX_TAGS {
            return Err(TagError::TooMany(MAX_TAGS));
        }
        let tag: Arc<str> = tag.into();
        tags.push(tag.clone());
        connected.by_tag.entry(tag).or_default().insert(subscriber.id().to_owned(), subscriber.clone());
        Ok(())
    }

    pub(super) fn tagged(&self, tag: &str) -> Vec<Subscriber> {
        self.lock().by_tag.get(tag).into_iter().flat_map(HashMap::values).cloned().collect()
    }

    /// Returns the socket with this id.
    pub fn get(&self, id: &str) -> Option<Subscriber> {
        self.lock().by_id.get(id).cloned()
    }

    /// Lists all sockets.
    pub fn all(&self) -> Vec<Subscriber> {
        self.lock().by_id.values().cloned().collect()
    }

    /// Lists the sockets of clients that understand positions.
    pub fn clients(&self) -> Vec<Subscriber> {
        self.lock().by_client.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Hub, TestSocket};

    #[tokio::test]
    async fn tags_past_their_limits_are_refused() {
        let hub = Hub::default();
        let ada = TestSocket::new(&hub);
        let too_long = ada.tag("x".repeat(100_000)).unwrap_err();
        assert!(matches!(too_long, TagError::TooLong(256)) && too_long.to_string().contains("256 bytes"));
        assert!(hub.registry().sockets().lock().tags.is_empty());
        for n in 0..MAX_TAGS {
            ada.tag(format!("{n:0>256}")).unwrap();
        }
        assert!(matches!(ada.tag("one more"), Err(TagError::TooMany(MAX_TAGS))));
        let connected = hub.registry().sockets().lock();
        let bytes: usize = connected.by_tag.keys().map(|tag| tag.len()).sum();
        assert_eq!((bytes, connected.by_tag.len()), (MAX_TAGS * MAX_TAG_BYTES, MAX_TAGS));
    }

    #[tokio::test]
    async fn tags_are_forgotten_with_their_sockets() {
        let hub = Hub::default();
        let (ada, bob) = (TestSocket::new(&hub), TestSocket::new(&hub));
        for tag in ["user:7", "session:a", "user:7"] {
            ada.tag(tag).unwrap();
        }
        bob.tag("user:7").unwrap();
        let known = || {
            let connected = hub.registry().sockets().lock();
            (connected.by_tag.len(), connected.tags.len())
        };
        assert_eq!((hub.registry().sockets().tagged("user:7").len(), known()), (2, (2, 2)));
        drop(ada);
        assert_eq!(known(), (1, 1));
        assert_eq!(hub.close_tagged("user:7", "").await.unwrap(), 1);
        assert_eq!(known(), (0, 0));
        assert!(matches!(bob.tag("user:7"), Err(TagError::Gone)));
        assert_eq!(known(), (0, 0));
    }
}
