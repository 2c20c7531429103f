//! Locks on records, by the hash of their table and identity.
//!
//! A record's stripe is held from before its write until the change was handed on, so in this process changes are told
//! in the order in which they were committed.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Meta;

const COUNT: usize = 64;

/// All stripes of a process.
#[derive(Debug)]
pub(crate) struct Stripes([Arc<Mutex<()>>; COUNT]);

impl Default for Stripes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }
}

/// Stripes that are held; they are free again when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(BTreeMap<usize, OwnedMutexGuard<()>>);

/// The stripe of a record, whose identity is given as [`key_text`](crate::meta::key_text) says it.
pub(crate) fn stripe(meta: &Meta, key: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    (meta.name, key).hash(&mut hasher);
    usize::try_from(hasher.finish() % COUNT as u64).unwrap_or_default()
}

impl Stripes {
    /// Waits for stripes, in the one order in which everybody does.
    pub(crate) async fn hold(&self, mut wanted: Vec<usize>) -> Held {
        wanted.sort_unstable();
        wanted.dedup();
        let mut held = Held::default();
        for at in wanted {
            held.0.insert(at, self.0[at].clone().lock_owned().await);
        }
        held
    }

    pub(crate) async fn hold_all(&self) -> Held {
        self.hold((0..COUNT).collect()).await
    }

    /// Adds stripes without waiting: inside a transaction that could wait for the one who holds them, who waits for it.
    pub(crate) fn extend(&self, held: &mut Held, wanted: &[usize]) -> bool {
        wanted.iter().all(|at| {
            held.0.contains_key(at)
                || match self.0[*at].clone().try_lock_owned() {
                    Ok(guard) => held.0.insert(*at, guard).is_none(),
                    Err(_) => false,
                }
        })
    }
}

impl Held {
    /// Which these are.
    pub(crate) fn stripes(&self) -> Vec<usize> {
        self.0.keys().copied().collect()
    }
}
