//! A connection that ends when its peer stops reading.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::slots::ConnectionPermit;

/// A stream that is dead for good once a write has made no progress for as long as `limit`, or once it is cut.
///
/// engineioxide holds a socket until its writer returns, and its writer goes on to the next packet after a failed
/// write; so all later writes must fail at once, and the reader, whose end closes the session, must be woken.
pub(crate) struct WriteTimeout {
    stream: TcpStream,
    limit: Duration,
    /// Runs while a write waits.
    stalling: Option<Pin<Box<Sleep>>>,
    wire: ConnectionHandle,
    /// The connection has its place for as long as this, also when it has become a websocket.
    _slot: Arc<ConnectionPermit>,
}

/// A connection from outside, as it lies in the extensions of every request that came over it: how much was written to
/// it, and a way to end it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionHandle(Arc<State>);

#[derive(Debug, Default)]
struct State {
    dead: AtomicBool,
    /// Whether a write waits for the kernel.
    blocked: AtomicBool,
    written: AtomicU64,
    /// Of a websocket: the bytes that came, those of them whose packets were handled, and the events and acks that left.
    read: AtomicU64,
    handled: AtomicU64,
    events: AtomicU64,
    waiting: Mutex<Waiting>,
    slot: Weak<ConnectionPermit>,
}

/// How many bytes the kernel takes for a connection beyond those on their way to the peer. Without a limit it takes
/// megabytes for a peer that reads nothing.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT: u32 = 128 * 1024;

/// The tasks that wait for the connection.
#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl ConnectionHandle {
    /// How many bytes the kernel has taken so far, whatever they belong to.
    pub(crate) fn written(&self) -> u64 {
        self.0.written.load(Ordering::Acquire)
    }

    /// The kernel has taken so many bytes more.
    pub(crate) fn count(&self, bytes: usize) {
        self.0.written.fetch_add(bytes as u64, Ordering::Release);
    }

    /// How many bytes have come over a websocket.
    pub(crate) fn read(&self) -> u64 {
        self.0.read.load(Ordering::Acquire)
    }

    /// Of how many of them the packets have been handled, for certain.
    pub(crate) fn handled(&self) -> u64 {
        self.0.handled.load(Ordering::Acquire)
    }

    /// How many events and acks of the root namespace have left.
    pub(crate) fn events(&self) -> u64 {
        self.0.events.load(Ordering::Acquire)
    }

    /// A websocket asks for more: what had come is handled.
    pub(crate) fn ask(&self) {
        self.0.handled.store(self.0.read.load(Ordering::Relaxed), Ordering::Release);
    }

    /// So many bytes more have come over a websocket.
    pub(crate) fn count_read(&self, bytes: usize) {
        self.0.read.fetch_add(bytes as u64, Ordering::Release);
    }

    /// So many events and acks more have left.
    pub(crate) fn count_events(&self, events: u64) {
        self.0.events.fetch_add(events, Ordering::Release);
    }

    /// The kernel takes no more, or takes more again.
    pub(crate) fn block(&self, blocked: bool) {
        self.0.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Ends the connection, for its reader and its writer.
    pub(crate) fn cut(&self) {
        self.0.dead.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.reader.into_iter().chain(waiting.writer).for_each(Waker::wake);
    }

    /// Whether the kernel takes no more for now, because the peer has not read what it took.
    pub(crate) fn is_blocked(&self) -> bool {
        self.0.blocked.load(Ordering::Relaxed)
    }

    /// Whether the connection was cut, or has ended by itself.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::SeqCst)
    }

    /// The place of the connection, for work that goes on when the connection has ended.
    pub(crate) fn slot(&self) -> Option<Arc<ConnectionPermit>> {
        self.0.slot.upgrade()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteTimeout {
    pub(crate) fn new(stream: TcpStream, limit: Duration, slot: ConnectionPermit) -> Self {
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
            tracing::debug!(%error, "the kernel's buffer of a connection has no limit");
        }
        let slot = Arc::new(slot);
        let wire = ConnectionHandle(Arc::new(State { slot: Arc::downgrade(&slot), ..State::default() }));
        Self { stream, limit, stalling: None, wire, _slot: slot }
    }

    pub(crate) fn wire(&self) -> ConnectionHandle {
        self.wire.clone()
    }

    /// Watches the outcome of a write.
    fn watch(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.wire.block(outcome.is_pending());
        if let Poll::Ready(written) = &outcome {
            if let Ok(bytes) = written {
                self.wire.count(*bytes);
            }
            self.stalling = None;
            return outcome;
        }
        self.wire.waiting().writer = Some(cx.waker().clone());
        let limit = self.limit;
        if self.stalling.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx).is_ready() {
            tracing::debug!("a peer stopped reading; its connection is closed");
            crate::metrics::slow_connection_closed();
            self.wire.cut();
        }
        self.unless_cut()
    }

    /// Pending, unless the connection was cut, perhaps before there was anybody to wake.
    fn unless_cut<T>(&self) -> Poll<io::Result<T>> {
        if self.wire.is_dead() { Poll::Ready(Err(stalled())) } else { Poll::Pending }
    }
}

impl Drop for WriteTimeout {
    fn drop(&mut self) {
        // What a peer has not read by now is of no use to it: a reset gives the kernel's memory back.
        if self.wire.is_dead()
            && let Err(error) = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "a connection cannot be reset");
        }
        self.wire.0.dead.store(true, Ordering::SeqCst);
    }
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer stopped reading")
}

impl AsyncRead for WriteTimeout {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.wire.is_dead() {
            return Poll::Ready(Err(stalled()));
        }
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if outcome.is_ready() {
            return outcome;
        }
        self.wire.waiting().reader = Some(cx.waker().clone());
        self.unless_cut()
    }
}

impl AsyncWrite for WriteTimeout {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.wire.is_dead() {
            return Poll::Ready(Err(stalled()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.wire.is_dead() {
            return Poll::Ready(Err(stalled()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.watch(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.is_dead() {
            return Poll::Ready(Err(stalled()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.is_dead() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
