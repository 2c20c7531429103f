//! The socket side, in the order a packet travels: incoming → connect → queue → dispatch → envelope → virtual request → router → ack.
//!
//! Nothing outside this module names socketioxide, but for `App`, which hands it out.

mod ack;
mod backlog;
mod connect;
mod connection;
mod cookies;
mod deliver;
mod dispatch;
mod envelope;
mod expiry;
mod frame;
mod handle;
mod incoming;
mod message_rate;
mod outlet;
mod packet_headers;
mod queue;
mod request;
mod rooms;

use std::sync::Arc;

use axum::http::Method;
pub(crate) use backlog::SURE_PACKETS;
use connect::Entrance;
pub(crate) use connect::{Attached, Hooks};
use connection::Connection;
pub(crate) use connection::{ConnectLimits, SocketRouter};
pub(crate) use expiry::Lifetimes;
pub(crate) use handle::Handshake;
pub use handle::Socket;
pub(crate) use incoming::{HEAD, Head, Reader, head};
pub(crate) use outlet::SocketSubscriber;
pub(crate) use packet_headers::HeaderRules;
pub use packet_headers::{Any, PacketHeaders};
use socketioxide::{SocketIo, socket::Sid};
use tokio::time::Instant;
#[cfg(any(test, fuzzing))]
pub(crate) use {
    envelope::ConnectPayload,
    request::{lasting_headers, virtual_request},
};

/// The events that are requests; every other event is the application's, or ignored.
const VERBS: [(&str, Method); 7] = [
    ("get", Method::GET),
    ("post", Method::POST),
    ("put", Method::PUT),
    ("patch", Method::PATCH),
    ("delete", Method::DELETE),
    ("head", Method::HEAD),
    ("options", Method::OPTIONS),
];

/// Makes a value of 192 random bits, which nobody can guess.
pub(crate) fn secret() -> String {
    format!("{}{}", Sid::new(), Sid::new())
}

/// Lets sockets into the namespace `/`, and answers their requests, as long as nobody else takes the namespace.
pub(crate) fn attach(io: &SocketIo, dispatcher: Arc<SocketRouter>) -> Attached {
    let (entrance, attached) = Entrance::new(dispatcher);
    io.ns("/", entrance);
    attached
}

/// The sockets of a server that is about to close; afterwards socketioxide tells nobody that they are gone.
pub(crate) struct Leaving(Vec<Arc<Connection>>);

impl Leaving {
    pub(crate) fn of(io: &SocketIo) -> Self {
        let sockets = io.of("/").map(|namespace| namespace.sockets()).unwrap_or_default();
        Self(sockets.iter().filter_map(|socket| connect::connection(socket)).collect())
    }

    /// Ends those sockets, and waits until the application has handled that.
    pub(crate) async fn finish(self, dispatcher: &SocketRouter, deadline: Instant) {
        self.0.iter().for_each(|connection| connection.close());
        dispatcher.hooks.finish(deadline).await;
    }
}
