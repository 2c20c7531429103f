//! Since when each client is subscribed, where that is as far back as it may read.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many clients of a stream are known; one that was forgotten hears `gap`.
const MAX_READERS: usize = 4096;
/// How many there are of all streams.
const MAX_ALL_READERS: usize = 262_144;
/// About what one takes: its secret, and its destinations in the map and in the order.
const READER_BYTES: usize = 256;

/// A channel, and a client's secret.
type Reader = (Arc<str>, Arc<str>);

/// The offset at which each client subscribed to each channel of a stream.
#[derive(Debug)]
pub(super) struct Readers {
    since: HashMap<Reader, u64>,
    order: VecDeque<Reader>,
    /// How many all streams know.
    all: Arc<AtomicUsize>,
}

impl Readers {
    pub(super) fn new(all: Arc<AtomicUsize>) -> Self {
        Self { since: HashMap::new(), order: VecDeque::new(), all }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.since.len() * READER_BYTES
    }

    /// A client's subscription begins here.
    pub(super) fn begin(&mut self, channel: &Arc<str>, client: &Arc<str>, offset: u64) {
        let reader = (channel.clone(), client.clone());
        if self.since.insert(reader.clone(), offset).is_none() {
            self.order.push_back(reader);
            self.all.fetch_add(1, Ordering::Relaxed);
        }
        // This stream's own oldest go, be it the new one.
        if (self.order.len() > MAX_READERS || self.all.load(Ordering::Relaxed) > MAX_ALL_READERS)
            && let Some(oldest) = self.order.pop_front()
        {
            self.since.remove(&oldest);
            self.all.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A subscription ended, and not because its socket went away.
    pub(super) fn end(&mut self, channel: &Arc<str>, client: &Arc<str>) {
        let reader = (channel.clone(), client.clone());
        if self.since.remove(&reader).is_some() {
            self.all.fetch_sub(1, Ordering::Relaxed);
            self.order.retain(|one| *one != reader);
        }
    }

    /// Whether a client was subscribed to all that follows an offset.
    pub(super) fn may_read(&self, channel: &Arc<str>, client: &Arc<str>, after: u64) -> bool {
        self.since.get(&(channel.clone(), client.clone())).is_some_and(|since| *since <= after)
    }

    /// Another count begins.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.all.clone());
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.all.fetch_sub(self.since.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_read_as_far_back_as_it_subscribed() {
        let (channel, ada, mut readers): (Arc<str>, Arc<str>, _) =
            ("c".into(), "ada".into(), Readers::new(Arc::default()));
        assert!(!readers.may_read(&channel, &ada, 9));
        readers.begin(&channel, &ada, 5);
        assert!(readers.may_read(&channel, &ada, 5) && !readers.may_read(&channel, &ada, 4));
        assert!(!readers.may_read(&"d".into(), &ada, 9));
        readers.end(&channel, &ada);
        assert!(!readers.may_read(&channel, &ada, 9) && readers.order.is_empty());
    }

    #[test]
    fn the_oldest_reader_is_forgotten() {
        let (channel, mut readers) = (Arc::<str>::from("c"), Readers::new(Arc::default()));
        let client = |n: usize| Arc::<str>::from(n.to_string());
        for n in 0..=MAX_READERS {
            readers.begin(&channel, &client(n), 0);
        }
        assert!(!readers.may_read(&channel, &client(0), 0) && readers.may_read(&channel, &client(1), 0));
        assert_eq!((readers.since.len(), readers.order.len()), (MAX_READERS, MAX_READERS));
    }

    #[test]
    fn readers_of_all_streams_are_bounded() {
        let (channel, all) = (Arc::<str>::from("c"), Arc::<AtomicUsize>::default());
        let client = |n: usize| Arc::<str>::from(n.to_string());
        let mut streams: Vec<_> = (0..100).map(|_| Readers::new(all.clone())).collect();
        for readers in &mut streams {
            for n in 0..MAX_READERS {
                readers.begin(&channel, &client(n), 0);
            }
        }
        let known = |streams: &[Readers]| streams.iter().map(|readers| readers.since.len()).sum::<usize>();
        assert_eq!((known(&streams), all.load(Ordering::Relaxed)), (MAX_ALL_READERS, MAX_ALL_READERS));
        // A stream that knows nobody has no room, until another has less.
        streams.remove(0);
        streams[98].begin(&channel, &client(7), 0);
        assert!(streams[98].may_read(&channel, &client(7), 0));
        streams[0].clear();
        drop(streams);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
