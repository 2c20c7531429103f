//! One end of a subscription: a connected socket, or the inbox of a test.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use socketioxide::{SendError, SocketError, socket::Socket};
use tokio::sync::mpsc;

use super::{backlog::Backlog, frame::Frame, message::Message, stream::Entry, streams::Joined};

/// How long to wait before a full socket is told once more that it is disconnected.
const DISCONNECT_RETRY: Duration = Duration::from_millis(50);

/// The most bytes of entries in one packet of a replay.
const REPLAY_BYTES: usize = 64 * 1024;

/// A receiver of events.
#[derive(Clone)]
pub(crate) struct Peer(Arc<Inner>);

struct Inner {
    id: String,
    /// The secret by which our own client is known again after a reconnect; whoever has one understands positions.
    client: Option<Arc<str>>,
    /// Which connection of its client this is; 0 if the client does not count.
    connection: u64,
    link: Link,
    gone: AtomicBool,
    slow: AtomicBool,
    joined: Mutex<HashMap<Arc<str>, Joined>>,
}

enum Link {
    Socket {
        /// Weak, because the socket owns what owns this, through the handlers of its events.
        socket: Weak<Socket>,
        backlog: Backlog,
    },
    Inbox(mpsc::UnboundedSender<Message>),
}

impl Peer {
    /// The peer at the end of a socket, for which about `max_backlog` bytes may wait.
    pub(crate) fn of_socket(
        socket: &Arc<Socket>,
        client: Option<Arc<str>>,
        connection: u64,
        max_backlog: usize,
    ) -> Self {
        let backlog = Backlog::of(&socket.req_parts().extensions, max_backlog);
        let link = Link::Socket { socket: Arc::downgrade(socket), backlog };
        Self::new(socket.id.to_string(), client, connection, link)
    }

    pub(crate) fn of_inbox(id: String, inbox: mpsc::UnboundedSender<Message>) -> Self {
        Self::new(id, None, 0, Link::Inbox(inbox))
    }

    fn new(id: String, client: Option<Arc<str>>, connection: u64, link: Link) -> Self {
        let (gone, slow, joined) = Default::default();
        Self(Arc::new(Inner { id, client, connection, link, gone, slow, joined }))
    }

    pub(crate) fn client(&self) -> Option<&Arc<str>> {
        self.0.client.as_ref()
    }

    /// Whether both are one client's, which may have connected anew while its request ran.
    pub(crate) fn is_of_same_client(&self, other: &Self) -> bool {
        self.id() == other.id() || (self.client().is_some() && self.client() == other.client())
    }

    /// Whether its client made this connection after the other; only a client that counts can tell.
    pub(crate) fn is_newer_than(&self, other: &Self) -> bool {
        other.0.connection != 0 && self.0.connection > other.0.connection
    }

    /// The channels that the socket is live in. A stream's lock may be taken under this one, not the other way round.
    pub(crate) fn joined(&self) -> MutexGuard<'_, HashMap<Arc<str>, Joined>> {
        self.0.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.gone.load(Ordering::SeqCst)
    }

    /// The socket is closed, and receives nothing more.
    pub(crate) fn mark_gone(&self) {
        self.0.gone.store(true, Ordering::SeqCst);
    }

    /// Whether the socket was cut off because it read too slowly.
    pub(crate) fn is_slow(&self) -> bool {
        self.0.slow.load(Ordering::SeqCst)
    }

    /// Sends a frame, or cuts the socket off: a subscriber that missed one in silence would be worse off.
    pub(crate) fn send(&self, frame: &Frame<'_>) {
        match &self.0.link {
            Link::Inbox(inbox) => {
                if let Some(message) = frame.plain().filter(|_| !self.is_gone()) {
                    // A test that dropped its socket reads no more.
                    let _ = inbox.send(message.clone());
                }
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
                tracing::error!(socket = self.id(), %error, "an event could not be written; its socket was cut off");
                self.end();
            }
        }
    }

    /// Whether so little waits for the socket that it may be sent what its client asked for.
    pub(crate) fn has_room(&self) -> bool {
        match &self.0.link {
            Link::Socket { backlog, .. } => backlog.has_room(),
            Link::Inbox(_) => true,
        }
    }

    /// Sends an ack of at least so many bytes; false if there is no room for it now.
    pub(crate) fn try_ack(&self, bytes: usize, send: impl FnOnce() -> Result<(), SendError>) -> bool {
        let Link::Socket { backlog, .. } = &self.0.link else { return true };
        if self.is_gone() {
            return true;
        }
        if !backlog.has_room() {
            return false;
        }
        backlog.add_asked(bytes);
        let Err(error) = send() else { return true };
        backlog.take_back(bytes);
        if let SendError::Serialize(error) = &error {
            tracing::error!(socket = self.id(), %error, "an ack could not be written");
        }
        !matches!(error, SendError::Socket(SocketError::InternalChannelFull))
    }

    /// Sends what a subscription missed, in packets of a bounded size.
    pub(crate) fn send_replay<'a>(&self, channel: &str, missed: impl Iterator<Item = &'a Entry>) {
        let own = |entry: &&Entry| entry.except.is_none() || entry.except.as_ref() != self.client();
        let mut missed = missed.filter(own).peekable();
        if self.client().is_none() {
            missed.for_each(|entry| {
                self.send(&Frame::Entry { channel, offset: entry.offset, message: &entry.message });
            });
            return;
        }
        while missed.peek().is_some() {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            while let Some(entry) = missed.next_if(|entry| bytes == 0 || bytes + entry.message.bytes() <= REPLAY_BYTES)
            {
                bytes += entry.message.bytes();
                entries.push(entry.clone());
            }
            self.send(&Frame::Replay { channel, entries: &entries, more: missed.peek().is_some() });
        }
    }

    /// Ends a socket that reads too slowly.
    pub(crate) fn end_slow(&self, waiting: u64) {
        if !self.0.slow.swap(true, Ordering::SeqCst) {
            tracing::warn!(socket = self.id(), bytes = waiting, "a socket reads too slowly and was cut off");
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
            tokio::spawn(async move {
                while let Err(SocketError::InternalChannelFull) = socket.clone().disconnect() {
                    tokio::time::sleep(DISCONNECT_RETRY).await;
                }
            });
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.0.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_the_same_on_its_next_connection() {
        let peer = |id: &str, client: Option<&str>| {
            let (inbox, _) = mpsc::unbounded_channel();
            Peer::new(id.to_owned(), client.map(Arc::from), 0, Link::Inbox(inbox))
        };
        assert!(peer("1", Some("a")).is_of_same_client(&peer("2", Some("a"))));
        assert!(!peer("1", Some("a")).is_of_same_client(&peer("2", Some("b"))));
        assert!(peer("1", None).is_of_same_client(&peer("1", None)));
        assert!(!peer("1", None).is_of_same_client(&peer("2", None)));
    }
}
