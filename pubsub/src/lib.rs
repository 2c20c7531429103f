//! The channel engine of catamaran: what is published to a channel reaches each of its subscribers once and in order, over one
//! server or several, or the subscriber is told of a gap.
//!
//! The crate knows neither HTTP nor Socket.IO. It moves events that are encoded already, says what happened to a subscriber
//! through the trait [`Outlet`], and reaches other servers through a broker: [`Redis`], [`Postgres`], or memory for a single
//! server. Applications use it through the crate `catamaran`.
//!
//! The modules, from the bottom up. Those from `subscriber` on, without `filter`, `log`, `readers` and `applied`, still import each other
//! in a circle:
//!
//! | module | |
//! |---|---|
//! | `environment` | the wall clock, random names and the order of maps, which a simulation replaces |
//! | `history`, `position`, `event`, `metrics`, `moment`, `task` | how much is kept, where an entry stands, an encoded event, what is counted, what came first, tasks that survive a panic |
//! | `entry` | a published event, its destinations, and its entry in one stream |
//! | `delivery`, `sent`, `subscriber` | what happened to a subscriber, what it was sent already, and the way to it |
//! | `applied`, `filter`, `log`, `readers` | who waits for an entry, filters, the retained entries of a stream, and how far back each client may read |
//! | `broker` | the trait between the servers of an application, and its implementations |
//! | `expiry`, `stream`, `pending`, `active` | one stream, its pending and active subscriptions, and their ends |
//! | `closings`, `subscribers`, `registry`, `resync` | the closings of late, all subscribers and streams of a server, and how streams recover from holes and outages |
//! | `subscription` | the subscriptions of one request |
//! | `commands`, `cluster` | what is asked of all servers, and their answers |

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
mod log;
mod metrics;
mod moment;
mod names;
mod pending;
mod position;
mod readers;
mod registry;
mod resync;
mod sent;
#[cfg(test)]
mod simulation;
mod stream;
mod subscriber;
mod subscribers;
mod subscription;
mod task;
#[cfg(test)]
mod testing;

pub use broker::Backend;
#[cfg(feature = "postgres")]
pub use broker::Postgres;
#[cfg(feature = "redis")]
pub use broker::Redis;
pub use cluster::UnreachedServers;
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
#[cfg(any(test, feature = "postgres", feature = "redis"))]
pub(crate) use position::epoch;
pub(crate) use position::epoch_of;
pub use registry::{MAX_CHANNEL_BYTES, MAX_SUBSCRIPTIONS, PublishOutcome, StreamRegistry};
pub(crate) use resync::BrokerEvents;
pub use sent::{Received, Resume};
pub use subscriber::{Outlet, Subscriber};
pub use subscribers::{Subscribers, TagError};
pub use subscription::{Settled, SubscribeError, Subscriptions};
