//! The packets of one socket that wait for their turn.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::Method;
use socketioxide::{
    adapter::LocalAdapter,
    handler::{MessageHandler, Value},
    socket::Socket as IoSocket,
};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    connection::{Connection, SocketRouter},
    deliver::MAX_REFUSALS,
    dispatch::work,
};

/// How many packets of one socket may wait before they are looked at.
const MAX_QUEUED: usize = 1024;
/// How many more may wait to be refused; then the socket is disconnected.
const MAX_WAITING: usize = MAX_QUEUED + MAX_REFUSALS;

/// What one socket sent, in order, and the task that answers it.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::UnboundedSender<Arrival>,
    depth: Arc<Depth>,
    task: AbortHandle,
}

/// How much of one socket's requests is unanswered.
#[derive(Debug, Default)]
struct Depth {
    /// The packets that wait for their turn.
    waiting: AtomicUsize,
    /// The bytes of those, and of the requests that run.
    bytes: AtomicUsize,
}

/// The bytes of one packet, which count until this is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    depth: Arc<Depth>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.depth.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What becomes of a packet.
#[derive(Debug)]
enum Room {
    Run(Charge),
    Refuse,
    Disconnect,
}

/// A packet, and its count among the bytes of its socket.
pub(super) struct Packet {
    pub(super) value: Value,
    pub(super) charge: Charge,
}

/// A packet on its way from the connection's reader to the socket's task.
pub(super) struct Arrival {
    pub(super) socket: Arc<IoSocket>,
    pub(super) connection: Arc<Connection>,
    pub(super) method: Method,
    pub(super) ack_id: Option<i64>,
    pub(super) packet: Result<Packet, Refused>,
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
        self.depth.waiting.fetch_sub(1, Ordering::Relaxed);
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
    fn call(&self, socket: Arc<IoSocket>, packet: Value, ack_id: Option<i64>) {
        let connection = &self.connection;
        if connection.subscriber().is_gone() {
            return;
        }
        let queue = connection.queue();
        let admitted = connection.rate.admit();
        let bytes = if admitted { packet.len() } else { 0 };
        let packet = match queue.depth.add(bytes, connection.dispatcher().max_in_flight_bytes) {
            Room::Run(charge) if admitted => Ok(Packet { value: packet, charge }),
            Room::Run(_) => Err(Refused::TooFast),
            Room::Refuse => Err(if admitted { Refused::TooMany } else { Refused::TooFast }),
            Room::Disconnect => {
                tracing::warn!(
                    socket = connection.subscriber().id(),
                    "socket disconnected: too many requests wait to be refused"
                );
                return connection.subscriber().end();
            }
        };
        let (connection, method) = (connection.clone(), self.method.clone());
        let arrival = Arrival { socket, connection, method, ack_id, packet };
        // It fails only after the socket is gone, when there is nobody to answer.
        let _ = queue.sender.send(arrival);
    }
}

impl Queue {
    pub(super) fn start(dispatcher: Arc<SocketRouter>) -> Self {
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
    /// Counts a packet, before anything is read of it. One alone always has room.
    fn add(self: &Arc<Self>, bytes: usize, max_bytes: usize) -> Room {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting >= MAX_WAITING {
            return Room::Disconnect;
        }
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let charge = Charge { depth: self.clone(), bytes };
        if waiting < MAX_QUEUED && (before == 0 || before + bytes <= max_bytes) {
            Room::Run(charge)
        } else {
            Room::Refuse
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_the_request_is_answered() {
        let depth = Arc::<Depth>::default();
        let Room::Run(large) = depth.add(900, 100) else { panic!("one alone has room") };
        assert!(matches!(depth.add(1, 100), Room::Refuse));
        // The task has taken both, and the first one runs.
        depth.waiting.store(0, Ordering::Relaxed);
        assert!(matches!(depth.add(1, 100), Room::Refuse));
        drop(large);
        let rooms: Vec<_> = (0..3).map(|_| depth.add(40, 100)).collect();
        assert!(matches!(rooms[..], [Room::Run(_), Room::Run(_), Room::Refuse]));
        assert_eq!(depth.bytes.load(Ordering::Relaxed), 80);
        drop(rooms);
        assert_eq!(depth.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_flood_that_nobody_takes_ends_the_socket() {
        let depth = Arc::<Depth>::default();
        let (mut run, mut refused) = (Vec::new(), 0);
        loop {
            match depth.add(0, 100) {
                Room::Run(charge) => run.push(charge),
                Room::Refuse => refused += 1,
                Room::Disconnect => break,
            }
        }
        assert_eq!((run.len(), refused), (MAX_QUEUED, MAX_REFUSALS));
    }
}
