//! Since when each client is subscribed, where that is as far back as it may read.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// How many clients of a stream are known; one that was forgotten hears `gap`.
const MAX_READERS: usize = 4096;

/// A channel, and a client's secret.
type Reader = (Arc<str>, Arc<str>);

/// The offset at which each client subscribed to each channel of a stream.
#[derive(Debug, Default)]
pub(super) struct Readers {
    since: HashMap<Reader, u64>,
    order: VecDeque<Reader>,
}

impl Readers {
    /// A client's subscription begins here.
    pub(super) fn begin(&mut self, channel: &Arc<str>, client: &Arc<str>, offset: u64) {
        let reader = (channel.clone(), client.clone());
        if self.since.insert(reader.clone(), offset).is_none() {
            self.order.push_back(reader);
        }
        if self.order.len() > MAX_READERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.since.remove(&oldest);
        }
    }

    /// A subscription ended, and not because its socket went away.
    pub(super) fn end(&mut self, channel: &Arc<str>, client: &Arc<str>) {
        let reader = (channel.clone(), client.clone());
        if self.since.remove(&reader).is_some() {
            self.order.retain(|one| *one != reader);
        }
    }

    /// Whether a client was subscribed to all that follows an offset.
    pub(super) fn may_read(&self, channel: &Arc<str>, client: &Arc<str>, after: u64) -> bool {
        self.since.get(&(channel.clone(), client.clone())).is_some_and(|since| *since <= after)
    }

    /// Another count begins.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_read_as_far_back_as_it_subscribed() {
        let (channel, ada, mut readers): (Arc<str>, Arc<str>, _) = ("c".into(), "ada".into(), Readers::default());
        assert!(!readers.may_read(&channel, &ada, 9));
        readers.begin(&channel, &ada, 5);
        assert!(readers.may_read(&channel, &ada, 5) && !readers.may_read(&channel, &ada, 4));
        assert!(!readers.may_read(&"d".into(), &ada, 9));
        readers.end(&channel, &ada);
        assert!(!readers.may_read(&channel, &ada, 9) && readers.order.is_empty());
    }

    #[test]
    fn the_oldest_reader_is_forgotten() {
        let (channel, mut readers) = (Arc::<str>::from("c"), Readers::default());
        let client = |n: usize| Arc::<str>::from(n.to_string());
        for n in 0..=MAX_READERS {
            readers.begin(&channel, &client(n), 0);
        }
        assert!(!readers.may_read(&channel, &client(0), 0) && readers.may_read(&channel, &client(1), 0));
        assert_eq!((readers.since.len(), readers.order.len()), (MAX_READERS, MAX_READERS));
    }
}
