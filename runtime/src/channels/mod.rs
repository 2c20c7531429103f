//! Channels as an application sees them: by type, through its hub and its sockets. The engine behind them is `catamaran-pubsub`.

mod channel;
mod errors;
mod event;
mod expiry;
mod filtered;
mod hub;
mod names;
mod publish;
mod subscribe;

#[cfg(feature = "postgres")]
pub use catamaran_pubsub::Postgres;
#[cfg(feature = "redis")]
pub use catamaran_pubsub::Redis;
pub use catamaran_pubsub::{Backend, EncodedEvent, EventFilter, FilterInput, History, PublishOutcome, Recovery};
pub use channel::{Channel, RawChannel, RawEvent, escape};
pub use errors::{MembersError, PublishError, SendError, SubscribeError, TagError, UnreachedServers};
pub use event::{EncodeError, Event, message};
pub use expiry::AuthExpiry;
pub use filtered::{Except, Gated, except};
pub use hub::{Hub, HubFuture};
pub use names::ChannelConflict;
pub use publish::{Blast, Publish};
