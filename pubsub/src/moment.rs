//! The order of what happens in one process, without a clock.

use std::sync::atomic::{AtomicU64, Ordering};

static LAST: AtomicU64 = AtomicU64::new(0);

/// A moment, before all later ones of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// The moment of the last event.
    pub(crate) fn now() -> Self {
        Self(LAST.load(Ordering::SeqCst))
    }

    /// The moment of a new event, such as a closing: later than all moments so far.
    pub(crate) fn next() -> Self {
        Self(LAST.fetch_add(1, Ordering::SeqCst) + 1)
    }
}
