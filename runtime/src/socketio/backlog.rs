//! What is on its way to a socket: the bytes that were queued for it, less those that left.
//!
//! The two are counted in different places, and not everything is counted in both. More leaves than is queued here: pings,
//! headers of answers, what an application emits by itself. So a packet is counted before it is queued and never as more
//! than it has, and wherever more has left than was queued, the surplus is forgotten. What is off is then off for no
//! longer than something waits, and never to the harm of a socket that reads.

use std::sync::atomic::{AtomicU64, Ordering};

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
}

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
        let (queued, asked, asked_end) = Default::default();
        Self { outlet, limit: limit as u64, queued, asked, asked_end }
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
        }
    }

    /// Whether so little waits that a packet may be queued of which nobody knows how large it is.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting() <= self.limit / 2
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
        self.queued.fetch_max(left, Ordering::AcqRel);
        let queued = self.queued.fetch_add(self.framed(bytes), Ordering::AcqRel);
        Some((queued.saturating_sub(left), left))
    }

    /// How many of the waiting bytes the client asked for, at most.
    fn asked(&self, left: u64) -> u64 {
        self.asked.load(Ordering::Relaxed).min(self.asked_end.load(Ordering::Relaxed).saturating_sub(left))
    }

    /// The bytes of a packet with the header of its frame.
    fn framed(&self, bytes: usize) -> u64 {
        let header = match bytes {
            _ if !self.outlet.is_websocket() => 0,
            ..126 => 2,
            126..65_536 => 4,
            _ => 10,
        };
        bytes as u64 + header
    }
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
}
