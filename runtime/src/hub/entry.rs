//! What is published: one entry, however many channels it goes to, with a copy in each.

use std::{fmt, sync::Arc, time::SystemTime};

use sha2::{Digest, Sha256};

use super::{channel::Channel, cluster::RESERVED, history::History, message::Message, names::Shape, peer::Peer};

/// The name of a hub among those that a bus joins, made anew by each process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Node(pub(crate) u64);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A place in a stream: after the entry `offset` of the count named `epoch`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) epoch: Arc<str>,
    pub(crate) offset: u64,
}

/// Where an event goes, or a subscription: a channel, its stream, and how much of that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) channel: Arc<str>,
    pub(crate) stream: Arc<str>,
    pub(crate) history: History,
    /// That of the channel's type; none if that may be any.
    pub(crate) shape: Option<Shape>,
}

impl Target {
    pub(crate) fn of<C: Channel + ?Sized>(channel: &C) -> Self {
        let name: Arc<str> = channel.name().into();
        let stream = match C::STREAM {
            Some(stream) => format!("stream:{stream}").into(),
            None if name.starts_with(RESERVED) => format!("stream:{name}").into(),
            None => name.clone(),
        };
        Self { channel: name, stream, history: C::HISTORY, shape: Shape::of::<C>() }
    }

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
pub(crate) struct Entry {
    pub(crate) id: Id,
    pub(crate) message: Message,
    /// Who does not get it.
    pub(crate) except: Vec<Excluded>,
    pub(crate) places: Vec<Place>,
    /// When it was published.
    pub(crate) at: SystemTime,
}

impl Entry {
    pub(crate) fn leaves_out(&self, peer: &Peer) -> bool {
        self.except.iter().any(|excluded| excluded.is(peer))
    }
}

/// A channel that an entry goes to.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) target: Target,
    /// The bus gives it; none if nobody is attached to the stream.
    pub(crate) position: Option<Position>,
}

/// An entry in one of its channels.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) entry: Arc<Entry>,
    pub(crate) place: usize,
    /// The entry was published once more: it is counted, and nobody gets it.
    pub(crate) repeated: bool,
}

impl Copy {
    pub(crate) fn of(entry: Arc<Entry>, place: usize) -> Self {
        Self { entry, place, repeated: false }
    }

    pub(crate) fn leaves_out(&self, peer: &Peer) -> bool {
        self.repeated || self.entry.leaves_out(peer)
    }

    pub(crate) fn target(&self) -> &Target {
        &self.entry.places[self.place].target
    }

    pub(crate) fn channel(&self) -> &Arc<str> {
        &self.target().channel
    }

    pub(crate) fn position(&self) -> Option<&Position> {
        self.entry.places[self.place].position.as_ref()
    }

    /// The offset; 0 for what nobody counted.
    pub(crate) fn offset(&self) -> u64 {
        self.position().map_or(0, |position| position.offset)
    }
}

/// A socket that an entry leaves out, and its client's next ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excluded {
    pub(crate) socket: String,
    pub(crate) client: Option<Alias>,
}

/// A name for a client by which nobody can take its place: entries are kept in other hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alias(pub(crate) u64);

impl Alias {
    /// Half of a digest: too little to find the secret, enough to tell two clients apart.
    pub(crate) fn of(secret: &str) -> Self {
        let digest = Sha256::digest(secret);
        Self(digest.iter().take(8).fold(0, |alias, byte| alias << 8 | u64::from(*byte)))
    }
}

impl Excluded {
    pub(crate) fn of(peer: &Peer) -> Self {
        Self { socket: peer.id().to_owned(), client: peer.alias() }
    }

    pub(crate) fn is(&self, peer: &Peer) -> bool {
        self.socket == peer.id() || (self.client.is_some() && self.client == peer.alias())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_client_is_left_out_on_its_next_connection_too() {
        let peer = |id: &str, client: Option<&str>| Peer::of_test(id, client).0;
        let is = |a: Peer, b: Peer| Excluded::of(&a).is(&b);
        assert!(is(peer("1", Some("a")), peer("2", Some("a"))));
        assert!(!is(peer("1", Some("a")), peer("2", Some("b"))));
        assert!(is(peer("1", None), peer("1", None)));
        assert!(!is(peer("1", None), peer("2", None)));
    }
}
