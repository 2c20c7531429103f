//! What most controllers need: `use catamaran::prelude::*;`.

pub use crate::{App, Ctx, Http, RequestSocket, Socket, action, actions, controller, routes};
