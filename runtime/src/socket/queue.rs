//! The packets of one socket that wait for their turn.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::Method;
use socketioxide::{
    adapter::LocalAdapter,
    handler::{MessageHandler, Value},
    socket::Socket,
};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    connection::{Connection, Dispatcher},
    dispatch::work,
};

/// How many packets of one socket may wait before they are looked at.
const MAX_QUEUED: usize = 1024;

/// What one socket sent, in order, and the task that answers it.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::UnboundedSender<Arrival>,
    depth: Arc<Depth>,
    task: AbortHandle,
}

/// What waits in a queue.
#[derive(Debug, Default)]
struct Depth {
    packets: AtomicUsize,
    bytes: AtomicUsize,
}

/// A packet on its way from the connection's reader to the socket's task.
pub(super) struct Arrival {
    pub(super) socket: Arc<Socket>,
    pub(super) connection: Arc<Connection>,
    pub(super) method: Method,
    pub(super) ack_id: Option<i64>,
    pub(super) packet: Result<Value, Refused>,
    bytes: usize,
}

/// Why a packet is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Too many of its socket wait.
    TooMany,
    /// Its socket sends too many in a second.
    TooFast,
}

/// The packets as their socket's task takes them.
pub(super) struct Arrivals {
    receiver: mpsc::UnboundedReceiver<Arrival>,
    depth: Arc<Depth>,
}

impl Arrivals {
    /// Waits for the next packet.
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        let arrival = self.receiver.recv().await?;
        self.depth.packets.fetch_sub(1, Ordering::Relaxed);
        self.depth.bytes.fetch_sub(arrival.bytes, Ordering::Relaxed);
        Some(arrival)
    }
}

/// Hands the events of one method to the socket's task.
///
/// socketioxide calls it on the connection's reader, in the order of the packets. Its own handlers start a task for
/// each event and lose that order.
pub(crate) struct Dispatch {
    pub(crate) method: Method,
    pub(crate) connection: Arc<Connection>,
}

/// Tells this handler from the closures that socketioxide implements the trait for.
pub(crate) enum ViaDispatch {}

impl MessageHandler<LocalAdapter, ViaDispatch> for Dispatch {
    fn call(&self, socket: Arc<Socket>, packet: Value, ack_id: Option<i64>) {
        let connection = &self.connection;
        let queue = connection.queue();
        let admitted = connection.rate.admit();
        let bytes = if admitted { packet.len() } else { 0 };
        let fits = queue.depth.add(bytes, connection.dispatcher().max_queued_bytes);
        let packet = match (admitted, fits) {
            (true, true) => Ok(packet),
            (true, false) => Err(Refused::TooMany),
            (false, _) => Err(Refused::TooFast),
        };
        let arrival =
            Arrival { socket, connection: connection.clone(), method: self.method.clone(), ack_id, packet, bytes };
        // It fails only after the socket is gone, when there is nobody to answer.
        let _ = queue.sender.send(arrival);
    }
}

impl Queue {
    pub(super) fn start(dispatcher: Arc<Dispatcher>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let depth = Arc::new(Depth::default());
        let task = tokio::spawn(work(dispatcher, Arrivals { receiver, depth: depth.clone() })).abort_handle();
        Self { sender, depth, task }
    }

    /// Cancels what is under way, and forgets the rest.
    pub(super) fn end(&self) {
        self.task.abort();
    }
}

impl Depth {
    /// Counts a packet; false if there is no room for it. One alone always has room.
    fn add(&self, bytes: usize, max_bytes: usize) -> bool {
        let packets = self.packets.fetch_add(1, Ordering::Relaxed);
        let queued = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        packets < MAX_QUEUED && (packets == 0 || queued + bytes <= max_bytes)
    }
}
