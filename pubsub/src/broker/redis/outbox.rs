//! What waits to be published.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::{PublishedEvent, broker::Sent};

/// The most entries that one call counts, and bytes of them unless a single one has more: the server does nothing else
/// meanwhile.
const MAX_ENTRIES: usize = 128;
const MAX_BYTES: usize = 1024 * 1024;

/// The entries that wait, in their order.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) waiting: Vec<Waiting>,
    /// A task sends what waits.
    pub(super) sending: bool,
    /// A call failed, and nothing more is sent on this connection.
    pub(super) failed: bool,
}

/// An entry, and who waits for what becomes of it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) entry: PublishedEvent,
    pub(super) text: String,
    pub(super) done: oneshot::Sender<Sent>,
}

impl Waiting {
    pub(super) fn end(self, sent: impl FnOnce(PublishedEvent) -> Sent) {
        // Whoever published it may have gone.
        let _ = self.done.send(sent(self.entry));
    }
}

impl Outbox {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the next call counts; nothing if no entry waits, and then nobody is sending any more.
    pub(super) fn next(&self) -> Vec<Waiting> {
        let mut state = self.lock();
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.text.len();
            bytes <= MAX_BYTES
        };
        let count = state.waiting.iter().take(MAX_ENTRIES).take_while(fits).count();
        let count = count.max(1).min(state.waiting.len());
        state.sending = count > 0;
        state.waiting.drain(..count).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{Destination, EncodedEvent, History, Id, Node, Target};

    pub(in super::super) fn waiting(streams: &[(&str, usize)], text: &str) -> Waiting {
        let destination = |(stream, entries): &(&str, usize)| {
            let target =
                Target { channel: "c".into(), stream: (*stream).into(), history: History::of(*entries), shape: None };
            Destination { target, position: None }
        };
        let message = EncodedEvent { name: "said".into(), arguments: Vec::new() };
        let destinations = streams.iter().map(destination).collect();
        let entry = PublishedEvent {
            id: Id { node: Node(1), number: 1 },
            message,
            except: Vec::new(),
            destinations,
            at: SystemTime::now(),
        };
        Waiting { entry, text: text.to_owned(), done: oneshot::channel().0 }
    }

    #[test]
    fn a_call_takes_what_fits_and_one_entry_at_least() {
        let outbox = Outbox::default();
        assert!(outbox.next().is_empty());
        let large = "x".repeat(MAX_BYTES);
        outbox.lock().waiting.extend([&large, "x", "y", &large].map(|text| waiting(&[("a", 0)], text)));
        outbox.lock().waiting.extend((0..=MAX_ENTRIES).map(|_| waiting(&[("a", 0)], "")));
        let taken: Vec<_> = std::iter::from_fn(|| Some(outbox.next().len()).filter(|taken| *taken > 0)).collect();
        assert_eq!(taken, [1, 2, MAX_ENTRIES, 2]);
        assert!(!outbox.lock().sending);
    }
}
