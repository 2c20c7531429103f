//! Write an action once; it answers over HTTP and over Socket.IO.

mod app;
mod channels;
mod error;
mod extract;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[allow(missing_docs, unreachable_pub)]
pub mod fuzz;
mod http;
mod logged;
pub mod metrics;
pub mod prelude;
mod routing;
mod socketio;
pub mod test;

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
    AuthExpiry, Backend, Blast, Channel, ChannelConflict, EncodeError, Event, History, Hub, HubFuture, MembersError,
    Publish, PublishError, PublishOutcome, RawChannel, RawEvent, Recovery, SendError, SubscribeError, TagError,
    UnreachedServers,
};
pub use error::{Error, Result, ServeError};
pub use extract::{Ctx, Http, Params, Via};
pub use http::{ClientAddr, Origins};
#[cfg(feature = "rate-limit")]
pub use http::{RateLimit, RateLimited};
pub use routing::{Action, Controller, Method, NoState, Route, Table, Transports};
pub use socketio::{Any, PacketHeaders, Socket};
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
