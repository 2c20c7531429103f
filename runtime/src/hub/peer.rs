//! One end of a subscription: a connected socket, or the inbox of a test.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use socketioxide::{SendError, SocketError, socket::Socket};
use tokio::sync::mpsc;

use super::message::Message;
use crate::server::Cut;

/// How long to wait before a full socket is told once more that it is disconnected.
const DISCONNECT_RETRY: Duration = Duration::from_millis(50);

/// A receiver of events.
#[derive(Clone)]
pub(crate) struct Peer(Arc<Inner>);

struct Inner {
    id: String,
    link: Link,
    gone: AtomicBool,
}

enum Link {
    /// Weak, because the socket owns what owns this, through the handlers of its events.
    Socket(Weak<Socket>),
    Inbox(mpsc::UnboundedSender<Message>),
}

impl Peer {
    pub(crate) fn of_socket(socket: &Arc<Socket>) -> Self {
        Self::new(socket.id.to_string(), Link::Socket(Arc::downgrade(socket)))
    }

    pub(crate) fn of_inbox(id: String, inbox: mpsc::UnboundedSender<Message>) -> Self {
        Self::new(id, Link::Inbox(inbox))
    }

    fn new(id: String, link: Link) -> Self {
        Self(Arc::new(Inner { id, link, gone: AtomicBool::new(false) }))
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

    /// Sends a message, or cuts the socket off: a subscriber that missed one in silence would be worse off.
    pub(crate) fn send(&self, message: &Message) -> bool {
        if self.is_gone() {
            return false;
        }
        match &self.0.link {
            Link::Inbox(inbox) => inbox.send(message.clone()).is_ok(),
            Link::Socket(socket) => {
                let Some(socket) = socket.upgrade() else { return false };
                match socket.emit(&message.name, message) {
                    Ok(()) => true,
                    Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                        self.mark_gone();
                        cut_off(socket);
                        false
                    }
                    Err(error) => {
                        tracing::debug!(%error, "an event was not sent");
                        false
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.0.id).finish()
    }
}

/// Ends a socket whose send buffer is full. No packet fits down a full pipe, so its connection is cut; where the
/// connection is not ours to cut, it is told as soon as there is room.
fn cut_off(socket: Arc<Socket>) {
    tracing::warn!("a socket reads too slowly and was cut off");
    if let Some(cut) = socket.req_parts().extensions.get::<Cut>() {
        cut.now();
    }
    tokio::spawn(async move {
        while let Err(SocketError::InternalChannelFull) = socket.clone().disconnect() {
            tokio::time::sleep(DISCONNECT_RETRY).await;
        }
    });
}
