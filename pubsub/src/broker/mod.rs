//! What joins the hubs of an application's servers: it counts what is published, and brings it to every hub.
//!
//! A broker tells its hub what happens through a [`BrokerEvents`](crate::BrokerEvents). It may do so late, twice or in any order: the
//! hub puts it in order.

#[cfg_attr(not(any(test, feature = "postgres", feature = "redis")), expect(dead_code, reason = "memory needs no text"))]
mod encoding;
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod mock;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod records;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(all(test, feature = "postgres", feature = "redis"))]
pub(crate) mod servers;

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, ready};
use records::RecordStore;

use crate::{
    entry::{Node, PublishedEvent, StreamEntry},
    position::Position,
};

/// Where the servers of an application meet: Redis or Postgres, for `App::broker`.
pub struct Backend(Start);

/// Begins to connect, or says which setting makes no sense.
type Start = Box<dyn FnOnce(BrokerEvents) -> Result<Arc<dyn Broker>, String> + Send>;

impl Backend {
    pub(crate) fn start(self, flow: BrokerEvents) -> Result<Arc<dyn Broker>, String> {
        self.0(flow)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

/// The way from a broker to its hub, which may be gone.
#[derive(Clone)]
pub(crate) struct BrokerEvents {
    /// The name of the hub.
    pub(crate) node: Node,
    on_event: Arc<dyn Fn(BrokerEvent<'_>) + Send + Sync>,
}

/// What happened at a broker.
#[derive(Debug)]
pub(crate) enum BrokerEvent<'a> {
    /// An entry came, perhaps not for the first time.
    Entry(StreamEntry),
    /// Entries of this stream were lost on their way, or it has a new epoch.
    Lost(&'a str),
    /// The broker cannot be reached.
    Down,
    /// The broker can be reached again, and may have lost anything meanwhile.
    Up,
}

impl BrokerEvents {
    /// The way to a hub that does this about each event.
    pub(crate) fn new(node: Node, on_event: impl Fn(BrokerEvent<'_>) + Send + Sync + 'static) -> Self {
        Self { node, on_event: Arc::new(on_event) }
    }

    pub(crate) fn entry(&self, copy: StreamEntry) {
        (self.on_event)(BrokerEvent::Entry(copy));
    }
}

#[cfg_attr(
    not(any(test, feature = "postgres", feature = "redis")),
    expect(dead_code, reason = "only a broker between servers loses anything")
)]
impl BrokerEvents {
    pub(crate) fn lost(&self, stream: &str) {
        (self.on_event)(BrokerEvent::Lost(stream));
    }

    pub(crate) fn down(&self) {
        (self.on_event)(BrokerEvent::Down);
    }

    pub(crate) fn up(&self) {
        (self.on_event)(BrokerEvent::Up);
    }
}

impl fmt::Debug for BrokerEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerEvents").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The way from a hub to the hubs of all servers, its own included.
pub(crate) trait Broker: fmt::Debug + Send + Sync {
    /// Brings what is published to a stream from now on, and says where the stream stands since.
    ///
    /// `known` is what this hub has applied. The stream takes a new epoch if it stands before that, or if this hub
    /// delivered on its own meanwhile, as `turn` says. With a `known` of another epoch somebody did so already. All other
    /// hubs that are attached hear of a new epoch by [`BrokerEvents::lost`](crate::BrokerEvents::lost).
    fn attach<'a>(
        &'a self,
        stream: &'a Arc<str>,
        known: Option<Position>,
        turn: bool,
    ) -> BoxFuture<'a, Result<Attached, Down>>;

    /// What is kept after a position.
    fn read<'a>(&'a self, stream: &'a Arc<str>, after: &'a Position) -> BoxFuture<'a, Read>;

    /// Counts an entry on all of its streams at once, so that each copy knows the positions of the others.
    fn publish(&self, entry: PublishedEvent) -> BoxFuture<'_, Sent>;

    /// Brings no more of a stream.
    fn detach(&self, stream: &Arc<str>);

    /// The other hubs that have shown life lately, as it is now: whoever joined before this was asked is among them.
    fn others(&self) -> BoxFuture<'_, Result<Vec<Node>, Down>>;

    /// Tells the other hubs that this one ends, so that none of them waits for it. Nothing is asked of the broker afterwards.
    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }

    /// How long a stream stays attached when nobody is subscribed any more; without a limit, as long as there is room.
    fn linger(&self) -> Option<Duration>;

    /// The keyed records of all servers.
    fn records(&self) -> &dyn RecordStore;
}

/// Where a stream stands.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    pub(crate) top: Position,
    /// The offset before the oldest entry that can be read.
    pub(crate) floor: u64,
}

/// The broker cannot be reached; it says by [`BrokerEvents::up`](crate::BrokerEvents::up) when it can.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Down;

/// What a broker has kept.
#[cfg_attr(
    not(any(test, feature = "postgres", feature = "redis")),
    expect(dead_code, reason = "memory keeps nothing, the hub does")
)]
#[derive(Debug)]
pub(crate) enum Read {
    /// All that follows the position.
    Entries(Vec<StreamEntry>),
    /// Some of it is no longer kept, or never was.
    Gone,
    /// The broker cannot be reached.
    Down,
}

/// What became of an entry.
#[cfg_attr(
    not(any(test, feature = "postgres", feature = "redis")),
    expect(dead_code, reason = "memory is always there")
)]
#[derive(Debug)]
pub(crate) enum Sent {
    /// It has its positions, where somebody is attached, and comes by the flow or has come.
    Counted(Arc<PublishedEvent>),
    /// It did not reach the broker.
    Not(PublishedEvent),
    /// It may have reached the broker, and comes by the flow if it did.
    Unknown,
}
