//! The socket that a request came over, as an action sees it.

use std::{fmt, sync::Arc};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
};
use socketioxide::socket::Socket;

use catamaran_pubsub::{Subscriber, Subscriptions};

use super::SocketSubscriber;
use crate::{Error, Hub, Reach};

/// The socket that a request came over.
///
/// An action gets it from its context, `ctx.socket()`, and any task by its id, [`Hub::socket`].
///
/// It is an extractor too. `RequestSocket` refuses a request that came over HTTP with 426, so an action that takes it answers
/// sockets only. `Option<RequestSocket>` takes both.
#[derive(Clone)]
pub struct RequestSocket {
    subscriber: SocketSubscriber,
    hub: Hub,
    subscriptions: Arc<Subscriptions>,
    handshake: Handshake,
}

/// The request that opened a socket's connection.
#[derive(Clone)]
pub(crate) enum Handshake {
    Of(Arc<Socket>),
    /// Of a socket that is gone, or a test's.
    Kept(Arc<Parts>),
}

impl RequestSocket {
    pub(crate) fn of_request(
        socket: Arc<Socket>,
        subscriber: SocketSubscriber,
        hub: Hub,
        subscriptions: Arc<Subscriptions>,
    ) -> Self {
        Self { subscriber, hub, subscriptions, handshake: Handshake::Of(socket) }
    }

    /// A socket outside any request of its: each subscription is live at once.
    pub(crate) fn outside_request(handshake: Handshake, subscriber: SocketSubscriber, hub: Hub) -> Self {
        Self { subscriber, hub, subscriptions: Arc::new(Subscriptions::at_once()), handshake }
    }

    /// Returns the id of the socket, new at each connect.
    ///
    /// It is public: no request is accepted by it. Clients of Socket.IO 3 and later show the same as `socket.id`. A client of
    /// Engine.IO 3 shows the secret id of its session instead where that began by long-polling.
    pub fn id(&self) -> &str {
        self.subscriber.id()
    }

    /// The request that opened the connection: its URL with the query, and all of its headers.
    pub fn handshake(&self) -> &Parts {
        match &self.handshake {
            Handshake::Of(socket) => socket.req_parts(),
            Handshake::Kept(parts) => parts,
        }
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(crate) fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    pub(crate) fn subscriber(&self) -> &Subscriber {
        self.subscriber.subscriber()
    }
}

impl fmt::Debug for RequestSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSocket").field("id", &self.id()).finish()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestSocket {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Hub::of_request(parts, "RequestSocket")?;
        parts.extensions.get().cloned().ok_or_else(|| Error::wrong_transport(Reach::Socket, None))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for RequestSocket {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        Hub::of_request(parts, "Option<RequestSocket>")?;
        Ok(parts.extensions.get().cloned())
    }
}
