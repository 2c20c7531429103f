//! The channel engine of catamaran: what is published to a channel reaches each of its subscribers once and in order, over one
//! server or several, or the subscriber is told of a gap.
//!
//! The crate knows neither HTTP nor Socket.IO. It moves events that are encoded already, says what happened to a subscriber
//! through the trait [`Outlet`], and reaches other servers through a broker: [`Redis`], [`Postgres`], or memory for a single
//! server. Applications use it through the crate `catamaran`.
//!
//! The modules, from the bottom up; each knows only those above it in this list:
//!
//! | module | |
//! |---|---|
//! | `environment` | the wall clock, random names and the order of maps, which a simulation replaces |
//! | `history`, `position`, `event`, `metrics`, `moment`, `task` | how much is kept, where an entry stands, an encoded event, what is counted, what came first, tasks that survive a panic |
//! | `entry` | a published event, its destinations, and its entry in one stream |
//! | `delivery`, `sent`, `subscriber` | what happened to a subscriber, what it was sent already, and the way to it |
//! | `applied`, `gate`, `log`, `readers` | who waits for an entry, filters, the retained entries of a stream, and how far back each client may read |
//! | `broker` | the trait between the servers of an application, and its implementations |
//! | `expiry`, `stream`, `held`, `live` | one stream, its pending and active subscriptions, and their ends |
//! | `closings`, `sockets`, `streams`, `flow` | the closings of late, all subscribers and streams of a server, and how streams recover from holes and outages |
//! | `subscription` | the subscriptions of one request |
//! | `command`, `cluster` | what is asked of all servers, and their answers |

mod applied;
mod broker;
mod closings;
mod cluster;
mod command;
mod delivery;
mod entry;
mod environment;
mod event;
mod expiry;
mod flow;
mod gate;
mod held;
mod history;
mod live;
mod log;
mod metrics;
mod moment;
mod position;
mod readers;
mod sent;
#[cfg(test)]
mod simulation;
mod sockets;
mod stream;
mod streams;
mod subscriber;
mod subscription;
mod task;
#[cfg(test)]
mod testing;

pub use broker::Backend;
#[cfg(feature = "postgres")]
pub use broker::Postgres;
#[cfg(feature = "redis")]
pub use broker::Redis;
pub use cluster::{RESERVED, Unreached};
pub use command::{Answer, Command};
pub use delivery::{Delivery, GapReason, LeftReason, Replayed};
pub(crate) use entry::{Alias, Copy, Entry, Id, Node, Place};
pub use entry::{Excluded, Shape, Target};
pub(crate) use environment::RandomState;
pub use event::Message;
pub(crate) use flow::Flow;
pub use gate::{FILTERED, Gate, Passing};
pub use history::History;
pub use log::Outcome;
pub use metrics::{GAPS, RESUMED, describe as describe_metrics};
pub use position::Position;
pub use sent::{Received, Resume};
pub use sockets::{Sockets, TagError};
#[cfg(any(test, feature = "postgres", feature = "redis"))]
pub(crate) use streams::epoch;
pub(crate) use streams::epoch_of;
pub use streams::{MAX_CHANNEL_BYTES, MAX_SUBSCRIPTIONS, Published, Streams};
pub use subscriber::{Outlet, Subscriber};
pub use subscription::{Settled, SubscribeError, Subscriptions};
