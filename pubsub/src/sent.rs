//! What one client was sent already: an event that goes to several of its channels reaches it once.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    entry::{Entry, Id},
    log::MAX_HELD,
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
}

impl Received {
    fn covers(&self, position: &Position) -> bool {
        self.upto.epoch == position.epoch && self.since < position.offset && position.offset <= self.upto.offset
    }
}

/// What a client had when it connected, and what it was sent since.
pub(super) struct Sent {
    received: Resume,
    /// The entries of several channels of which it was sent one copy. Made with the first.
    recent: Mutex<Option<Box<Recent>>>,
}

impl Sent {
    /// Nothing yet, to a client that had received this before.
    pub(super) fn after(received: Resume) -> Self {
        Self { received, recent: Mutex::default() }
    }

    /// Two copies may come at once, on two streams: whoever sends one holds this meanwhile, so that the first is the first.
    pub(super) fn lock(&self) -> Sending<'_> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        Sending { received: &self.received, recent }
    }
}

pub(super) struct Sending<'a> {
    received: &'a Resume,
    recent: MutexGuard<'a, Option<Box<Recent>>>,
}

impl Sending<'_> {
    /// Whether the client gets an entry for the first time; asked once for each copy.
    pub(super) fn is_first(&mut self, entry: &Entry) -> bool {
        if entry.places.len() == 1 {
            return true;
        }
        let had = entry.places.iter().any(|place| {
            let received = self.received.get(&*place.target.channel);
            received.zip(place.position.as_ref()).is_some_and(|(received, position)| received.covers(position))
        });
        !had && self.recent.get_or_insert_default().add(entry.id)
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
