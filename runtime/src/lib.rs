//! Write an action once; it answers over HTTP and over Socket.IO.

mod action;
mod app;
mod channels;
mod client;
mod controller;
mod ctx;
mod endpoint;
mod error;
mod finish;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[allow(missing_docs, unreachable_pub)]
pub mod fuzz;
mod logged;
pub mod metrics;
mod params;
mod policy;
pub mod prelude;
#[cfg(feature = "rate-limit")]
mod rate_limit;
mod route;
mod server;
mod socket;
pub mod test;

pub use action::{Action, NoState};
pub use app::App;
/// Joins the servers of an application by Postgres.
///
/// ```no_run
/// use catamaran::{Postgres, prelude::*};
/// # #[action(get "/hello")]
/// # async fn hello() -> &'static str { "hello" }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), catamaran::ServeError> {
/// let database = Postgres::connect("postgres://me:secret@db.internal/app");
/// App::new(()).broker(database).mount(routes![hello]).serve("127.0.0.1:1337").await
/// # }
/// ```
#[cfg(feature = "postgres")]
#[doc(inline)]
pub use channels::Postgres;
/// Joins the servers of an application by Redis or Valkey.
///
/// ```
/// use catamaran::{App, Redis};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let app = App::new(()).broker(Redis::connect("redis://:password@redis.example:6379").prefix("shop"));
/// # }
/// ```
#[cfg(feature = "redis")]
#[doc(inline)]
pub use channels::Redis;
pub use channels::{
    AuthExpiry, Backend, Blast, Blasting, Channel, ChannelConflict, Channels, Emitting, EncodeError, Event, Everywhere,
    Finding, History, Hub, Listing, MembersError, Moving, Publish, PublishError, PublishOutcome, Publishing,
    RawChannel, RawEvent, Recovery, SendError, SubscribeError, Subscribing, TagError, UnreachedServers,
};
pub use controller::{Controller, Table};
pub use ctx::{Ctx, Http, Via};
pub use error::{Error, Result, ServeError};
pub use params::Params;
#[cfg(feature = "rate-limit")]
pub use rate_limit::{RateLimit, RateLimited};
pub use route::{Method, Reach, Route};
pub use server::{ClientAddr, Origins};
pub use socket::{Any, PacketHeaders, Socket};
pub use socketioxide::TransportType;

// The macros are documented here and not in their own crate, so that their examples compile.
#[doc = include_str!("docs/event.md")]
pub use catamaran_macros::Event;
#[doc = include_str!("docs/action.md")]
pub use catamaran_macros::action;
#[doc = include_str!("docs/actions.md")]
pub use catamaran_macros::actions;
#[doc = include_str!("docs/channel.md")]
pub use catamaran_macros::channel;
#[doc = include_str!("docs/controller.md")]
pub use catamaran_macros::controller;
#[doc = include_str!("docs/routes.md")]
pub use catamaran_macros::routes;

/// What `catamaran-resources` needs beside the public types; it changes without notice.
#[doc(hidden)]
pub mod __resources {
    pub use crate::channels::{EncodedEvent, EventFilter, Except, FilterInput, Gated, except};
}

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
