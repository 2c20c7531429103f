//! Who waits until a stream has come to an offset.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot::{self, Receiver, Sender};

/// Those who wait for an entry of a stream. An entry wakes only those who wait for it, however many others there are.
#[derive(Debug, Default)]
pub(super) struct Applied(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    by_offset: BTreeMap<Key, Sender<()>>,
    next: u64,
}

/// An offset, and what tells two apart that wait for it.
type Key = (u64, u64);

/// A destination among those who wait, as long as this value lives.
pub(super) struct Wait<'a> {
    applied: &'a Applied,
    key: Key,
    woken: Receiver<()>,
}

impl Applied {
    /// Waits for an offset. Whoever does so looks whether it has been applied after this, and before [`Wait::woken`].
    pub(super) fn wait(&self, offset: u64) -> Wait<'_> {
        let (wake, woken) = oneshot::channel();
        let mut waiting = self.lock();
        let key = (offset, waiting.next);
        waiting.next += 1;
        waiting.by_offset.insert(key, wake);
        Wait { applied: self, key, woken }
    }

    /// The stream has come to this offset.
    pub(super) fn wake_up_to(&self, offset: u64) {
        let mut waiting = self.lock();
        while let Some(first) = waiting.by_offset.first_entry()
            && first.key().0 <= offset
        {
            // Whoever went meanwhile needs no word.
            let _ = first.remove().send(());
        }
    }

    /// Something else happened that those who wait may be interested in.
    pub(super) fn notify_waiters(&self) {
        self.wake_up_to(u64::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait<'_> {
    /// Waits until the offset was applied, or something else happened.
    pub(super) async fn woken(&mut self) {
        // The sender lives as long as its destination, and is used up as it leaves it.
        let _ = (&mut self.woken).await;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.applied.lock().by_offset.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn entry_wakes_only_those_who_wait_for_it() {
        let applied = Applied::default();
        let mut waits: Vec<_> = [3, 1, 2, 2].map(|offset| applied.wait(offset)).into();
        let mut woken = || waits.iter_mut().map(|wait| wait.woken().now_or_never().is_some()).collect::<Vec<_>>();
        assert_eq!(woken(), [false; 4]);
        applied.wake_up_to(1);
        assert_eq!(woken(), [false, true, false, false]);
        applied.wake_up_to(2);
        assert_eq!(applied.lock().by_offset.len(), 1);
        drop(waits.remove(0));
        assert!(applied.lock().by_offset.is_empty(), "nobody waits who is gone");
        let mut last = applied.wait(u64::MAX);
        applied.notify_waiters();
        assert!(last.woken().now_or_never().is_some());
    }
}
