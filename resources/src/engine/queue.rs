//! The writes that wait for their records, their turn and a connection, or are under way.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Limits};

/// How many writes there are in this process, and the bytes that they keep.
#[derive(Debug, Default)]
pub(crate) struct Queue(Mutex<Load>);

#[derive(Debug, Default)]
struct Load {
    writes: usize,
    bytes: usize,
}

/// A place in the queue, until it is dropped.
#[derive(Debug)]
pub(crate) struct Queued {
    queue: Arc<Queue>,
    bytes: usize,
}

impl Queue {
    /// Takes a place for a write with a body of so many bytes, or refuses it.
    pub(crate) fn enter(self: &Arc<Self>, bytes: usize, limits: &Limits) -> Result<Queued, Error> {
        let mut load = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One write is taken whatever its size, which the runtime has bounded.
        let is_full = load.writes >= limits.writes || (load.writes > 0 && load.bytes + bytes > limits.write_bytes);
        if is_full {
            return Err(Error::TooManyWrites);
        }
        load.writes += 1;
        load.bytes += bytes;
        drop(load);
        Ok(Queued { queue: self.clone(), bytes })
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let mut load = self.queue.0.lock().unwrap_or_else(PoisonError::into_inner);
        load.writes -= 1;
        load.bytes -= self.bytes;
    }
}
