//! The socket that a request came over, as an action sees it.

use std::{fmt, sync::Arc};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
};
use socketioxide::socket::Socket;

use super::dispatch::Connection;
use crate::{Error, Reach};

/// The socket that a request came over.
///
/// An action gets it from its context, `ctx.socket()`. It is an extractor too, for axum handlers: `RequestSocket`
/// refuses a request that came over HTTP, `Option<RequestSocket>` takes both.
#[derive(Clone)]
pub struct RequestSocket {
    socket: Arc<Socket>,
    _connection: Arc<Connection>,
}

impl RequestSocket {
    pub(crate) fn new(socket: Arc<Socket>, connection: Arc<Connection>) -> Self {
        Self { socket, _connection: connection }
    }

    /// The id of the socket, new at each connect. It is no secret and no proof of anything.
    pub fn id(&self) -> &str {
        self.socket.id.as_str()
    }

    /// The request that opened the connection: its URL with the query, and all of its headers.
    pub fn handshake(&self) -> &Parts {
        self.socket.req_parts()
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
        parts.extensions.get().cloned().ok_or_else(|| Error::wrong_transport(Reach::Socket, None))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for RequestSocket {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}
