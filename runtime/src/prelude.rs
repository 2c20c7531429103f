//! What most controllers need: `use catamaran::prelude::*;`.

pub use crate::{App, Ctx, Http, Hub, RequestSocket, Socket, action, actions, controller, routes};
