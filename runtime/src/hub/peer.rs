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

use socketioxide::{SendError, SocketError, socket::Socket};
use tokio::sync::mpsc;

use super::{frame::Frame, message::Message, stream::Entry, streams::Joined};
use crate::{metrics, server::Cut};

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
    joined: Mutex<HashMap<Arc<str>, Joined>>,
}

enum Link {
    /// Weak, because the socket owns what owns this, through the handlers of its events.
    Socket(Weak<Socket>),
    Inbox(mpsc::UnboundedSender<Message>),
}

impl Peer {
    pub(crate) fn of_socket(socket: &Arc<Socket>, client: Option<Arc<str>>, connection: u64) -> Self {
        Self::new(socket.id.to_string(), client, connection, Link::Socket(Arc::downgrade(socket)))
    }

    pub(crate) fn of_inbox(id: String, inbox: mpsc::UnboundedSender<Message>) -> Self {
        Self::new(id, None, 0, Link::Inbox(inbox))
    }

    fn new(id: String, client: Option<Arc<str>>, connection: u64, link: Link) -> Self {
        let (gone, joined) = (AtomicBool::new(false), Mutex::default());
        Self(Arc::new(Inner { id, client, connection, link, gone, joined }))
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

    /// Sends a frame, or cuts the socket off: a subscriber that missed one in silence would be worse off.
    pub(crate) fn send(&self, frame: &Frame<'_>) {
        if self.is_gone() {
            return;
        }
        match &self.0.link {
            Link::Inbox(inbox) => {
                if let Some(message) = frame.plain() {
                    // A test that dropped its socket reads no more.
                    let _ = inbox.send(message.clone());
                }
            }
            Link::Socket(socket) => {
                let Some(socket) = socket.upgrade() else { return };
                let sent = match (self.client(), frame.plain()) {
                    (Some(_), _) => socket.emit(frame.name(), frame),
                    (None, Some(message)) => socket.emit(&message.name, message),
                    (None, None) => return,
                };
                match sent {
                    Ok(()) => {}
                    Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                        tracing::warn!("a socket reads too slowly and was cut off");
                        metrics::slow_connection_closed();
                        self.end();
                    }
                    Err(error) => tracing::debug!(%error, "an event was not sent"),
                }
            }
        }
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

    /// The server stops: tells our own client to leave it after a while.
    pub(crate) fn send_away(&self, after: Duration) {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.send(&Frame::Drain { after_ms });
    }

    /// Ends the socket: nothing more is sent to it, and its client hears a disconnect.
    pub(crate) fn end(&self) {
        self.mark_gone();
        if let Link::Socket(socket) = &self.0.link
            && let Some(socket) = socket.upgrade()
        {
            cut_off(socket);
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.0.id).finish()
    }
}

/// Ends a socket. No packet fits down a full pipe, so its connection is cut; where the connection is not ours to cut, it
/// is told as soon as there is room.
fn cut_off(socket: Arc<Socket>) {
    if let Some(cut) = socket.req_parts().extensions.get::<Cut>() {
        cut.now();
    }
    tokio::spawn(async move {
        while let Err(SocketError::InternalChannelFull) = socket.clone().disconnect() {
            tokio::time::sleep(DISCONNECT_RETRY).await;
        }
    });
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
