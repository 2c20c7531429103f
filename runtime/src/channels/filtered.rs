//! Channels of which not everybody may see the same: those of `catamaran-resources`.

use catamaran_pubsub::{Excluded, FILTERED, History, Target};

use crate::Socket;

/// A channel behind gates. Its name is no name of an application's channel.
#[derive(Clone, Debug)]
pub struct Gated {
    pub(super) target: Target,
}

impl Gated {
    /// The channel of this name.
    pub fn new(name: &str, history: History) -> Self {
        let stream = format!("{FILTERED}{name}").into();
        Self { target: Target { channel: name.into(), stream, history, shape: None } }
    }
}

/// A socket that is left out, and its client's next ones, in a form that outlives it.
pub type Except = Excluded;

/// Leaves out the socket of a request.
pub fn except(socket: &Socket) -> Except {
    socket.subscriber().excluded()
}
