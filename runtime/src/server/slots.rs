//! How many connections there may be, in all and from one address.

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

/// The places for connections.
#[derive(Clone, Debug)]
pub(crate) struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    limit_per_address: Option<usize>,
    proxies: Proxies,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Those that are counted by their addresses.
    by_address: HashMap<IpAddr, usize>,
    /// The last connection was one too many.
    refused: bool,
}

/// The place of one connection, which ends with it.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    address: Option<IpAddr>,
}

impl Slots {
    pub(crate) fn new(limit: usize, limit_per_address: Option<usize>, proxies: Proxies) -> Self {
        Self(Arc::new(Inner { limit, limit_per_address, proxies, taken: Mutex::default() }))
    }

    /// A place for a connection from this address, or `None` if it is one too many.
    pub(crate) fn take(&self, peer: IpAddr) -> Option<Slot> {
        let (limit, address) = (self.0.limit_per_address.unwrap_or(usize::MAX), self.counted_as(peer));
        let mut taken = self.lock();
        let from_there = address.and_then(|address| taken.by_address.get(&address)).copied().unwrap_or_default();
        let refused = taken.all >= self.0.limit || from_there >= limit;
        if refused {
            if !std::mem::replace(&mut taken.refused, true) {
                tracing::warn!(connections = taken.all, from_there, %peer, "connections are refused: there are too many");
            }
            return None;
        }
        taken.refused = false;
        taken.all += 1;
        if let Some(address) = address {
            taken.by_address.insert(address, from_there + 1);
        }
        Some(Slot { slots: self.clone(), address })
    }

    /// What a connection is counted as, beside the count of all: nothing, as behind a proxy there are many clients, or the
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

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        taken.all -= 1;
        if let Some(address) = self.address
            && let Some(count) = taken.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
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
        let slots = Slots::new(2, None, Proxies::default());
        let peer = address("192.0.2.1");
        let (one, _two) = (slots.take(peer).unwrap(), slots.take(peer).unwrap());
        assert!(slots.take(peer).is_none());
        drop(one);
        assert!(slots.take(peer).is_some());
        assert!(slots.lock().by_address.is_empty());
    }

    #[test]
    fn each_address_has_its_own_places() {
        let proxies = Proxies::parse(&["10.0.0.0/8".to_owned()]).unwrap();
        let slots = Slots::new(100, Some(1), proxies);
        let taken: Vec<_> = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"]
            .map(|peer| slots.take(address(peer)).unwrap())
            .into();
        for one_too_many in ["192.0.2.1", "::ffff:192.0.2.2", "2001:db8::2"] {
            assert!(slots.take(address(one_too_many)).is_none(), "{one_too_many}");
        }
        let _behind_a_proxy = ["10.0.0.1", "10.0.0.1"].map(|peer| slots.take(address(peer)).unwrap());
        drop(taken);
        assert!(slots.lock().by_address.is_empty());
        assert_eq!(slots.lock().all, 2);
    }
}
