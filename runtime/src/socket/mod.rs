//! The socket side, in the order a packet travels: dispatch → envelope → virtual request → router → ack.
//!
//! Nothing outside this module and `hub/` names socketioxide, but for `App`, which hands it out.

mod ack;
mod cookies;
mod dispatch;
mod envelope;
mod request;
mod request_socket;

use std::{convert::Infallible, sync::Arc};

use axum::http::Method;
pub(crate) use dispatch::Dispatcher;
use dispatch::{Connection, Dispatch};
use envelope::Introduction;
pub(crate) use request_socket::Handshake;
pub use request_socket::RequestSocket;
use socketioxide::{
    SocketIo,
    adapter::LocalAdapter,
    handler::{ConnectHandler, FromConnectParts, Value},
    socket::Socket,
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

/// Answers the requests of every socket of the namespace `/`.
pub(crate) fn attach(io: &SocketIo, dispatcher: Arc<Dispatcher>) {
    // A connect handler runs after the client has been told that it is connected, so a request sent at once would meet
    // no handler and get no ack. A middleware runs before.
    let listen = move |Arriving { socket, introduction }: Arriving| {
        let connection = Arc::new(Connection::new(dispatcher.clone(), &socket, introduction));
        for (verb, method) in VERBS {
            socket.on(verb, Dispatch { method, connection: connection.clone() });
        }
        socket.on_disconnect(move || {
            connection.close();
            std::future::ready(())
        });
        std::future::ready(Ok::<(), Infallible>(()))
    };
    io.ns("/", (async || {}).with(listen));
}

/// A socket that is about to connect, and what our own client says of itself.
struct Arriving {
    socket: Arc<Socket>,
    introduction: Introduction,
}

impl FromConnectParts<LocalAdapter> for Arriving {
    type Error = Infallible;

    fn from_connect_parts(socket: &Arc<Socket>, payload: &Option<Value>) -> Result<Self, Infallible> {
        let introduction = payload.as_ref().and_then(Value::as_str).and_then(|payload| Introduction::parse(payload));
        Ok(Self { socket: socket.clone(), introduction: introduction.unwrap_or_default() })
    }
}
