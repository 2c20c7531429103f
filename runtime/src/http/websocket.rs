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

use super::{ConnectionHandle, Session, frames::Frames};

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
        let wire = request.extensions().get().cloned();
        let (mut frames, mut ready) = (Frames::new(max_packet), BytesMut::new());
        let passed = frames.pass(&mut first, &mut ready);
        first.truncate(passed);
        first.unsplit(ready);
        let websocket = Websocket { connection, frames, ready: first, session, wire, left: LeftFrames::default() };
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
    /// Where its packets are counted, if the connection is ours.
    wire: Option<ConnectionHandle>,
    left: LeftFrames,
}

impl Websocket {
    /// Reads what Engine.IO is to be given next.
    fn give(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let websocket = self;
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

    /// Counts what the connection has taken of these bytes.
    fn count(&mut self, bytes: &[u8]) {
        let Some(wire) = &self.wire else { return };
        match self.left.events(bytes) {
            0 => {}
            events => wire.count_events(events),
        }
    }
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
        if let Some(wire) = &self.wire {
            wire.ask();
        }
        let before = buffer.filled().len();
        let outcome = self.give(cx, buffer);
        if let Some(wire) = &self.wire {
            wire.count_read(buffer.filled().len() - before);
        }
        outcome
    }
}

impl AsyncWrite for Websocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.connection).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = outcome {
            self.count(&bytes[..written]);
        }
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.connection).poll_write_vectored(cx, bytes);
        if let Poll::Ready(Ok(written)) = outcome {
            let mut left = written;
            for slice in bytes {
                let taken = left.min(slice.len());
                self.count(&slice[..taken]);
                left -= taken;
            }
        }
        outcome
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

/// The longest head of a frame: two bytes, a length of eight, and what tells an event of the root namespace.
const HEAD: usize = 2 + 8 + EVENT;
/// `42`, `43`, `45` or `46`, and what follows it: events and acks of another namespace go on with `/`.
const EVENT: usize = 3;

/// The frames that leave, as far as they came.
#[derive(Debug, Default)]
struct LeftFrames {
    head: [u8; HEAD],
    /// How many bytes of the head have come.
    had: usize,
    /// How many bytes of the frame follow, once its head has come.
    rest: u64,
}

impl LeftFrames {
    /// How many events and acks of the root namespace begin in these bytes, or end their head there.
    fn events(&mut self, mut bytes: &[u8]) -> u64 {
        let mut events = 0;
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
            self.rest -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((first, following)) = bytes.split_first() else { break };
            bytes = following;
            self.head[self.had] = *first;
            self.had += 1;
            events += u64::from(self.end_head());
        }
        events
    }

    /// Ends the head if it is whole; whether it is that of an event or an ack.
    fn end_head(&mut self) -> bool {
        let head = &self.head[..self.had];
        let (payload, length) = match head {
            [_, 126, a, b, ..] => (4, u64::from(u16::from_be_bytes([*a, *b]))),
            [_, 127, a, b, c, d, e, f, g, h, ..] => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
            [_, 126 | 127, ..] | [] | [_] => return false,
            [_, length, ..] => (2, u64::from(*length)),
        };
        let begin = &head[payload..];
        if begin.len() < EVENT && (begin.len() as u64) < length {
            return false;
        }
        let is_text = head[0] & 0x0f == 1;
        let is_event = is_text && matches!(begin, [b'4', b'2' | b'3' | b'5' | b'6', third, ..] if *third != b'/');
        self.rest = length - begin.len() as u64;
        self.had = 0;
        is_event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a server writes it.
    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            length @ ..126 => frame.push(u8::try_from(length).unwrap()),
            length @ 126..65_536 => {
                frame.push(126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    #[test]
    fn events_and_acks_are_counted_however_they_are_cut() {
        let long = |length: usize| [b"42[\"said\",\"".as_slice(), &vec![b'x'; length], b"\"]"].concat();
        let packets: [(u8, Vec<u8>, u64); 14] = [
            (1, b"0{}".into(), 0),
            (1, b"40{}".into(), 0),
            (1, b"2".into(), 0),
            (1, b"42[\"said\"]".into(), 1),
            (1, b"".into(), 0),
            (1, b"430[]".into(), 1),
            (1, b"42/other,[\"said\"]".into(), 0),
            (1, long(200), 1),
            (2, b"42[".into(), 0),
            (9, b"".into(), 0),
            (1, long(70_000), 1),
            (1, b"461-7[{\"_placeholder\":true,\"num\":0}]".into(), 1),
            (1, b"44{}".into(), 0),
            (1, long(114), 1),
        ];
        let stream: Vec<u8> = packets.iter().flat_map(|(opcode, payload, _)| frame(*opcode, payload)).collect();
        let expected: u64 = packets.iter().map(|(_, _, events)| events).sum();
        for size in [1, 2, 3, 5, 7, 64, 1000, 4096, stream.len()] {
            let mut frames = LeftFrames::default();
            let counted: u64 = stream.chunks(size).map(|bytes| frames.events(bytes)).sum();
            assert_eq!((counted, frames.had, frames.rest), (expected, 0, 0), "cut into {size}");
        }
    }
}
