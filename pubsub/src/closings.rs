//! The closings that a server has carried out of late: each once, and those who tag or subscribe a socket later see them.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    entry::{Id, Target},
    moment::Moment,
};

/// How many closings are kept, and for how long.
pub(super) const KEPT: usize = 1024;
pub(super) const KEPT_SECONDS: u64 = 3600;

/// Whose sockets were closed.
#[derive(Clone, Debug)]
pub(super) enum Closed {
    Tag(String),
    Members(Target),
    /// All that the server had.
    All,
}

impl Closed {
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        matches!(self, Self::All) || matches!(self, Self::Tag(closed) if closed == tag)
    }

    pub(super) fn has_channel(&self, stream: &str, channel: &str) -> bool {
        let is_it = |closed: &Target| *closed.stream == *stream && *closed.channel == *channel;
        matches!(self, Self::All) || matches!(self, Self::Members(closed) if is_it(closed))
    }
}

/// Why sockets are closed.
#[derive(Clone, Debug)]
pub(super) struct Reason {
    /// What their clients are told.
    pub(super) text: String,
    /// Since when this server was away as it came to know of the closing. Whether sockets that came since then were there before
    /// the closing, it cannot know.
    pub(super) away_since: Option<Moment>,
}

#[derive(Debug)]
struct Closing {
    closed: Closed,
    reason: Reason,
    /// What another server calls it.
    by: Option<Id>,
    moment: Moment,
    at: Instant,
}

/// The closings of late, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Closings(Mutex<VecDeque<Closing>>);

impl Closings {
    /// Notes a closing, before its sockets are looked up. False if this server has carried it out before: sockets that came
    /// since then are not meant.
    pub(super) fn note(&self, closed: Closed, reason: Reason, by: Option<Id>) -> bool {
        let mut kept = self.lock();
        let oldest = Duration::from_secs(KEPT_SECONDS);
        while kept.len() >= KEPT || kept.front().is_some_and(|closing| closing.at.elapsed() > oldest) {
            kept.pop_front();
        }
        if by.is_some() && kept.iter().any(|closing| closing.by == by) {
            return false;
        }
        kept.push_back(Closing { closed, reason, by, moment: Moment::next(), at: Instant::now() });
        true
    }

    /// The reason of the last closing since a moment that concerns somebody.
    pub(super) fn since(&self, moment: Moment, concerns: impl Fn(&Closed) -> bool) -> Option<Reason> {
        let kept = self.lock();
        let mut since = kept.iter().rev().take_while(|closing| closing.moment > moment);
        since.find(|closing| concerns(&closing.closed)).map(|closing| closing.reason.clone())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Closing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn closings_are_kept_within_their_limits() {
        let (closings, began) = (Closings::default(), Moment::now());
        let reason = || Reason { text: "out".to_owned(), away_since: None };
        for tag in 0..2 * KEPT {
            assert!(closings.note(Closed::Tag(tag.to_string()), reason(), None));
        }
        assert_eq!(closings.lock().len(), KEPT);
        let has = |tag: usize| closings.since(began, |closed| closed.has_tag(&tag.to_string())).is_some();
        assert_eq!((has(0), has(KEPT - 1), has(KEPT), has(2 * KEPT - 1)), (false, false, true, true));
        tokio::time::advance(Duration::from_secs(KEPT_SECONDS + 1)).await;
        closings.note(Closed::All, reason(), None);
        assert_eq!(closings.lock().len(), 1);
    }
}
