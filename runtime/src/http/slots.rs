//! How many connections and long-polling sessions there may be, in all and from one address.
//!
//! Sessions count toward the limit of connections when one of either is opened as a socket, but never keep a connection
//! out: the requests of the sessions that are there need connections.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::net::TcpStream;

use super::{Proxies, proxy::network};
use crate::metrics;

/// What a client is told whose connection is one too many.
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\nretry-after: 5\r\n\r\n";

/// The places for connections and sessions.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLimiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    limit_per_address: Option<usize>,
    proxies: Proxies,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: Count,
    /// Those that are counted by their addresses.
    by_address: HashMap<IpAddr, Count>,
    /// The last one was one too many.
    refused: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    connections: usize,
    sessions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Connection,
    Session,
}

/// The place of one connection, or of one session between its connections, which ends with it.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    slots: ConnectionLimiter,
    kind: Kind,
    address: Option<IpAddr>,
}

impl ConnectionLimiter {
    pub(crate) fn new(limit: usize, limit_per_address: Option<usize>, proxies: Proxies) -> Self {
        Self(Arc::new(Inner { limit, limit_per_address, proxies, taken: Mutex::default() }))
    }

    /// A place for a connection from this address, or `None` if it is one too many.
    pub(crate) fn take(&self, peer: IpAddr) -> Option<ConnectionPermit> {
        let is_full = |count: Count, limit| count.connections >= limit;
        self.take_unless(is_full, Kind::Connection, Some(peer))
    }

    /// A place for a session of this client, whose connection has one already; `None` if it is one too many.
    pub(crate) fn take_session(&self, client: Option<IpAddr>) -> Option<ConnectionPermit> {
        let is_full = |count: Count, limit| count.connections.max(1) + count.sessions > limit;
        self.take_unless(is_full, Kind::Session, client)
    }

    /// Whether a connection that is there may become a websocket.
    pub(crate) fn has_room(&self) -> bool {
        let all = self.lock().all;
        all.sessions == 0 || all.connections + all.sessions <= self.0.limit
    }

    fn take_unless(
        &self,
        is_full: impl Fn(Count, usize) -> bool,
        kind: Kind,
        address: Option<IpAddr>,
    ) -> Option<ConnectionPermit> {
        let (limit, counted) =
            (self.0.limit_per_address.unwrap_or(usize::MAX), address.and_then(|at| self.counted_as(at)));
        let mut taken = self.lock();
        let from_there = counted.and_then(|at| taken.by_address.get(&at)).copied().unwrap_or_default();
        if is_full(taken.all, self.0.limit) || counted.is_some() && is_full(from_there, limit) {
            if !std::mem::replace(&mut taken.refused, true) {
                let Count { connections, sessions } = taken.all;
                tracing::warn!(connections, sessions, ?address, "connections are refused: there are too many");
            }
            return None;
        }
        taken.refused = false;
        taken.all.change(kind, 1);
        if let Some(address) = counted {
            taken.by_address.entry(address).or_default().change(kind, 1);
        }
        Some(ConnectionPermit { slots: self.clone(), kind, address: counted })
    }

    /// What a client is counted as, beside the count of all: nothing, as behind a proxy there are many clients, or the
    /// network of its client.
    fn counted_as(&self, peer: IpAddr) -> Option<IpAddr> {
        self.0.limit_per_address?;
        let peer = peer.to_canonical();
        (!self.0.proxies.trusts(peer)).then(|| network(peer))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn change(&mut self, kind: Kind, by: isize) {
        let count = match kind {
            Kind::Connection => &mut self.connections,
            Kind::Session => &mut self.sessions,
        };
        *count = count.saturating_add_signed(by);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        taken.all.change(self.kind, -1);
        if let Some(address) = self.address
            && let Some(count) = taken.by_address.get_mut(&address)
        {
            count.change(self.kind, -1);
            if *count == Count::default() {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// Closes a connection that is one too many, with a word of why if that goes at once.
pub(crate) fn turn_away(stream: &TcpStream) {
    metrics::connection_refused();
    if let Err(error) = socket2::SockRef::from(stream).send(REFUSAL) {
        tracing::debug!(%error, "a connection was refused without a word");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_has_ended() {
        let slots = ConnectionLimiter::new(2, None, Proxies::default());
        let peer = address("192.0.2.1");
        let (one, _two) = (slots.take(peer).unwrap(), slots.take(peer).unwrap());
        assert!(slots.take(peer).is_none());
        drop(one);
        assert!(slots.take(peer).is_some());
        assert!(slots.lock().by_address.is_empty());
    }

    #[test]
    fn each_address_has_its_own_places() {
        let proxies = Proxies::parse(&["10.0.0.0/8".to_owned()], "x-forwarded-for").unwrap();
        let slots = ConnectionLimiter::new(100, Some(1), proxies);
        let taken: Vec<_> = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"]
            .map(|peer| slots.take(address(peer)).unwrap())
            .into();
        for one_too_many in ["192.0.2.1", "::ffff:192.0.2.2", "2001:db8::2"] {
            assert!(slots.take(address(one_too_many)).is_none(), "{one_too_many}");
        }
        let _behind_a_proxy = ["10.0.0.1", "10.0.0.1"].map(|peer| slots.take(address(peer)).unwrap());
        drop(taken);
        assert!(slots.lock().by_address.is_empty());
        assert_eq!(slots.lock().all, Count { connections: 2, sessions: 0 });
    }

    #[test]
    fn sessions_count_and_never_keep_connections_out() {
        let slots = ConnectionLimiter::new(3, None, Proxies::default());
        let peer = address("192.0.2.1");
        let connection = slots.take(peer).unwrap();
        let sessions: Vec<_> = std::iter::from_fn(|| slots.take_session(Some(peer))).take(9).collect();
        assert_eq!(sessions.len(), 3);
        assert!(!slots.has_room(), "no websocket beside them");
        let polls = [slots.take(peer).unwrap(), slots.take(peer).unwrap()];
        assert!(slots.take(peer).is_none());
        drop(polls);
        drop(sessions);
        assert!(slots.has_room());
        drop(connection);
        assert_eq!(slots.lock().all, Count::default());
    }

    #[test]
    fn each_client_behind_a_proxy_has_its_own_sessions() {
        let proxies = Proxies::parse(&["10.0.0.0/8".to_owned()], "x-forwarded-for").unwrap();
        let slots = ConnectionLimiter::new(100, Some(1), proxies);
        let _proxy = slots.take(address("10.0.0.1")).unwrap();
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|client| slots.take_session(Some(address(client))));
        assert!(one.is_some() && two.is_some());
        assert!(slots.take_session(Some(address("192.0.2.1"))).is_none());
        drop(one);
        assert!(slots.take_session(Some(address("192.0.2.1"))).is_some());
    }
}
