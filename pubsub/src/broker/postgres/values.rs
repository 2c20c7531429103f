//! Values as the tables have them, and a lock that survives a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tokio_postgres::Row;

use super::super::encoding::decode;
use crate::{Position, PublishedEvent};

/// The longest name of a stream that is stored as it is: an index takes no key of any length.
const MAX_NAME: usize = 1024;

/// The name of a stream in the tables.
pub(super) fn name(stream: &str) -> Vec<u8> {
    if stream.len() <= MAX_NAME {
        return stream.into();
    }
    // No text begins with this byte.
    [&[0xff], &*Sha256::digest(stream)].concat()
}

/// The offsets and nodes of the tables were unsigned before.
pub(super) fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

/// An entry from its body; none if no node of this version wrote it.
pub(super) fn entry(body: &[u8], positions: Vec<Position>) -> Option<PublishedEvent> {
    decode(std::str::from_utf8(body).ok()?, positions).ok()
}

/// The positions of an entry, in the order of its destinations.
pub(super) fn positions(row: &Row) -> Vec<Position> {
    let (epochs, offsets): (Vec<&str>, Vec<i64>) = (row.get("epochs"), row.get("offsets"));
    let positions = epochs.into_iter().zip(offsets);
    positions.map(|(epoch, offset)| Position { epoch: epoch.into(), offset: unsigned(offset) }).collect()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
