//! One end of a subscription: a connected socket, or the inbox of a test.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::http::request::Parts;
use serde::Serialize;
use socketioxide::{SendError, SocketError, socket::Socket};
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

use super::{
    backlog::Backlog,
    entry::{Alias, Copy, Entry},
    environment::{self, HashMap},
    frame::{Frame, Replayed},
    gate,
    message::Message,
    sent::{Resume, Sent},
    stream::Stream,
};
use crate::{logged, metrics, socket::Handshake};

/// How long to wait before a full socket is told once more that it is disconnected.
const DISCONNECT_RETRY: Duration = Duration::from_millis(50);

/// How long the requests of a socket that is closed have to be answered, and then its client to read that it is.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The most bytes of entries in one packet of a replay.
const REPLAY_BYTES: usize = 64 * 1024;

/// A receiver of events.
#[derive(Clone)]
pub(crate) struct Peer(Arc<Inner>);

struct Inner {
    id: String,
    /// The secret by which our own client is known again after a reconnect; whoever has one understands positions.
    client: Option<Arc<str>>,
    /// The name of the client for others; made when it is first needed.
    alias: OnceLock<Alias>,
    /// Which connection of its client this is; 0 if the client does not count.
    connection: u64,
    sent: Sent,
    link: Link,
    opened: SystemTime,
    gone: AtomicBool,
    /// It is told why it ends, and its requests may still be answered.
    closing: AtomicBool,
    /// Its client was told that it is connected, so events can be sent to it.
    entered: AtomicBool,
    /// How many requests are being answered; whoever closes the socket waits for the last.
    busy: AtomicUsize,
    idle: Notify,
    slow: AtomicBool,
    joined: Mutex<HashMap<Arc<str>, Arc<Stream>>>,
    /// How many subscriptions are held for it that are not live yet.
    held: AtomicUsize,
}

enum Link {
    Socket {
        /// Weak, because the socket owns what owns this, through the handlers of its events.
        socket: Weak<Socket>,
        backlog: Backlog,
    },
    Inbox(mpsc::UnboundedSender<Message>, Arc<Parts>),
    /// The frames as they would stand on the wire.
    #[cfg(test)]
    Wire(mpsc::UnboundedSender<String>),
}

impl Peer {
    /// The peer at the end of a socket, for which about `max_backlog` bytes may wait.
    pub(crate) fn of_socket(
        socket: &Arc<Socket>,
        client: Option<Arc<str>>,
        connection: u64,
        received: Resume,
        max_backlog: usize,
    ) -> Self {
        let backlog = Backlog::of(&socket.req_parts().extensions, max_backlog);
        let link = Link::Socket { socket: Arc::downgrade(socket), backlog };
        Self::new(socket.id.to_string(), client, connection, received, link)
    }

    pub(crate) fn of_inbox(id: String, inbox: mpsc::UnboundedSender<Message>, handshake: Parts) -> Self {
        Self::new(id, None, 0, Resume::new(), Link::Inbox(inbox, Arc::new(handshake)))
    }

    fn new(id: String, client: Option<Arc<str>>, connection: u64, received: Resume, link: Link) -> Self {
        Self(Arc::new(Inner {
            id,
            client,
            alias: OnceLock::new(),
            connection,
            sent: Sent::after(received),
            link,
            opened: environment::now(),
            gone: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            entered: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            idle: Notify::new(),
            joined: Mutex::default(),
            held: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn client(&self) -> Option<&Arc<str>> {
        self.0.client.as_ref()
    }

    pub(super) fn opened(&self) -> SystemTime {
        self.0.opened
    }

    pub(super) fn alias(&self) -> Option<Alias> {
        let client = self.client()?;
        Some(*self.0.alias.get_or_init(|| Alias::of(client)))
    }

    /// Whether its client made this connection after the other; only a client that counts can tell.
    pub(crate) fn is_newer_than(&self, other: &Self) -> bool {
        other.0.connection != 0 && self.0.connection > other.0.connection
    }

    /// The channels that the socket is live in. A stream's lock may be taken under this one, not the other way round.
    pub(crate) fn joined(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Stream>>> {
        self.0.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of the application's channels that the socket is live in, in their order; resources have others.
    pub(super) fn channels(&self) -> Vec<String> {
        let joined = self.joined();
        let own = joined.iter().filter(|(_, stream)| !gate::is_behind(&stream.name));
        let mut channels: Vec<_> = own.map(|(channel, _)| channel.as_ref().to_owned()).collect();
        channels.sort_unstable();
        channels
    }

    /// How many channels it is subscribed to, or will be.
    pub(super) fn subscriptions(&self) -> usize {
        self.joined().len() + self.0.held.load(Ordering::SeqCst)
    }

    /// A subscription is held for it.
    pub(super) fn held(&self) {
        self.0.held.fetch_add(1, Ordering::SeqCst);
    }

    /// It is held no longer.
    pub(super) fn released(&self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// The request that opened the connection; none if it is gone.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        match &self.0.link {
            Link::Socket { socket, .. } => socket.upgrade().map(Handshake::Of),
            Link::Inbox(_, handshake) => Some(Handshake::Kept(handshake.clone())),
            #[cfg(test)]
            Link::Wire(_) => None,
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.gone.load(Ordering::SeqCst)
    }

    /// The socket is closed, and receives nothing more.
    pub(crate) fn mark_gone(&self) {
        self.0.gone.store(true, Ordering::SeqCst);
    }

    /// Its client was told that it is connected.
    pub(crate) fn enter(&self) {
        self.0.entered.store(true, Ordering::SeqCst);
    }

    /// A request is being answered, for as long as the value lives.
    pub(crate) fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::SeqCst);
        Busy(self.clone())
    }

    /// Nothing more is sent to the socket but why, and the answers of requests under way. False if it was gone.
    pub(super) fn close(&self, reason: &str) -> bool {
        if self.is_gone() || self.0.closing.swap(true, Ordering::SeqCst) {
            return false;
        }
        if self.0.entered.load(Ordering::SeqCst) {
            self.send(&Frame::Closed { reason });
        }
        self.mark_gone();
        // One that enters now finds that it is gone.
        if self.0.entered.load(Ordering::SeqCst) {
            self.hang_up();
        }
        true
    }

    /// Ends the connection of a closed socket, once its requests are answered.
    fn hang_up(&self) {
        let Link::Socket { socket, .. } = &self.0.link else { return };
        let (peer, socket) = (self.clone(), socket.clone());
        tokio::spawn(async move {
            let answered = async {
                while peer.0.busy.load(Ordering::SeqCst) > 0 {
                    peer.0.idle.notified().await;
                }
            };
            let _ = timeout(LAST_WORDS, answered).await;
            let Some(socket) = socket.upgrade() else { return };
            if timeout(LAST_WORDS, disconnect(socket)).await.is_err() {
                peer.end();
            }
        });
    }

    /// Whether the socket was cut off because it read too slowly.
    pub(crate) fn is_slow(&self) -> bool {
        self.0.slow.load(Ordering::SeqCst)
    }

    /// Sends a frame, or cuts the socket off: a subscriber that missed one in silence would be worse off.
    pub(crate) fn send(&self, frame: &Frame<'_>) {
        match &self.0.link {
            _ if self.is_gone() => {}
            Link::Inbox(inbox, _) => {
                if let Some(message) = frame.plain() {
                    // A test that dropped its socket reads no more.
                    let _ = inbox.send(message.clone());
                }
            }
            #[cfg(test)]
            Link::Wire(wire) => {
                let _ = match (self.client(), frame.plain()) {
                    (Some(_), _) => wire.send(frame.text()),
                    (None, Some(message)) => wire.send(message.to_string()),
                    (None, None) => return,
                };
            }
            Link::Socket { backlog, .. } if self.client().is_some() => match frame {
                // The client asked for it, and the subscription waited until there was room.
                Frame::Replay { .. } => {
                    backlog.add_asked(frame.bytes());
                    self.queue(frame.name(), frame, frame.bytes());
                }
                _ => self.emit(frame.name(), frame, frame.bytes()),
            },
            Link::Socket { .. } => {
                if let Some(message) = frame.plain() {
                    self.emit(&message.name, message, message.packet_bytes());
                }
            }
        }
    }

    /// Sends an event of at least so many bytes, or cuts the socket off.
    pub(crate) fn emit(&self, name: &str, data: &impl Serialize, bytes: usize) {
        let Link::Socket { backlog, .. } = &self.0.link else { return };
        if self.is_gone() {
            return;
        }
        match backlog.add(bytes) {
            Ok(()) => self.queue(name, data, bytes),
            Err(waiting) => self.end_slow(waiting),
        }
    }

    /// Queues an event that is counted already.
    fn queue(&self, name: &str, data: &impl Serialize, bytes: usize) {
        let Link::Socket { socket, backlog } = &self.0.link else { return };
        let Some(socket) = socket.upgrade().filter(|_| !self.is_gone()) else { return };
        let Err(error) = socket.emit(name, data) else { return };
        backlog.take_back(bytes);
        match error {
            SendError::Socket(SocketError::InternalChannelFull) => self.end_slow(backlog.waiting()),
            // Its client hears of the end of the connection.
            SendError::Socket(SocketError::Closed) => {}
            SendError::Serialize(error) => {
                tracing::error!(socket = self.id(), error = %logged::error(&error), "an event could not be written; its socket was cut off");
                self.end();
            }
        }
    }

    /// Whether so little waits for the socket that it may be sent what its client asked for.
    pub(crate) fn has_room(&self) -> bool {
        match &self.0.link {
            Link::Socket { backlog, .. } => backlog.has_room(),
            _ => true,
        }
    }

    /// Sends an ack of at least so many bytes; false if there is no room for it now.
    pub(crate) fn try_ack(&self, bytes: usize, send: impl FnOnce() -> Result<(), SendError>) -> bool {
        let Link::Socket { backlog, .. } = &self.0.link else { return true };
        if self.is_gone() && !self.0.closing.load(Ordering::SeqCst) {
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

    /// Sends a copy of an entry; after another copy of it no more than that the client is past this one.
    pub(crate) fn send_copy(&self, copy: &Copy, message: &Message) {
        let (channel, offset, entry) = (copy.channel(), copy.offset(), &*copy.entry);
        let whole = Frame::Entry { channel, offset, message };
        if entry.places.len() == 1 {
            return self.send(&whole);
        }
        let mut sent = self.0.sent.lock();
        if sent.is_first(entry) { self.send(&whole) } else { self.send(&Frame::Advance { channel, offset }) }
    }

    /// Sends an entry that has no position.
    pub(crate) fn send_uncounted(&self, entry: &Entry, message: &Message) {
        let mut sent = self.0.sent.lock();
        if sent.is_first(entry) {
            self.send(&Frame::Event(message));
        }
    }

    /// Sends what a subscription missed, in packets of a bounded size.
    pub(crate) fn send_replay<'a>(&self, channel: &str, missed: impl Iterator<Item = (&'a Copy, &'a Message)>) {
        let mut sent = self.0.sent.lock();
        let missed = missed.filter(|(copy, _)| !copy.leaves_out(self));
        let mut missed = missed.map(|(copy, message)| {
            let whole = sent.is_first(&copy.entry);
            Replayed { offset: copy.offset(), message: whole.then_some(message) }
        });
        if self.client().is_none() {
            missed.filter_map(|entry| entry.message).for_each(|message| self.send(&Frame::Event(message)));
            return;
        }
        let mut next = missed.next();
        while next.is_some() {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            while let Some(entry) = next.take_if(|entry| bytes == 0 || bytes + entry.bytes() <= REPLAY_BYTES) {
                bytes += entry.bytes();
                entries.push(entry);
                next = missed.next();
            }
            self.send(&Frame::Replay { channel, entries: &entries, more: next.is_some() });
        }
    }

    /// The server stops: tells our own client to leave it after a while.
    pub(crate) fn send_away(&self, after: Duration) {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.send(&Frame::Drain { after_ms });
    }

    /// Ends a socket that reads too slowly.
    pub(crate) fn end_slow(&self, waiting: u64) {
        if !self.0.slow.swap(true, Ordering::SeqCst) {
            tracing::warn!(socket = self.id(), bytes = waiting, "a socket reads too slowly and was cut off");
            metrics::slow_connection_closed();
        }
        self.end();
    }

    /// Ends the socket: nothing more is sent to it, and its client hears a disconnect.
    ///
    /// No packet fits down a full pipe, so its connection is cut; where the connection is not ours to cut, it is told as
    /// soon as there is room.
    pub(crate) fn end(&self) {
        self.mark_gone();
        if let Link::Socket { socket, backlog } = &self.0.link
            && !backlog.cut()
            && let Some(socket) = socket.upgrade()
        {
            tokio::spawn(disconnect(socket));
        }
    }
}

/// A request that is being answered.
pub(crate) struct Busy(Peer);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.0.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.0.idle.notify_one();
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.0.id).finish()
    }
}

/// Tells a socket that it is disconnected, as soon as there is room.
async fn disconnect(socket: Arc<Socket>) {
    while let Err(SocketError::InternalChannelFull) = socket.clone().disconnect() {
        sleep(DISCONNECT_RETRY).await;
    }
}

#[cfg(test)]
impl Peer {
    /// A peer of a test, and what it is sent.
    pub(crate) fn of_test(id: &str, client: Option<&str>) -> (Self, mpsc::UnboundedReceiver<String>) {
        Self::of_returning(id, client, Resume::new())
    }

    /// As [`of_test`](Self::of_test), of a client that received something before.
    pub(crate) fn of_returning(
        id: &str,
        client: Option<&str>,
        received: Resume,
    ) -> (Self, mpsc::UnboundedReceiver<String>) {
        Self::of_connection(id, client, 0, received)
    }

    /// As [`of_returning`](Self::of_returning), of a client that counts its connections.
    pub(crate) fn of_connection(
        id: &str,
        client: Option<&str>,
        connection: u64,
        received: Resume,
    ) -> (Self, mpsc::UnboundedReceiver<String>) {
        let (sender, wire) = mpsc::unbounded_channel();
        (Self::new(id.to_owned(), client.map(Arc::from), connection, received, Link::Wire(sender)), wire)
    }
}
