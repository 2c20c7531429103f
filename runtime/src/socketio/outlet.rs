//! The way to one connected socket, or to the inbox of a test: what happened to the subscriber, as packets.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::request::Parts;
use catamaran_pubsub::{Delivery, EncodedEvent, Group, Outlet, Resume, Subscriber};
use serde::Serialize;
use socketioxide::{SendError, SocketError, socket::Socket as IoSocket};
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

use super::{
    Handshake,
    backlog::Backlog,
    frame::{Arguments, Frame, packet_bytes, plain},
    rooms::Rooms,
};
use crate::{logged, metrics};

/// How long to wait before a full socket is told once more that it is disconnected.
const DISCONNECT_RETRY: Duration = Duration::from_millis(50);

/// How long the requests of a socket that is closed have to be answered, and then its client to read that it is.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A connected socket as a subscriber, and the way to it.
#[derive(Clone)]
pub(crate) struct SocketSubscriber {
    subscriber: Subscriber,
    outlet: Arc<SocketOutlet>,
}

/// The way to a socket.
pub(crate) struct SocketOutlet {
    id: String,
    link: Link,
    /// Whether its client is the catamaran client, which understands positions.
    positions: bool,
    gone: AtomicBool,
    /// It is told why it ends, and its requests may still be answered.
    closing: AtomicBool,
    /// Its client was told that it is connected, so events can be sent to it.
    entered: AtomicBool,
    /// How many requests are being answered; whoever closes the socket waits for the last.
    busy: AtomicUsize,
    idle: Notify,
    slow: AtomicBool,
    /// Counts the slow consumers of the server.
    slow_sockets: Arc<AtomicU64>,
    /// The socket's own `Arc`, for tasks that outlive a call.
    this: Weak<Self>,
}

enum Link {
    Socket {
        /// Weak, because the socket owns what owns this, through the handlers of its events.
        socket: Weak<IoSocket>,
        backlog: Backlog,
    },
    Inbox(mpsc::UnboundedSender<EncodedEvent>, Arc<Parts>),
}

impl SocketSubscriber {
    /// The subscriber at the end of a socket, for which about `max_backlog` bytes may wait.
    pub(crate) fn of_socket(
        socket: &Arc<IoSocket>,
        client: Option<Arc<str>>,
        connection: u64,
        received: Resume,
        max_backlog: usize,
        slow_sockets: Arc<AtomicU64>,
    ) -> Self {
        let backlog = Backlog::of(&socket.req_parts().extensions, max_backlog);
        let link = Link::Socket { socket: Arc::downgrade(socket), backlog };
        Self::new(socket.id.to_string(), client, connection, received, link, slow_sockets)
    }

    pub(crate) fn of_inbox(id: String, inbox: mpsc::UnboundedSender<EncodedEvent>, handshake: Parts) -> Self {
        let link = Link::Inbox(inbox, Arc::new(handshake));
        Self::new(id, None, 0, Resume::new(), link, Arc::default())
    }

    fn new(
        id: String,
        client: Option<Arc<str>>,
        connection: u64,
        received: Resume,
        link: Link,
        slow_sockets: Arc<AtomicU64>,
    ) -> Self {
        let outlet = Arc::new_cyclic(|this| SocketOutlet {
            id: id.clone(),
            link,
            positions: client.is_some(),
            gone: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            entered: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            idle: Notify::new(),
            slow: AtomicBool::new(false),
            slow_sockets,
            this: this.clone(),
        });
        Self { subscriber: Subscriber::new(id, client, connection, received, outlet.clone()), outlet }
    }

    /// The socket of a subscriber; none if it is something else.
    pub(crate) fn of(subscriber: Subscriber) -> Option<Self> {
        let outlet = Arc::downcast(subscriber.outlet()).ok()?;
        Some(Self { subscriber, outlet })
    }

    pub(crate) fn subscriber(&self) -> &Subscriber {
        &self.subscriber
    }

    pub(crate) fn id(&self) -> &str {
        self.subscriber.id()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.outlet.is_closed()
    }

    /// The socket is closed, and receives nothing more.
    pub(crate) fn mark_gone(&self) {
        self.outlet.mark_gone();
    }

    /// Its client was told that it is connected.
    pub(crate) fn enter(&self) {
        self.outlet.entered.store(true, Ordering::SeqCst);
    }

    /// A request is being answered, for as long as the value lives.
    pub(crate) fn busy(&self) -> Busy {
        self.outlet.busy.fetch_add(1, Ordering::SeqCst);
        Busy(self.outlet.clone())
    }

    /// The request that opened the connection; none if it is gone.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        match &self.outlet.link {
            Link::Socket { socket, .. } => socket.upgrade().map(Handshake::Of),
            Link::Inbox(_, handshake) => Some(Handshake::Kept(handshake.clone())),
        }
    }

    /// Sends an event of at least so many bytes, or cuts the socket off.
    pub(crate) fn emit(&self, name: &str, data: &impl Serialize, bytes: usize) {
        self.outlet.emit(name, data, bytes);
    }

    /// Whether so little waits for the socket that it may be sent what its client asked for.
    pub(crate) fn has_room(&self) -> bool {
        match &self.outlet.link {
            Link::Socket { backlog, .. } => backlog.has_room(),
            Link::Inbox(..) => true,
        }
    }

    /// Sends an ack of at least so many bytes; false if there is no room for it now.
    pub(crate) fn try_ack(&self, bytes: usize, send: impl FnOnce() -> Result<(), SendError>) -> bool {
        let outlet = &*self.outlet;
        let Link::Socket { backlog, .. } = &outlet.link else { return true };
        if outlet.is_closed() && !outlet.closing.load(Ordering::SeqCst) {
            return true;
        }
        if !backlog.has_room() {
            return false;
        }
        backlog.add_asked(bytes);
        let Err(error) = send() else { return true };
        backlog.take_back(bytes);
        if let SendError::Serialize(error) = &error {
            tracing::error!(socket = self.id(), error = %logged::error(error), "an ack could not be written");
        }
        !matches!(error, SendError::Socket(SocketError::InternalChannelFull))
    }

    /// The server stops: tells the catamaran client to leave it after a while.
    pub(crate) fn send_drain(&self, after: Duration) {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.outlet.send(&Frame::Drain { after_ms });
    }

    /// Disconnects: nothing more is sent.
    pub(crate) fn end(&self) {
        self.outlet.disconnect();
    }
}

/// Whether an event can be sent to a socket together with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its queue has a place, and the event is counted.
    Sure,
    /// Its queue may be full.
    Unsure,
    /// Nothing more is sent to it.
    Gone,
}

impl SocketOutlet {
    /// Whether its client is the catamaran client, which understands positions.
    pub(super) fn knows_positions(&self) -> bool {
        self.positions
    }

    pub(super) fn socket(&self) -> Option<Arc<IoSocket>> {
        match &self.link {
            Link::Socket { socket, .. } => socket.upgrade(),
            Link::Inbox(..) => None,
        }
    }

    /// Whether a packet of so many bytes can be sent to it together with others; then it is counted.
    pub(super) fn place(&self, bytes: usize) -> Place {
        match &self.link {
            _ if self.is_closed() => Place::Gone,
            Link::Socket { backlog, .. } if self.entered.load(Ordering::SeqCst) && backlog.take_place(bytes) => {
                Place::Sure
            }
            _ => Place::Unsure,
        }
    }

    fn mark_gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    fn send(&self, frame: &Frame<'_>) {
        match &self.link {
            _ if self.is_closed() => {}
            Link::Inbox(inbox, _) => {
                if let Some(message) = plain(frame) {
                    // A test that dropped its socket reads no more.
                    let _ = inbox.send(message.clone());
                }
            }
            Link::Socket { backlog, .. } if self.positions => match frame {
                // The client asked for it, and the subscription waited until there was room.
                Frame::Delivery(Delivery::Replay { .. }) => {
                    backlog.add_asked(frame.bytes());
                    self.queue(frame.name(), frame, frame.bytes());
                }
                _ => self.emit(frame.name(), frame, frame.bytes()),
            },
            Link::Socket { .. } => {
                if let Some(message) = plain(frame) {
                    self.emit(&message.name, &Arguments(message), packet_bytes(message));
                }
            }
        }
    }

    fn emit(&self, name: &str, data: &impl Serialize, bytes: usize) {
        let Link::Socket { backlog, .. } = &self.link else { return };
        if self.is_closed() {
            return;
        }
        match backlog.add(bytes) {
            Ok(()) => self.queue(name, data, bytes),
            Err(waiting) => self.end_slow(waiting),
        }
    }

    /// Queues an event that is counted already.
    fn queue(&self, name: &str, data: &impl Serialize, bytes: usize) {
        let Link::Socket { socket, backlog } = &self.link else { return };
        let Some(socket) = socket.upgrade().filter(|_| !self.is_closed()) else { return };
        let Err(error) = socket.emit(name, data) else { return };
        backlog.take_back(bytes);
        match error {
            SendError::Socket(SocketError::InternalChannelFull) => self.end_slow(backlog.waiting()),
            // Its client hears of the end of the connection.
            SendError::Socket(SocketError::Closed) => {}
            SendError::Serialize(error) => {
                tracing::error!(socket = self.id, error = %logged::error(&error), "an event could not be written; its socket was cut off");
                self.disconnect();
            }
        }
    }

    /// Ends a socket that reads too slowly.
    fn end_slow(&self, waiting: u64) {
        if !self.slow.swap(true, Ordering::SeqCst) {
            tracing::warn!(socket = self.id, bytes = waiting, "a socket reads too slowly and was cut off");
            self.slow_sockets.fetch_add(1, Ordering::Relaxed);
            metrics::slow_connection_closed();
        }
        self.disconnect();
    }

    /// Ends the connection of a closed socket, once its requests are answered.
    fn hang_up(&self) {
        let Link::Socket { socket, .. } = &self.link else { return };
        let (Some(this), socket) = (self.this.upgrade(), socket.clone()) else { return };
        tokio::spawn(async move {
            let answered = async {
                while this.busy.load(Ordering::SeqCst) > 0 {
                    this.idle.notified().await;
                }
            };
            let _ = timeout(LAST_WORDS, answered).await;
            let Some(socket) = socket.upgrade() else { return };
            if timeout(LAST_WORDS, disconnect(socket)).await.is_err() {
                this.disconnect();
            }
        });
    }
}

impl Outlet for SocketOutlet {
    fn deliver(&self, delivery: &Delivery<'_>) {
        self.send(&Frame::Delivery(delivery));
    }

    fn is_closed(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Nothing more is sent to the socket but why, and the answers of requests under way.
    fn close(&self, reason: &str) -> bool {
        if self.is_closed() || self.closing.swap(true, Ordering::SeqCst) {
            return false;
        }
        if self.entered.load(Ordering::SeqCst) {
            self.send(&Frame::Closed { reason });
        }
        self.mark_gone();
        // One that enters now finds that it is gone.
        if self.entered.load(Ordering::SeqCst) {
            self.hang_up();
        }
        true
    }

    /// No packet fits down a full pipe, so the connection is cut; where the connection is not ours to cut, the client is told
    /// as soon as there is room.
    fn disconnect(&self) {
        self.mark_gone();
        if let Link::Socket { socket, backlog } = &self.link
            && !backlog.cut()
            && let Some(socket) = socket.upgrade()
        {
            tokio::spawn(disconnect(socket));
        }
    }

    fn group(&self) -> Option<Box<dyn Group>> {
        match &self.link {
            Link::Socket { .. } => Some(Box::new(Rooms::default())),
            Link::Inbox(..) => None,
        }
    }
}

/// A request that is being answered.
pub(crate) struct Busy(Arc<SocketOutlet>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_one();
        }
    }
}

impl fmt::Debug for SocketSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SocketSubscriber").field(&self.id()).finish()
    }
}

/// Tells a socket that it is disconnected, as soon as there is room.
async fn disconnect(socket: Arc<IoSocket>) {
    while let Err(SocketError::InternalChannelFull) = socket.clone().disconnect() {
        sleep(DISCONNECT_RETRY).await;
    }
}
