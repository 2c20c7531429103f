//! Write an action once; it answers over HTTP and over Socket.IO.

mod action;
mod app;
mod controller;
mod ctx;
mod endpoint;
mod error;
mod extract;
mod finish;
mod hub;
pub mod prelude;
mod route;
mod server;
mod socket;
pub mod test;

pub use action::{Action, NoState};
pub use app::App;
pub use catamaran_macros::{action, actions, controller, routes};
pub use controller::{Controller, Table};
pub use ctx::{Any, Ctx, Http, Socket};
pub use error::{Error, Result, ServeError};
pub use extract::Params;
pub use hub::{Channel, EncodeError, Event, Hub, SubscribeError, Untyped, UntypedEvent};
pub use route::{Method, Reach, Route};
pub use socket::RequestSocket;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
