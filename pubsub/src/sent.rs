//! What one client was sent already: an event that goes to several of its channels reaches it once.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    entry::{Id, PublishedEvent, StreamEntry},
    history::MAX_HELD,
    position::Position,
};

/// What a client says that it received, by channel.
pub type Resume = HashMap<String, Received>;

/// What a client has received of a channel: all that follows `since` in the position's epoch, up to the position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The offset that it follows.
    pub since: u64,
    /// The last that it has.
    pub upto: Position,
    /// The viewer that received it, for a filtered channel: the [number](crate::EventFilter::viewer) in the ack.
    pub viewer: Option<u64>,
}

impl Received {
    fn covers(&self, position: &Position) -> bool {
        self.upto.epoch == position.epoch && self.since < position.offset && position.offset <= self.upto.offset
    }
}

/// What a client had when it connected, and what it was sent since.
pub(super) struct Sent {
    received: Resume,
    /// Made with the first entry of several channels.
    since: Mutex<Option<Box<Since>>>,
}

/// The entries of several channels that a client was sent since it connected.
#[derive(Default)]
struct Since {
    /// Of each channel, the entries that were sent or were known to be.
    channels: HashMap<Arc<str>, Received>,
    /// The newest of all, also of channels that it has left.
    recent: Recent,
}

impl Sent {
    /// Nothing yet, to a client that had received this before.
    pub(super) fn after(received: Resume) -> Self {
        Self { received, since: Mutex::default() }
    }

    /// Two copies may come at once, on two streams: whoever sends one holds this meanwhile, so that the first is the first.
    pub(super) fn lock(&self) -> Sending<'_> {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        Sending { received: &self.received, since }
    }
}

pub(super) struct Sending<'a> {
    received: &'a Resume,
    since: MutexGuard<'a, Option<Box<Since>>>,
}

impl Sending<'_> {
    /// Whether the client gets an entry for the first time; asked once for each copy, in their order, and once for an entry that
    /// nobody counted.
    pub(super) fn is_first(&mut self, entry: &PublishedEvent, copy: Option<&StreamEntry>) -> bool {
        if entry.destinations.len() == 1 {
            return true;
        }
        let since = self.since.get_or_insert_default();
        let had = entry.destinations.iter().any(|destination| {
            let channel = &*destination.target.channel;
            let covers = |received: &Received| destination.position.as_ref().is_some_and(|at| received.covers(at));
            self.received.get(channel).is_some_and(covers) || since.channels.get(channel).is_some_and(covers)
        });
        if let Some((copy, at)) = copy.and_then(|copy| Some((copy, copy.position()?))) {
            since.add(copy.channel(), at);
        }
        since.recent.add(entry.id) && !had
    }

    /// A channel goes on after a position. What lies between it and the last that was sent is not sent.
    pub(super) fn goes_on(&mut self, channel: &str, after: &Position) {
        if let Some(sent) = self.since.as_mut().and_then(|since| since.channels.get_mut(channel))
            && !sent.covers(after)
        {
            *sent = Received { since: after.offset, upto: after.clone(), viewer: None };
        }
    }
}

impl Since {
    fn add(&mut self, channel: &Arc<str>, at: &Position) {
        let begins = || Received { since: at.offset.saturating_sub(1), upto: at.clone(), viewer: None };
        let sent = self.channels.entry(channel.clone()).or_insert_with(begins);
        if sent.upto.epoch != at.epoch {
            *sent = begins();
        }
        sent.upto.offset = sent.upto.offset.max(at.offset);
    }
}

/// The newest entries, by their ids.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ids: HashSet<Id>,
    order: VecDeque<Id>,
}

impl Recent {
    /// False if it is known already. The oldest is forgotten for it when there are more than a subscription can hold.
    pub(super) fn add(&mut self, id: Id) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_HELD
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
