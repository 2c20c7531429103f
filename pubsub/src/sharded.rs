//! A map by name in parts, so that those who look for different names seldom wait for each other.

use std::{
    collections::hash_map::Entry,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::environment::HashMap;

/// How many parts a map has: more than a machine has cores that publish at the same time.
const SHARDS: u64 = 64;
/// How many bytes at the end of a name decide which part it is in.
const DECIDING: usize = 8;

/// Values by name.
#[derive(Debug)]
pub(super) struct Sharded<V>(Box<[Shard<V>]>);

type Shard<V> = Mutex<HashMap<Arc<str>, V>>;

impl<V: Clone> Sharded<V> {
    pub(super) fn get(&self, name: &str) -> Option<V> {
        self.shard(name).get(name).cloned()
    }

    /// Returns the value of a name, which is made under the lock of its part if there is none.
    pub(super) fn get_or_insert_with(&self, name: &Arc<str>, make: impl FnOnce() -> V) -> V {
        match self.shard(name).entry(name.clone()) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => place.insert(make()).clone(),
        }
    }

    /// Removes a name, and calls a function with its value under the lock of its part.
    pub(super) fn remove_with(&self, name: &str, removed: impl FnOnce(V)) {
        let mut shard = self.shard(name);
        if let Some(value) = shard.remove(name) {
            removed(value);
        }
    }

    /// Removes a name if its value is such, which is looked at under the lock of its part.
    pub(super) fn remove_if(&self, name: &str, is_so: impl FnOnce(&V) -> bool) -> bool {
        let mut shard = self.shard(name);
        let is_so = shard.get(name).is_some_and(is_so);
        if is_so {
            shard.remove(name);
        }
        is_so
    }

    /// Returns the value of a name, or calls a function under the lock of its part.
    pub(super) fn get_or_else(&self, name: &str, missing: impl FnOnce()) -> Option<V> {
        let shard = self.shard(name);
        let value = shard.get(name).cloned();
        if value.is_none() {
            missing();
        }
        value
    }

    pub(super) fn values(&self) -> Vec<V> {
        self.0.iter().flat_map(|shard| lock(shard).values().cloned().collect::<Vec<_>>()).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shard| lock(shard).len()).sum()
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.0.iter().flat_map(|shard| lock(shard).keys().cloned().collect::<Vec<_>>()).collect()
    }

    #[cfg(test)]
    pub(super) fn clear(&self) {
        self.0.iter().for_each(|shard| lock(shard).clear());
    }

    /// Names that somebody chose to be in one part share its lock, and nothing else: the part itself hashes them.
    fn shard(&self, name: &str) -> MutexGuard<'_, HashMap<Arc<str>, V>> {
        let end = name.bytes().rev().take(DECIDING).fold(0_u64, |end, byte| end << 8 | u64::from(byte));
        // The golden ratio spreads names that differ in a few digits over the upper bits.
        let shard = end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SHARDS.ilog2());
        lock(&self.0[usize::try_from(shard).unwrap_or_default()])
    }
}

impl<V> Default for Sharded<V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

fn lock<V>(shard: &Mutex<V>) -> MutexGuard<'_, V> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_all_parts() {
        let map = Sharded::default();
        for n in 0..1000_usize {
            map.get_or_insert_with(&n.to_string().into(), || n);
        }
        assert!((0..1000).all(|n| map.get(&n.to_string()) == Some(n)));
        assert!(map.0.iter().all(|shard| lock(shard).len() > 1), "they are spread");
        map.remove_with("7", |removed| assert_eq!(removed, 7));
        assert_eq!((map.len(), map.values().len(), map.get("7"), map.get("")), (999, 999, None, None));
    }
}
