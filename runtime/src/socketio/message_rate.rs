//! How many requests a second one socket may send.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// What a socket saves up while it sends less: ten seconds' worth at once.
const BURST: Duration = Duration::from_secs(10);

/// The requests of one socket, counted as a bucket that empties evenly.
#[derive(Debug)]
pub(super) struct MessageRate {
    /// What one message takes of the bucket, in nanoseconds; 0 if messages are not counted.
    cost: u64,
    opened: Instant,
    /// When the bucket is empty again, in nanoseconds after `opened`.
    empty: AtomicU64,
}

impl MessageRate {
    pub(super) fn new(messages_per_second: u32) -> Self {
        let cost = if messages_per_second == u32::MAX { 0 } else { 1_000_000_000 / u64::from(messages_per_second) };
        Self { cost, opened: Instant::now(), empty: AtomicU64::new(0) }
    }

    /// Counts a message; false if it is one too many. The reader of one connection calls it, a message at a time.
    pub(super) fn admit(&self) -> bool {
        self.cost == 0 || self.admit_at(self.opened.elapsed())
    }

    fn admit_at(&self, now: Duration) -> bool {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = nanos(now);
        let empty = self.empty.load(Ordering::Relaxed).max(now) + self.cost;
        let fits = empty - now <= nanos(BURST);
        if fits {
            self.empty.store(empty, Ordering::Relaxed);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(rate: &MessageRate, at: Duration) -> usize {
        (0..1000).filter(|_| rate.admit_at(at)).count()
    }

    #[test]
    fn burst_is_ten_seconds_worth_and_refills_evenly() {
        let rate = MessageRate::new(5);
        assert_eq!(admitted(&rate, Duration::ZERO), 50);
        assert_eq!(admitted(&rate, Duration::from_millis(199)), 0);
        assert_eq!(admitted(&rate, Duration::from_secs(2)), 10);
        assert_eq!(admitted(&rate, Duration::from_secs(3600)), 50);
    }

    #[test]
    fn unlimited_messages_are_not_counted() {
        let rate = MessageRate::new(u32::MAX);
        assert!((0..100_000).all(|_| rate.admit()));
    }
}
