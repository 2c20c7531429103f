//! Channels, and the events that travel on them.

mod channel;
mod event;

pub use channel::{Channel, Untyped, name};
pub use event::{Arguments, Event, arguments};
