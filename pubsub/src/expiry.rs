//! What ends at a certain time: subscriptions with their authorization, and standard clients that missed something.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    delivery::{Delivery, GapReason},
    environment::RandomState,
    position::Position,
    subscriber::Subscriber,
    task,
};

/// A loss that concerns a whole channel disconnects its standard clients at random within this time: all at once would also
/// return at once.
pub(super) const JITTER: Duration = Duration::from_secs(2);

/// The times at which something of this node ends: one task waits for the next of them, while there is any.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    set: Mutex<Set>,
    changed: Notify,
}

#[derive(Default)]
struct Set {
    by_time: BTreeMap<Key, Alarm>,
    next: u64,
    running: bool,
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set").field("times", &self.by_time.keys()).finish_non_exhaustive()
    }
}

/// A time, and what tells two apart that are set for it.
type Key = (Instant, u64);

/// What is done then, under no lock.
type Alarm = Box<dyn FnOnce() + Send>;

/// An alarm that is set for as long as this value lives.
#[derive(Debug)]
pub(super) struct Expiry {
    alarms: Arc<Alarms>,
    key: Key,
}

impl Expiry {
    pub(super) fn time(&self) -> Instant {
        self.key.0
    }
}

impl Drop for Expiry {
    fn drop(&mut self) {
        // Dropped after the lock.
        let _alarm = self.alarms.lock().by_time.remove(&self.key);
        self.alarms.changed.notify_one();
    }
}

impl Alarms {
    /// Does something at a time, unless the value is dropped before.
    pub(super) fn expire(self: &Arc<Self>, at: Instant, end: impl FnOnce() + Send + 'static) -> Expiry {
        Expiry { alarms: self.clone(), key: self.set(at, Box::new(end)) }
    }

    /// Drops a value at a time.
    pub(super) fn keep_until(self: &Arc<Self>, at: Instant, value: impl Send + 'static) {
        self.set(at, Box::new(move || drop(value)));
    }

    /// Sends a gap to a subscriber. A client without positions is disconnected instead: it has no other way to learn of a
    /// loss. Nothing else may send a gap.
    pub(super) fn gap(self: &Arc<Self>, subscriber: &Subscriber, channel: &str, top: &Position, reason: GapReason) {
        subscriber.goes_on(channel, top);
        if subscriber.client().is_some() {
            return subscriber.send(&Delivery::Gap { channel, top, reason });
        }
        match reason {
            GapReason::NotRetained => subscriber.end(),
            GapReason::Missed if subscriber.miss() => {
                let pause = RandomState::new().hash_one(0) % u64::try_from(JITTER.as_millis()).unwrap_or(u64::MAX);
                let subscriber = subscriber.clone();
                self.set(Instant::now() + Duration::from_millis(pause), Box::new(move || subscriber.end()));
            }
            GapReason::Missed => {}
        }
    }

    fn set(self: &Arc<Self>, at: Instant, alarm: Alarm) -> Key {
        let mut set = self.lock();
        let key = (at, set.next);
        set.next += 1;
        set.by_time.insert(key, alarm);
        if !std::mem::replace(&mut set.running, true) {
            let alarms = self.clone();
            tokio::spawn(task::finish("expiry", move || alarms.clone().ring()));
        }
        self.changed.notify_one();
        key
    }

    /// Waits for one alarm after the other, until none is left.
    async fn ring(self: Arc<Self>) {
        loop {
            let due = {
                let mut set = self.lock();
                let Some(next) = set.by_time.first_entry() else {
                    set.running = false;
                    return;
                };
                if next.key().0 <= Instant::now() { Ok(next.remove()) } else { Err(next.key().0) }
            };
            match due {
                Ok(alarm) => alarm(),
                Err(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
