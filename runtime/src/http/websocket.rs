//! The connection of a websocket between its handshake and Engine.IO.
//!
//! engineioxide begins to move a session to a websocket with the answer to the handshake, and gives the session up if no
//! packet follows. So it is handed the connection only when a first byte has come: where a proxy lets handshakes pass and
//! nothing else, clients go on polling.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::http::Request;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::timeout,
};
use tower_service::Service;

use super::Session;

/// How long a client may take from the handshake to its first packet, when its session goes on over a websocket.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much is read at once of what comes first.
const FIRST: usize = 256;

/// Hands websockets to Engine.IO, each with the request that asked for it.
pub(super) struct Websockets(Box<dyn Fn(Websocket, Request<()>) -> BoxFuture<'static, ()> + Send + Sync>);

impl Websockets {
    pub(super) fn of<E>(engine: E) -> Self
    where
        E: Service<(Websocket, Request<()>), Response = ()> + Clone + Send + Sync + 'static,
        E::Future: Send,
        E::Error: Send,
    {
        Self(Box::new(move |websocket, request| {
            let mut engine = engine.clone();
            Box::pin(async move {
                // What it cannot read of the request was refused before.
                let _ = engine.call((websocket, request)).await;
            })
        }))
    }

    /// Waits for a connection, and for what its client sends first in a session that it has.
    pub(super) async fn open(&self, upgrade: OnUpgrade, request: Request<()>, session: Option<Session>) {
        let Ok(connection) = upgrade.await else { return };
        let mut connection = TokioIo::new(connection);
        let mut first = BytesMut::new();
        if let Some(session) = &session {
            first.reserve(FIRST);
            match timeout(PATIENCE, connection.read_buf(&mut first)).await {
                Ok(Ok(1..)) => session.upgraded(request.extensions().get().cloned()),
                // The client goes on polling.
                _ => return,
            }
        }
        let websocket = Websocket { connection, first: first.freeze(), session };
        (self.0)(websocket, request).await;
    }
}

impl fmt::Debug for Websockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Websockets").finish_non_exhaustive()
    }
}

/// The connection of one websocket.
pub(crate) struct Websocket {
    connection: TokioIo<Upgraded>,
    /// What was read before Engine.IO asked.
    first: Bytes,
    /// The session that has moved here.
    session: Option<Session>,
}

impl Drop for Websocket {
    fn drop(&mut self) {
        // A session whose move broke off would answer each poll with nothing, at once.
        if let Some(session) = &self.session {
            session.give_up();
        }
    }
}

impl AsyncRead for Websocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.connection).poll_read(cx, buffer);
        }
        let bytes = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..bytes]);
        self.first.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Websocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
