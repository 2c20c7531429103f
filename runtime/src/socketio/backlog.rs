//! What is on its way to a socket: the bytes that were queued for it, less those that left.
//!
//! The two are counted in different places, and not everything is counted in both. More leaves than is queued here: pings,
//! headers of answers, what an application emits by itself. So a packet is counted before it is queued and never as more
//! than it has, and wherever more has left than was queued, the surplus is forgotten. What is off is then off for no
//! longer than something waits, and never to the harm of a socket that reads.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use axum::http::Extensions;

use crate::http::{ConnectionHandle, Session};

/// The bytes on their way to one socket.
#[derive(Debug)]
pub(crate) struct Backlog {
    outlet: Outlet,
    limit: u64,
    /// All bytes queued so far, and at least as many as have left.
    queued: AtomicU64,
    /// How many of the bytes up to `asked_end` the client asked for.
    asked: AtomicU64,
    asked_end: AtomicU64,
    /// How many packets were queued.
    packets: AtomicU64,
    /// What the client sent until here is answered, and its answers have left.
    settled: AtomicU64,
    mark: Mutex<Option<Mark>>,
}

/// When the packet of this number has left, so has everything that answers what the client had sent until here.
#[derive(Clone, Copy, Debug)]
struct Mark {
    packet: u64,
    handled: u64,
}

/// How many packets may be waiting for a socket, at most, so that its queue certainly takes another: less than half of those that it
/// takes, for what engineioxide queues unasked.
pub(crate) const SURE_PACKETS: u64 = 8 * 1024;
/// The bytes of the smallest packet of a client that may be answered: a frame's head of six, and one.
const SMALLEST_PACKET: u64 = 7;

/// How packets leave for a socket.
#[derive(Debug)]
enum Outlet {
    ConnectionHandle(ConnectionHandle),
    Session(Session),
    /// On a connection that is not ours, in a server that an application brought. Nobody can tell what has left.
    Unseen,
}

impl Backlog {
    /// The backlog of a socket with these extensions of its handshake, which may have about `limit` bytes.
    pub(crate) fn of(handshake: &Extensions, limit: usize) -> Self {
        let outlet = match (handshake.get::<Session>(), handshake.get::<ConnectionHandle>()) {
            (Some(session), _) => Outlet::Session(session.clone()),
            (None, Some(wire)) => Outlet::ConnectionHandle(wire.clone()),
            (None, None) => Outlet::Unseen,
        };
        Self {
            outlet,
            limit: limit as u64,
            queued: AtomicU64::default(),
            asked: AtomicU64::default(),
            asked_end: AtomicU64::default(),
            packets: AtomicU64::default(),
            settled: AtomicU64::default(),
            mark: Mutex::default(),
        }
    }

    /// Counts a packet that is about to be queued. Fails with the bytes that wait if they are too many, and wait for the
    /// client: what it asked for itself is not held against it, nor is a burst that we have had no time to write.
    pub(crate) fn add(&self, bytes: usize) -> Result<(), u64> {
        let Some((waiting, left)) = self.push(bytes) else { return Ok(()) };
        let too_many = waiting.saturating_sub(self.asked(left)) > self.limit;
        if too_many && self.outlet.is_blocked() { Err(waiting) } else { Ok(()) }
    }

    /// Counts a packet that the client asked for: an ack, or what it missed.
    pub(crate) fn add_asked(&self, bytes: usize) {
        if let Some((waiting, left)) = self.push(bytes) {
            self.asked.store(self.asked(left) + bytes as u64, Ordering::Relaxed);
            self.asked_end.store(left + waiting + bytes as u64, Ordering::Relaxed);
        }
    }

    /// Takes back a packet that could not be queued.
    pub(crate) fn take_back(&self, bytes: usize) {
        if self.outlet.left().is_some() {
            self.queued.fetch_sub(self.framed(bytes), Ordering::AcqRel);
            self.packets.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether so little waits that a packet may be queued of which nobody knows how large it is.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting() <= self.limit / 2
    }

    /// Counts a packet that is about to be queued, if the socket's queue certainly has a place for it. So it may be sent together with
    /// others, where nobody is told whose queue is full.
    ///
    /// In the queue are the packets that are counted here, and what socketioxide answers by itself, such as a CONNECT to a namespace that
    /// there is not: one for each packet of the client at most. What the application emits by itself nobody counts.
    pub(crate) fn take_place(&self, bytes: usize) -> bool {
        let Outlet::ConnectionHandle(wire) = &self.outlet else { return false };
        if wire.is_blocked() || !(self.is_sure(wire) || self.settle(wire)) {
            return false;
        }
        self.count(wire.written(), framed(bytes));
        true
    }

    fn is_sure(&self, wire: &ConnectionHandle) -> bool {
        let (packets, left) = (self.packets.load(Ordering::Acquire), wire.events());
        if left > packets {
            // Some were the application's own.
            self.packets.fetch_max(left, Ordering::AcqRel);
        }
        let answers = wire.read().saturating_sub(self.settled.load(Ordering::Acquire)) / SMALLEST_PACKET;
        packets.saturating_sub(left) + answers < SURE_PACKETS
    }

    /// Forgets what the client sent before the last mark, if that has left; then the next packet is one.
    fn settle(&self, wire: &ConnectionHandle) -> bool {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Mark { packet, handled }) = *mark {
            if packet > wire.events() {
                return false;
            }
            self.settled.store(handled, Ordering::Release);
        }
        // In this order: what is handled now was answered before the packet that is queued next.
        let handled = wire.handled();
        *mark = Some(Mark { packet: self.packets.load(Ordering::Acquire) + 1, handled });
        self.is_sure(wire)
    }

    /// How many bytes wait, as far as anybody knows.
    pub(crate) fn waiting(&self) -> u64 {
        self.outlet.left().map_or(0, |left| self.queued.load(Ordering::Acquire).saturating_sub(left))
    }

    /// Ends the way out; false if it is not ours to end.
    pub(crate) fn cut(&self) -> bool {
        match &self.outlet {
            Outlet::ConnectionHandle(wire) => wire.cut(),
            Outlet::Session(session) => session.end(),
            Outlet::Unseen => return false,
        }
        true
    }

    /// Counts a packet; says how many bytes waited before it, and how many had left.
    fn push(&self, bytes: usize) -> Option<(u64, u64)> {
        let left = self.outlet.left()?;
        Some((self.count(left, self.framed(bytes)).saturating_sub(left), left))
    }

    /// Counts a packet, and returns how many bytes were queued before it, of which so many have left.
    fn count(&self, left: u64, bytes: u64) -> u64 {
        if self.queued.load(Ordering::Acquire) < left {
            self.queued.fetch_max(left, Ordering::AcqRel);
        }
        self.packets.fetch_add(1, Ordering::AcqRel);
        self.queued.fetch_add(bytes, Ordering::AcqRel)
    }

    /// How many of the waiting bytes the client asked for, at most.
    fn asked(&self, left: u64) -> u64 {
        self.asked.load(Ordering::Relaxed).min(self.asked_end.load(Ordering::Relaxed).saturating_sub(left))
    }

    /// The bytes of a packet with the header of its frame.
    fn framed(&self, bytes: usize) -> u64 {
        if self.outlet.is_websocket() { framed(bytes) } else { bytes as u64 }
    }
}

/// The bytes of a packet in a frame.
fn framed(bytes: usize) -> u64 {
    let header = match bytes {
        ..126 => 2,
        126..65_536 => 4,
        _ => 10,
    };
    bytes as u64 + header
}

impl Outlet {
    /// How many bytes have left so far; `None` if nobody knows.
    fn left(&self) -> Option<u64> {
        match self {
            Self::ConnectionHandle(wire) => Some(wire.written()),
            Self::Session(session) => session.written(),
            Self::Unseen => None,
        }
    }

    /// Whether what waits has to wait for the client.
    fn is_blocked(&self) -> bool {
        match self {
            Self::ConnectionHandle(wire) => wire.is_blocked(),
            Self::Session(session) => session.is_blocked(),
            Self::Unseen => false,
        }
    }

    fn is_websocket(&self) -> bool {
        match self {
            Self::ConnectionHandle(_) => true,
            Self::Session(session) => session.is_upgraded(),
            Self::Unseen => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(limit: usize) -> (Backlog, ConnectionHandle) {
        let wire = ConnectionHandle::default();
        let mut handshake = Extensions::new();
        handshake.insert(wire.clone());
        wire.block(true);
        (Backlog::of(&handshake, limit), wire)
    }

    #[test]
    fn what_waits_is_what_was_queued_and_has_not_left() {
        let (backlog, wire) = backlog(1000);
        assert_eq!(backlog.add(500), Ok(()));
        assert_eq!(backlog.add(500), Ok(()));
        assert_eq!(backlog.add(500), Err(2 * 504));
        wire.count(3 * 504);
        assert_eq!(backlog.add(500), Ok(()));
        assert_eq!(backlog.waiting(), 504);
    }

    #[test]
    fn a_burst_that_nobody_had_time_to_write_is_not_the_clients_fault() {
        let (backlog, wire) = backlog(1000);
        wire.block(false);
        assert_eq!(backlog.add(5000), Ok(()));
        assert_eq!(backlog.add(5000), Ok(()));
        wire.block(true);
        assert_eq!(backlog.add(5000), Err(2 * 5004));
    }

    #[test]
    fn what_left_and_was_not_queued_here_is_forgotten() {
        let (backlog, wire) = backlog(1000);
        wire.count(1_000_000);
        assert_eq!(backlog.add(1000), Ok(()));
        wire.count(1004 + 1_000_000);
        assert_eq!(backlog.add(2000), Ok(()));
        assert_eq!(backlog.add(0), Err(2004));
    }

    #[test]
    fn what_the_client_asked_for_is_not_held_against_it() {
        let (backlog, wire) = backlog(1000);
        assert!(backlog.has_room());
        backlog.add_asked(70_000);
        assert!(!backlog.has_room());
        assert_eq!(backlog.add(900), Ok(()));
        assert_eq!(backlog.add(100), Ok(()));
        assert!(backlog.add(100).is_err());
        // Only the events are left.
        wire.count(70_010);
        assert!(backlog.add(100).is_err());
        wire.count(1000);
        assert_eq!(backlog.add(100), Ok(()));
    }

    #[test]
    fn a_packet_that_was_not_queued_does_not_wait() {
        let (backlog, _) = backlog(1000);
        backlog.add_asked(5000);
        backlog.take_back(5000);
        assert_eq!(backlog.waiting(), 0);
    }

    #[test]
    fn nothing_is_held_against_a_socket_on_a_connection_of_others() {
        let backlog = Backlog::of(&Extensions::new(), 1);
        assert_eq!(backlog.add(1_000_000), Ok(()));
        assert_eq!(backlog.add(1_000_000), Ok(()));
        assert!(backlog.has_room());
    }

    #[test]
    fn place_is_sure_as_long_as_few_packets_can_wait() {
        let (backlog, wire) = backlog(1_000_000);
        wire.block(false);
        for _ in 0..SURE_PACKETS {
            assert!(backlog.take_place(1));
        }
        assert!(!backlog.take_place(1));
        assert_eq!(backlog.waiting(), SURE_PACKETS * 3, "what found no place is not counted");
        wire.count_events(1);
        assert!(backlog.take_place(1));
        wire.count_events(1);
        wire.block(true);
        assert!(!backlog.take_place(1), "a blocked connection has to be asked");
    }

    #[test]
    fn packets_of_the_client_may_be_answered_until_a_later_packet_has_left() {
        let (backlog, wire) = backlog(1_000_000);
        wire.block(false);
        assert!(backlog.take_place(1));
        wire.count_events(1);
        wire.count_read(usize::try_from(SURE_PACKETS * SMALLEST_PACKET).unwrap());
        assert!(!backlog.take_place(1), "all of it may be answered and wait");
        wire.ask();
        assert!(!backlog.take_place(1), "the mark was set before this was handled");
        // One at a time, as a socket that is not sent to together with others.
        for left in 2..4 {
            backlog.add(1).unwrap();
            assert!(!backlog.take_place(1));
            wire.count_events(1);
            assert_eq!(backlog.take_place(1), left == 3, "the first mark came before, the second after");
        }
    }

    #[test]
    fn queue_of_others_is_never_sure() {
        assert!(!Backlog::of(&Extensions::new(), 1).take_place(1));
    }
}
