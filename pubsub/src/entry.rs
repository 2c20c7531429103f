//! What is published: one entry, however many channels it goes to, with a copy in each.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{event::EncodedEvent, history::History, position::Position};

/// The name of a hub among those that a broker joins, made anew by each process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Node(pub(crate) u64);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where an event goes, or a subscription: a channel, its stream, and how much of that is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// The name of the channel.
    #[serde(with = "text")]
    pub channel: Arc<str>,
    /// The stream that counts its events.
    #[serde(with = "text")]
    pub stream: Arc<str>,
    /// How much is kept of them.
    pub history: History,
    /// That of the channel's type; none if that may be any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
}

/// A shared text as JSON; serde does so itself only by a feature.
mod text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        Ok(String::deserialize(deserializer)?.into())
    }
}

/// What tells the types of channel of two servers apart: a number that both make of the type's pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub u32);

impl Target {
    /// Whether it is of another type of channel than a subscription of this shape.
    pub(super) fn is_foreign_to(&self, shape: Option<Shape>) -> bool {
        self.shape.zip(shape).is_some_and(|(this, other)| this != other)
    }
}

/// What tells an entry from every other: the hub that made it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    pub(crate) node: Node,
    pub(crate) number: u64,
}

/// One published event.
#[derive(Debug)]
pub(crate) struct PublishedEvent {
    pub(crate) id: Id,
    pub(crate) message: EncodedEvent,
    /// Who does not get it.
    pub(crate) except: Vec<Excluded>,
    pub(crate) destinations: Vec<Destination>,
    /// When it was published.
    pub(crate) at: SystemTime,
}

impl PublishedEvent {
    pub(crate) fn leaves_out(&self, subscriber: &Identity) -> bool {
        self.except.iter().any(|excluded| excluded.is(subscriber))
    }
}

/// A channel that an entry goes to.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) target: Target,
    /// The broker gives it; none if nobody is attached to the stream.
    pub(crate) position: Option<Position>,
}

/// An entry in one of its channels.
#[derive(Clone, Debug)]
pub(crate) struct StreamEntry {
    pub(crate) entry: Arc<PublishedEvent>,
    pub(crate) destination: usize,
    /// The entry was published once more: it is counted, and nobody gets it.
    pub(crate) repeated: bool,
}

impl StreamEntry {
    pub(crate) fn of(entry: Arc<PublishedEvent>, destination: usize) -> Self {
        Self { entry, destination, repeated: false }
    }

    pub(crate) fn leaves_out(&self, subscriber: &Identity) -> bool {
        self.repeated || self.entry.leaves_out(subscriber)
    }

    pub(crate) fn target(&self) -> &Target {
        &self.entry.destinations[self.destination].target
    }

    pub(crate) fn channel(&self) -> &Arc<str> {
        &self.target().channel
    }

    pub(crate) fn position(&self) -> Option<&Position> {
        self.entry.destinations[self.destination].position.as_ref()
    }

    /// The offset; 0 for what nobody counted.
    pub(crate) fn offset(&self) -> u64 {
        self.position().map_or(0, |position| position.offset)
    }
}

/// A socket that an entry leaves out, and its client's next ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    pub(crate) socket: String,
    pub(crate) client: Option<Alias>,
}

/// Who a subscriber is: the id of its socket, and the secret of its client if that understands positions.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) client: Option<Arc<str>>,
    /// The name of the client for others; made when it is first needed.
    alias: OnceLock<Alias>,
}

impl Identity {
    pub(crate) fn new(id: String, client: Option<Arc<str>>) -> Self {
        Self { id, client, alias: OnceLock::new() }
    }

    pub(crate) fn alias(&self) -> Option<Alias> {
        let client = self.client.as_ref()?;
        Some(*self.alias.get_or_init(|| Alias::of(client)))
    }
}

/// A name for a client by which nobody can take its destination: entries are kept in other hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Alias(pub(crate) u64);

impl Alias {
    /// Half of a digest: too little to find the secret, enough to tell two clients apart.
    pub(crate) fn of(secret: &str) -> Self {
        let digest = Sha256::digest(secret);
        Self(digest.iter().take(8).fold(0, |alias, byte| alias << 8 | u64::from(*byte)))
    }
}

impl Excluded {
    pub(crate) fn of(subscriber: &Identity) -> Self {
        Self { socket: subscriber.id.clone(), client: subscriber.alias() }
    }

    pub(crate) fn is(&self, subscriber: &Identity) -> bool {
        self.socket == subscriber.id || (self.client.is_some() && self.client == subscriber.alias())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_left_out_on_its_next_connection_too() {
        let identity = |id: &str, client: Option<&str>| Identity::new(id.to_owned(), client.map(Arc::from));
        let is = |a: Identity, b: Identity| Excluded::of(&a).is(&b);
        assert!(is(identity("1", Some("a")), identity("2", Some("a"))));
        assert!(!is(identity("1", Some("a")), identity("2", Some("b"))));
        assert!(is(identity("1", None), identity("1", None)));
        assert!(!is(identity("1", None), identity("2", None)));
    }
}
