//! What most controllers need: `use catamaran::prelude::*;`.

pub use catamaran_macros::Event;

pub use crate::{App, Ctx, Http, Hub, Params, Socket, action, actions, channel, controller, routes};
