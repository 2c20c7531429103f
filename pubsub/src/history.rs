//! How much of a channel is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most entries, and bytes of them, that a stream keeps for subscriptions that are not live yet.
pub(crate) const MAX_HELD: usize = 4096;
pub(crate) const MAX_HELD_BYTES: usize = 4 * 1024 * 1024;

/// The bytes that are kept unless a channel says otherwise.
const BYTES: usize = 1024 * 1024;

/// How much of a channel is kept for sockets that come back, and for which; by default nothing.
///
/// `#[channel(.., history = 256, history_seconds = 3600)]` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Option<Duration>,
    pub(crate) since_subscribe: bool,
}

impl History {
    /// Nothing is kept.
    pub const NONE: Self = Self::of(0);

    /// The newest events, so many of them, and at most 1 MiB.
    pub const fn of(events: usize) -> Self {
        Self { entries: events, bytes: BYTES, age: None, since_subscribe: false }
    }

    /// At most so many bytes.
    ///
    /// # Panics
    ///
    /// If there are none.
    #[track_caller]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "a history of no bytes keeps nothing: leave it out");
        self.bytes = bytes;
        self
    }

    /// At most for so many seconds.
    ///
    /// # Panics
    ///
    /// If there are none.
    #[track_caller]
    pub const fn seconds(mut self, seconds: u64) -> Self {
        assert!(seconds > 0, "a history of no seconds keeps nothing: leave it out");
        self.age = Some(Duration::from_secs(seconds));
        self
    }

    /// For each client only what was published since it subscribed.
    pub const fn since_subscribe(mut self) -> Self {
        self.since_subscribe = true;
        self
    }

    /// What keeps enough for both: channels that share a stream may ask for different amounts.
    pub(crate) fn and(self, other: Self) -> Self {
        let (shorter, longer) = if self.entries <= other.entries { (self, other) } else { (other, self) };
        if shorter.entries == 0 {
            return longer;
        }
        Self {
            bytes: longer.bytes.max(shorter.bytes),
            age: longer.age.zip(shorter.age).map(|(a, b)| a.max(b)),
            ..longer
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_histories_of_one_stream_keep_enough_for_both() {
        let (many, long) = (History::of(9).bytes(90).seconds(1), History::of(3).bytes(100).seconds(5));
        assert_eq!(many.and(long), History::of(9).bytes(100).seconds(5));
        assert_eq!(long.and(many), many.and(long));
        assert_eq!(many.and(History::of(3)).age, None);
        assert_eq!(History::NONE.and(long), long);
    }
}
