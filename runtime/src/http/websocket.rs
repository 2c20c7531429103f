//! The connection of a websocket between its handshake and Engine.IO.
//!
//! engineioxide begins to move a session to a websocket with the answer to the handshake, and gives the session up if no
//! packet follows. So it is handed the connection only when a first byte has come: where a proxy lets handshakes pass and
//! nothing else, clients go on polling. What its client sends passes `frames.rs`.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::Request;
use bytes::{Buf, BytesMut};
use futures_util::future::BoxFuture;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::timeout,
};
use tower_service::Service;

use super::{Session, frames::Frames};

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
    pub(super) async fn open(
        &self,
        upgrade: OnUpgrade,
        request: Request<()>,
        session: Option<Session>,
        max_packet: usize,
    ) {
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
        let (mut frames, mut ready) = (Frames::new(max_packet), BytesMut::new());
        let passed = frames.pass(&mut first, &mut ready);
        first.truncate(passed);
        first.unsplit(ready);
        let websocket = Websocket { connection, frames, ready: first, session };
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
    frames: Frames,
    /// What Engine.IO reads next.
    ready: BytesMut,
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
        let websocket = &mut *self;
        let begin = buffer.filled().len();
        while websocket.ready.is_empty() {
            ready!(Pin::new(&mut websocket.connection).poll_read(cx, buffer))?;
            let arrived = &mut buffer.filled_mut()[begin..];
            if arrived.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let passed = websocket.frames.pass(arrived, &mut websocket.ready);
            buffer.set_filled(begin + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let bytes = websocket.ready.len().min(buffer.remaining());
        buffer.put_slice(&websocket.ready[..bytes]);
        websocket.ready.advance(bytes);
        if websocket.ready.is_empty() {
            // One large message would keep its memory for as long as the connection.
            websocket.ready = BytesMut::new();
        }
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
