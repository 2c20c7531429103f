//! The channel engine of catamaran: what is published to a channel reaches each of its subscribers once and in order, over one
//! server or several, or the subscriber is told of a gap.
//!
//! The crate knows neither HTTP nor Socket.IO. It moves events that are encoded already, says what happened to a subscriber
//! through the trait [`Outlet`], and reaches other servers through a broker: [`Redis`], [`Postgres`], or memory for a single
//! server. Applications use it through the crate `catamaran`.
//!
//! The modules, from the bottom up. Each imports from rows above its own alone, which a test reads from this table. The test also
//! finds circles between files, inside the folders of the broker too:
//!
//! | module | |
//! |---|---|
//! | `environment` | the wall clock, random names and the order of maps, which a simulation replaces |
//! | `sharded` | a map by name that many threads share |
//! | `event`, `history`, `metrics`, `moment`, `names`, `position`, `task` | an encoded event, how much is kept, what is counted, what came first, the names of streams that are the engine's own, where an entry stands, tasks that survive a panic |
//! | `entry` | a published event, its destinations, and its entry in one stream |
//! | `delivery`, `sent` | what happened to a subscriber, and what it was sent already |
//! | `subscriber` | one subscriber: the way to it, and the names of its channels |
//! | `applied`, `filter`, `log`, `readers` | who waits for an entry, filters, the retained entries of a stream, and how far back each client may read |
//! | `broker` | the trait between the servers of an application |
//! | `broker::encoding` | an entry between servers |
//! | `broker::memory`, `broker::postgres`, `broker::redis` | the brokers |
//! | `expiry` | what is done at a certain time |
//! | `active` | one active subscription |
//! | `members` | the active subscriptions of a channel, and which of them are sent entries together |
//! | `stream` | one stream: its log, its active subscriptions, and what is kept for those to come |
//! | `pending` | one pending subscription, and how it becomes active, ends and is renewed |
//! | `resync` | how a stream is attached, and recovers from holes and outages |
//! | `closings`, `known`, `subscribers` | the closings of late, the streams of a server by name, its subscribers |
//! | `registry` | one server: who subscribes and leaves, and whether the broker can be reached |
//! | `publish`, `sockets` | publishing, and connections that are let in, tagged and closed |
//! | `subscription` | the subscriptions of one request |
//! | `commands` | what one server asks of all, and what each does about it |
//! | `cluster` | the server among others: commands, their answers, and what the broker says |

mod active;
mod applied;
mod broker;
mod closings;
mod cluster;
mod commands;
mod delivery;
mod entry;
mod environment;
mod event;
mod expiry;
mod filter;
mod history;
mod known;
mod log;
mod members;
mod metrics;
mod moment;
mod names;
mod pending;
mod position;
mod publish;
mod readers;
mod registry;
mod resync;
mod sent;
mod sharded;
#[cfg(test)]
mod simulation;
mod sockets;
mod stream;
mod subscriber;
mod subscribers;
mod subscription;
mod task;
#[cfg(test)]
mod testing;

pub use broker::Backend;
pub(crate) use broker::BrokerEvents;
#[cfg(feature = "postgres")]
pub use broker::postgres::Postgres;
pub use broker::records::{
    FromStore, MAX_RECORD_HOLDER_BYTES, MAX_RECORD_KEY_BYTES, MAX_RECORD_PAGE, MAX_RECORD_TIME, MAX_RECORD_VALUE_BYTES,
    Record, RecordError, RecordFence, RecordOutcome, RecordPage, RecordTakeOver, RecordTerms, Records,
};
#[cfg(feature = "redis")]
pub use broker::redis::Redis;
pub use cluster::{Cluster, UnreachedServers};
pub use commands::{Answer, Command};
pub use delivery::{Delivery, GapReason, LeftReason, Replayed};
pub(crate) use entry::{Alias, Destination, Id, Node, PublishedEvent, StreamEntry};
pub use entry::{Excluded, Shape, Target};
pub(crate) use environment::RandomState;
pub use event::EncodedEvent;
pub use filter::{EventFilter, FilterInput};
pub use history::History;
pub use log::Recovery;
pub use metrics::{GAPS, RESUMED, describe as describe_metrics};
pub use names::{FILTERED, RESERVED};
pub use position::Position;
pub(crate) use position::{epoch, epoch_of};
pub use publish::PublishOutcome;
pub use registry::{MAX_CHANNEL_BYTES, MAX_SUBSCRIPTIONS, StreamRegistry};
pub use sent::{Received, Resume};
pub use subscriber::{Group, Outlet, Subscriber};
pub use subscribers::{Subscribers, TagError};
pub use subscription::{Settled, SubscribeError, Subscriptions};
