//! The socket that a request came over, as an action sees it.

use std::{fmt, sync::Arc};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
};
use socketioxide::socket::Socket as IoSocket;

use catamaran_pubsub::{Subscriber, Subscriptions};

use super::SocketSubscriber;
use crate::{Error, Hub, Transports};

/// The socket that a request came over.
///
/// An action gets it from its context, `ctx.socket()`, and any task by its id, [`Hub::socket`].
///
/// It is an extractor: `Socket` refuses a request over HTTP with 426, so an action that takes it answers sockets only.
/// `Option<Socket>` takes both. And it is the parameter of a [`Ctx<Socket>`](crate::Ctx), the context that has a socket.
///
/// ```
/// use catamaran::{App, Transports, prelude::*};
///
/// #[action(get "/id")]
/// async fn id(socket: Socket) -> String {
///     socket.id().to_owned()
/// }
///
/// let app = App::new(()).mount(routes![id]);
/// assert!(app.routes().all(|route| route.transports == Transports::Socket));
/// ```
#[derive(Clone)]
pub struct Socket {
    subscriber: SocketSubscriber,
    hub: Hub,
    subscriptions: Arc<Subscriptions>,
    handshake: Handshake,
}

/// The request that opened a socket's connection.
#[derive(Clone)]
pub(crate) enum Handshake {
    Of(Arc<IoSocket>),
    /// Of a socket that is gone, or a test's.
    Kept(Arc<Parts>),
}

impl Socket {
    pub(crate) fn of_request(
        socket: Arc<IoSocket>,
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

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("id", &self.id()).finish()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Socket {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Hub::of_request(parts, "Socket")?;
        parts.extensions.get().cloned().ok_or_else(|| Error::wrong_transport(Transports::Socket, None))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Socket {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        Hub::of_request(parts, "Option<Socket>")?;
        Ok(parts.extensions.get().cloned())
    }
}
