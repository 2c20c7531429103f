//! One end of a subscription: a connected socket, or the inbox of a test.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::request::Parts;
use socketioxide::{SendError, SocketError, socket::Socket};
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

use super::{
    entry::{Copy, Entry, Id, Position},
    frame::{Frame, Replayed},
    log::MAX_HELD,
    message::Message,
    stream::Stream,
};
use crate::{server::Cut, socket::Handshake};

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
    /// Which connection of its client this is; 0 if the client does not count.
    connection: u64,
    /// What the client had received when it connected, by channel.
    received: Resume,
    /// The entries of several channels of which it was sent one copy since. Made with the first.
    sent: Mutex<Option<Box<Recent>>>,
    link: Link,
    gone: AtomicBool,
    /// How many requests are being answered; whoever closes the socket waits for the last.
    busy: AtomicUsize,
    idle: Notify,
    joined: Mutex<HashMap<Arc<str>, Arc<Stream>>>,
    /// How many subscriptions are held for it that are not live yet.
    held: AtomicUsize,
}

enum Link {
    /// Weak, because the socket owns what owns this, through the handlers of its events.
    Socket(Weak<Socket>),
    Inbox(mpsc::UnboundedSender<Message>, Arc<Parts>),
    /// The frames as they would stand on the wire.
    #[cfg(test)]
    Wire(mpsc::UnboundedSender<String>),
}

/// What a client says that it received, by channel.
pub(crate) type Resume = HashMap<String, Received>;

/// What a client has received of a channel: all that follows `since` in the position's epoch, up to the position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) since: u64,
    pub(crate) upto: Position,
}

impl Received {
    fn covers(&self, position: &Position) -> bool {
        self.upto.epoch == position.epoch && self.since < position.offset && position.offset <= self.upto.offset
    }
}

/// The newest entries that were sent.
#[derive(Default)]
struct Recent {
    ids: HashSet<Id>,
    order: VecDeque<Id>,
}

impl Recent {
    /// False if it is known already. The oldest is forgotten for it when there are more than a subscription can hold.
    fn add(&mut self, id: Id) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_HELD
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

impl Peer {
    pub(crate) fn of_socket(socket: &Arc<Socket>, client: Option<Arc<str>>, connection: u64, received: Resume) -> Self {
        Self::new(socket.id.to_string(), client, connection, received, Link::Socket(Arc::downgrade(socket)))
    }

    pub(crate) fn of_inbox(id: String, inbox: mpsc::UnboundedSender<Message>, handshake: Parts) -> Self {
        Self::new(id, None, 0, Resume::new(), Link::Inbox(inbox, Arc::new(handshake)))
    }

    fn new(id: String, client: Option<Arc<str>>, connection: u64, received: Resume, link: Link) -> Self {
        let (sent, gone, busy, idle, joined, held) = Default::default();
        Self(Arc::new(Inner { id, client, connection, received, sent, link, gone, busy, idle, joined, held }))
    }

    pub(crate) fn client(&self) -> Option<&Arc<str>> {
        self.0.client.as_ref()
    }

    /// Whether its client made this connection after the other; only a client that counts can tell.
    pub(crate) fn is_newer_than(&self, other: &Self) -> bool {
        other.0.connection != 0 && self.0.connection > other.0.connection
    }

    /// The channels that the socket is live in. A stream's lock may be taken under this one, not the other way round.
    pub(crate) fn joined(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Stream>>> {
        self.0.joined.lock().unwrap_or_else(PoisonError::into_inner)
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
            Link::Socket(socket) => socket.upgrade().map(Handshake::Of),
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

    /// A request is being answered, for as long as the value lives.
    pub(crate) fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::SeqCst);
        Busy(self.clone())
    }

    /// Nothing more is sent to the socket but why. False if it was gone.
    pub(super) fn close(&self, reason: &str) -> bool {
        if self.0.gone.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.transmit(&Frame::Closed { reason });
        true
    }

    /// Ends the connection of a closed socket, once its requests are answered.
    pub(super) fn hang_up(&self) {
        // There is none in a test.
        if self.socket().is_none() {
            return;
        }
        let peer = self.clone();
        tokio::spawn(async move {
            let answered = async {
                while peer.0.busy.load(Ordering::SeqCst) > 0 {
                    peer.0.idle.notified().await;
                }
            };
            let _ = timeout(LAST_WORDS, answered).await;
            let Some(socket) = peer.socket() else { return };
            if timeout(LAST_WORDS, disconnect(socket.clone())).await.is_err() {
                cut_off(socket);
            }
        });
    }

    fn socket(&self) -> Option<Arc<Socket>> {
        match &self.0.link {
            Link::Socket(socket) => socket.upgrade(),
            _ => None,
        }
    }

    /// Sends a frame, or cuts the socket off: a subscriber that missed one in silence would be worse off.
    pub(crate) fn send(&self, frame: &Frame<'_>) {
        if !self.is_gone() {
            self.transmit(frame);
        }
    }

    fn transmit(&self, frame: &Frame<'_>) {
        match &self.0.link {
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
                        self.end();
                    }
                    Err(error) => tracing::debug!(%error, "an event was not sent"),
                }
            }
        }
    }

    /// Sends a copy of an entry; after another copy of it no more than that the client is past this one.
    pub(crate) fn send_copy(&self, copy: &Copy) {
        let (channel, offset, entry) = (copy.channel(), copy.offset(), &*copy.entry);
        let whole = Frame::Entry { channel, offset, message: &entry.message };
        if entry.places.len() == 1 {
            return self.send(&whole);
        }
        // Two copies may come at once, on two streams. The lock is held while the first is sent, so that it is the first.
        let mut sent = self.sent();
        if self.is_first(&mut sent, entry) { self.send(&whole) } else { self.send(&Frame::Advance { channel, offset }) }
    }

    /// Sends an entry that has no position.
    pub(crate) fn send_uncounted(&self, entry: &Entry) {
        let mut sent = self.sent();
        if self.is_first(&mut sent, entry) {
            self.send(&Frame::Event(&entry.message));
        }
    }

    /// Sends what a subscription missed, in packets of a bounded size.
    pub(crate) fn send_replay<'a>(&self, channel: &str, missed: impl Iterator<Item = &'a Copy>) {
        let mut sent = self.sent();
        let missed = missed.filter(|copy| !copy.entry.leaves_out(self));
        let mut missed = missed.map(|copy| {
            let whole = self.is_first(&mut sent, &copy.entry);
            Replayed { offset: copy.offset(), message: whole.then_some(&copy.entry.message) }
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

    /// Whether the client gets an entry for the first time; asked once for each copy.
    fn is_first(&self, sent: &mut Option<Box<Recent>>, entry: &Entry) -> bool {
        if entry.places.len() == 1 {
            return true;
        }
        let had = entry.places.iter().any(|place| {
            let received = self.0.received.get(&*place.target.channel);
            received.zip(place.position.as_ref()).is_some_and(|(received, position)| received.covers(position))
        });
        !had && sent.get_or_insert_default().add(entry.id)
    }

    fn sent(&self) -> MutexGuard<'_, Option<Box<Recent>>> {
        self.0.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the socket: nothing more is sent to it, and its client hears a disconnect.
    pub(crate) fn end(&self) {
        self.mark_gone();
        if let Some(socket) = self.socket() {
            cut_off(socket);
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

/// Ends a socket. No packet fits down a full pipe, so its connection is cut; where the connection is not ours to cut, it
/// is told as soon as there is room.
fn cut_off(socket: Arc<Socket>) {
    if let Some(cut) = socket.req_parts().extensions.get::<Cut>() {
        cut.now();
    }
    tokio::spawn(disconnect(socket));
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
        let (sender, wire) = mpsc::unbounded_channel();
        (Self::new(id.to_owned(), client.map(Arc::from), 0, received, Link::Wire(sender)), wire)
    }
}
