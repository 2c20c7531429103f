//! The streams of a server by name, and which of them are idle.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use super::{
    broker::Broker,
    environment::HashSet,
    sharded::Sharded,
    stream::{Apply, Shared, State, Stream},
};

/// How many streams are kept although nobody is subscribed, and their bytes: a client that comes back to a dropped stream is
/// sent `gap`.
pub(super) const IDLE_STREAMS: usize = 4096;
pub(super) const IDLE_BYTES: usize = 8 * 1024 * 1024;
/// How many idle streams that cannot be dropped are looked at for each one that becomes idle.
const LOOKS: usize = 1;
/// How many idle streams are looked at under one lock.
const SWEPT: usize = 256;
/// Of how many streams it is remembered that something was published there that the broker did not get.
pub(super) const MAX_UNSENT: usize = 65_536;
/// The longest name of those, in bytes.
const MAX_UNSENT_NAME: usize = 1024;

/// The streams by name.
#[derive(Debug)]
pub(super) struct Known {
    shared: Arc<Shared>,
    /// Changed under the lock of this, and read without it.
    pub(super) streams: Arc<Sharded<Arc<Stream>>>,
    /// Those that became idle, in the order in which they are dropped when they are too many. Some are in use again, or gone.
    pub(super) idle: VecDeque<Idle>,
    pub(super) idle_bytes: usize,
    /// Detaches those that stay idle.
    pub(super) sweeper: Option<JoinHandle<()>>,
    /// How many streams it has looked at.
    #[cfg(test)]
    pub(super) looks: usize,
    /// Those that are not known here, and of which the broker did not get something.
    pub(super) unsent: HashSet<Arc<str>>,
    /// How often something was published to others than those, and of how many of these times all servers were told.
    pub(super) unsent_more: u64,
    pub(super) unsent_told: u64,
}

/// A stream that became idle.
#[derive(Debug)]
pub(super) struct Idle {
    name: Arc<str>,
    /// About how many bytes it took then.
    bytes: usize,
    since: Instant,
}

impl Known {
    pub(super) fn new(shared: Arc<Shared>, streams: Arc<Sharded<Arc<Stream>>>) -> Self {
        Self {
            shared,
            streams,
            idle: VecDeque::new(),
            idle_bytes: 0,
            sweeper: None,
            #[cfg(test)]
            looks: 0,
            unsent: HashSet::default(),
            unsent_more: 0,
            unsent_told: 0,
        }
    }

    /// Makes a stream that is not known.
    pub(super) fn add(&mut self, name: &Arc<str>, apply: Option<Apply>) -> Arc<Stream> {
        let stream = Arc::new(Stream::new(name.clone(), self.shared.clone(), apply));
        stream.lock().link.delivered_locally = self.unsent.remove(name);
        self.streams.get_or_insert_with(name, || stream)
    }

    /// A stream that something is published to without the broker. If it is not known, nobody here hears it; it is noted for
    /// the subscribers of other servers.
    pub(super) fn find_or_note(&mut self, name: &Arc<str>) -> Option<Arc<Stream>> {
        let stream = self.streams.get(name);
        if stream.is_none() {
            if self.unsent.len() < MAX_UNSENT && name.len() <= MAX_UNSENT_NAME {
                self.unsent.insert(name.clone());
            } else {
                self.unsent_more += 1;
            }
        }
        stream
    }

    /// Remembers that a stream is idle since now.
    pub(super) fn list(&mut self, stream: &Arc<Stream>) {
        let bytes = {
            let mut state = stream.lock();
            state.idle = Some(Instant::now());
            if std::mem::replace(&mut state.listed, true) {
                return;
            }
            state.idle_bytes() + stream.name.len()
        };
        self.idle_bytes += bytes;
        self.idle.push_back(Idle { name: stream.name.clone(), bytes, since: Instant::now() });
    }

    /// Takes the stream that has been listed for longest. None if it is used, or gone.
    fn unlist(&mut self) -> Option<Arc<Stream>> {
        let Idle { name, bytes, .. } = self.idle.pop_front()?;
        self.idle_bytes -= bytes;
        let stream = self.streams.get(&name)?;
        let unused = {
            let mut state = stream.lock();
            state.listed = false;
            state.is_unused()
        };
        // One that is used lists itself when that ends.
        unused.then_some(stream)
    }

    /// Drops idle streams as long as there are too many, or too many bytes of them.
    pub(super) fn trim(&mut self, broker: &dyn Broker) {
        let mut looks = 0;
        while looks < LOOKS && (self.idle.len() > IDLE_STREAMS || self.idle_bytes > IDLE_BYTES) {
            // It may be about to be used, or have news for other nodes.
            if let Some(stream) = self.unlist()
                && !self.drop_idle(&stream, broker)
            {
                self.list(&stream);
                looks += 1;
            }
        }
    }

    /// Detaches streams that have been idle for this long; false if none is left to look at.
    pub(super) fn detach(&mut self, linger: Duration, broker: &dyn Broker) -> bool {
        for _ in 0..SWEPT {
            if self.idle.front().is_none_or(|first| first.since.elapsed() < linger) {
                return false;
            }
            #[cfg(test)]
            {
                self.looks += 1;
            }
            let Some(stream) = self.unlist() else { continue };
            // It may have been used since it was listed.
            let idle = stream.lock().idle.is_some_and(|since| since.elapsed() >= linger);
            if !idle || !self.drop_idle(&stream, broker) {
                self.list(&stream);
            }
        }
        true
    }

    /// Drops a stream, unless a subscription has it, or other nodes are to hear of what was delivered on this one alone.
    fn drop_idle(&mut self, stream: &Arc<Stream>, broker: &dyn Broker) -> bool {
        self.drop_if(stream, broker, |state| !state.link.delivered_locally)
    }

    /// Drops a stream that nobody uses, if its state is such. The broker hears of it before it can be asked for the stream again.
    pub(super) fn drop_if(
        &mut self,
        stream: &Arc<Stream>,
        broker: &dyn Broker,
        may_go: impl FnOnce(&State) -> bool,
    ) -> bool {
        // The caller has it too. Whoever is about to use it has it until it is used, so that is asked afterwards; nobody finds it
        // meanwhile.
        let is_dropped = self.streams.remove_if(&stream.name, |stream| {
            Arc::strong_count(stream) == 2 && {
                let state = stream.lock();
                state.is_unused() && may_go(&state)
            }
        });
        if is_dropped {
            broker.detach(&stream.name);
        }
        is_dropped
    }
}
