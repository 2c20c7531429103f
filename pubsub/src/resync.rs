//! How a stream comes right again: attached, filled after a hole, renewed after a loss.

#[cfg(test)]
mod gaps;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    entry::StreamEntry,
    position::{Position, epoch},
    stream::{State, Stream},
    task,
};
use crate::broker::{Attached, Broker, Read};

/// How late an entry may come that the broker has counted; then its stream is attached anew.
pub(super) const LATE: Duration = Duration::from_secs(1);
/// How long an entry may come later than one after it.
const HOLE: Duration = Duration::from_millis(20);

impl Stream {
    /// Waits until the broker brings the stream; of all that want it at once, one asks.
    pub(super) async fn attached(&self, broker: &dyn Broker) {
        let attach = async {
            let debt = Debt::of(self);
            let Ok(Attached { top, floor }) = broker.attach(&self.name, None, debt.owed).await else {
                drop(debt);
                let mut state = self.lock();
                state.link.own_epoch = true;
                state.start(Position { epoch: epoch(), offset: 0 }, Vec::new());
                return;
            };
            debt.settle();
            let oldest = Position { offset: floor, ..top.clone() };
            let kept = match floor < top.offset {
                true => broker.read(&self.name, &oldest).await,
                false => Read::Gone,
            };
            self.lock().start(top, if let Read::Entries(kept) = kept { kept } else { Vec::new() });
        };
        self.attached.get_or_init(|| attach).await;
        self.apply_commands();
    }

    /// Attaches the stream, or attaches it anew.
    pub(super) async fn renew_now(&self, broker: &dyn Broker) {
        self.attached(broker).await;
        renew_once(self, broker).await;
        self.lock().apply_early();
        self.apply_commands();
    }

    /// Waits until this node has applied an entry, or never will.
    pub(super) async fn has_applied(&self, position: &Position, never: impl Fn() -> bool) {
        loop {
            let mut wait = self.applied.wait(position.offset);
            let applied_yet = {
                let state = self.lock();
                let top = state.log.top();
                top.epoch != position.epoch || top.offset >= position.offset
            };
            if applied_yet || never() {
                return;
            }
            wait.woken().await;
        }
    }

    /// A client says that it has what this node has not applied yet. False if that may be so, and this node cannot know.
    ///
    /// Anybody can say so. The stream goes on for all only where the broker has counted as far.
    pub(super) async fn catch_up(&self, position: &Position, broker: &dyn Broker) -> bool {
        let claim = self.lock().link.claim();
        if !self.is_behind(position) || timeout(HOLE, self.has_applied(position, || false)).await.is_ok() {
            return true;
        }
        match self.counted(claim, position, broker).await {
            None => return false,
            Some(top) if top.epoch == position.epoch && top.offset < position.offset => return true,
            Some(_) => {}
        }
        if self.lock().link.stale.is_none() {
            // It is on its way.
            let _ = timeout(LATE, self.has_applied(position, || false)).await;
        }
        let one_at_a_time = self.renewing.lock().await;
        if self.is_behind(position) {
            // Nobody has kept what this node is to apply, so it goes on where the broker is.
            renew_locked(self, broker).await;
        }
        drop(one_at_a_time);
        self.lock().link.stale.is_none()
    }

    /// Where the broker stands, after what it has kept was applied; none if it cannot be reached. Of all claims that wait at
    /// once, one asks.
    async fn counted(&self, claim: u64, position: &Position, broker: &dyn Broker) -> Option<Position> {
        let _one_at_a_time = self.renewing.lock().await;
        let (known, claims, own_epoch) = {
            let state = self.lock();
            if !state.log.is_ahead(position) {
                return Some(state.log.top().clone());
            }
            if let Some(top) = state.link.counted_for(claim) {
                return top.clone();
            }
            (state.log.top().clone(), state.link.claims, state.link.own_epoch)
        };
        let top = match broker.read(&self.name, &known).await {
            Read::Down => None,
            Read::Entries(entries) => {
                let top = entries.last().and_then(StreamEntry::position).unwrap_or(&known).clone();
                for copy in entries {
                    self.arrive(copy);
                }
                Some(top)
            }
            Read::Gone => {
                let attached = broker.attach(&self.name, (!own_epoch).then_some(known), false).await;
                attached.ok().map(|attached| attached.top)
            }
        };
        self.lock().link.counted = (claims, top.clone());
        top
    }

    fn is_behind(&self, position: &Position) -> bool {
        self.lock().log.is_ahead(position)
    }

    /// Applies what the broker has kept after a position; false if the broker cannot be reached.
    async fn read_after(&self, position: &Position, broker: &dyn Broker) -> bool {
        match broker.read(&self.name, position).await {
            Read::Down => return false,
            Read::Gone => {}
            Read::Entries(entries) => {
                for copy in entries {
                    self.arrive(copy);
                }
            }
        }
        true
    }
}

impl State {
    /// Begins to count as the broker does, with what it has kept.
    fn start(&mut self, top: Position, kept: Vec<StreamEntry>) {
        let first = kept.first().map_or(top.offset + 1, StreamEntry::offset);
        self.log.start(Position { offset: first - 1, ..top.clone() });
        self.link.started = true;
        for mut copy in kept {
            if copy.position().is_some_and(|at| at.epoch == top.epoch && at.offset == self.log.top().offset + 1) {
                self.mark_repeated(&mut copy);
                self.order(&copy);
                self.log.append(copy);
            }
        }
        if self.log.top().offset < top.offset {
            self.log.start(top);
        }
        self.apply_early();
    }
}

/// Something was delivered on this node alone, and the broker is to be told. If it is not, also because the request that asks it is
/// cancelled, the next attach tells it.
struct Debt<'a> {
    stream: &'a Stream,
    owed: bool,
}

impl<'a> Debt<'a> {
    /// What is delivered from now on is another debt.
    fn of(stream: &'a Stream) -> Self {
        Self { stream, owed: std::mem::take(&mut stream.lock().link.delivered_locally) }
    }

    /// The broker was told.
    fn settle(mut self) {
        self.owed = false;
    }
}

impl Drop for Debt<'_> {
    fn drop(&mut self) {
        if self.owed {
            self.stream.lock().link.delivered_locally = true;
        }
    }
}

/// Closes a hole: by itself, by what the broker has kept, or as a gap.
pub(super) async fn fill(stream: Arc<Stream>, broker: Arc<dyn Broker>) {
    task::finish("fill", || close_hole(&stream, &*broker)).await;
}

async fn close_hole(stream: &Arc<Stream>, broker: &dyn Broker) {
    loop {
        let before = stream.lock().log.top().clone();
        sleep(HOLE).await;
        let (top, hole) = {
            let mut state = stream.lock();
            (state.log.top().clone(), state.first_early())
        };
        let reached = hole.is_none() || top != before || stream.read_after(&top, broker).await;
        let mut state = stream.lock();
        // What the broker has not kept is lost. If it cannot be reached, it says so when it can.
        if reached
            && top == before
            && *state.log.top() == top
            && let Some(first) = state.first_early()
        {
            state.skip_to(Position { offset: first - 1, ..top });
            stream.applied.wake_up_to(state.log.top().offset);
        }
        let closed = !reached || state.first_early().is_none();
        state.filling &= !closed;
        drop(state);
        stream.apply_commands();
        if closed {
            return;
        }
    }
}

/// Attaches a stream anew, and reads or reports what it missed; once more if that is asked for meanwhile.
pub(super) async fn renewed(stream: Arc<Stream>, broker: Arc<dyn Broker>) {
    {
        let renewals = &mut stream.lock().link.renewals;
        *renewals += 1;
        if *renewals > 1 {
            return;
        }
    }
    task::finish("renew", || renew_as_asked(&stream, &broker)).await;
}

async fn renew_as_asked(stream: &Arc<Stream>, broker: &Arc<dyn Broker>) {
    stream.attached(&**broker).await;
    loop {
        let begun = stream.lock().link.renewals;
        renew_once(stream, &**broker).await;
        let mut state = stream.lock();
        if state.link.renewals > begun {
            continue;
        }
        state.link.renewals = 0;
        state.apply_early();
        if state.first_early().is_some() && !std::mem::replace(&mut state.filling, true) {
            tokio::spawn(fill(stream.clone(), broker.clone()));
        }
        drop(state);
        return stream.apply_commands();
    }
}

/// If the broker cannot be reached, nothing changes: it asks again when it can.
async fn renew_once(stream: &Stream, broker: &dyn Broker) {
    // Two at once would both find that the epoch is another, and tell of the one loss as of two.
    let _one_at_a_time = stream.renewing.lock().await;
    renew_locked(stream, broker).await;
}

/// Attaches a stream anew, for whoever holds the lock that is for this.
async fn renew_locked(stream: &Stream, broker: &dyn Broker) {
    let debt = Debt::of(stream);
    let (known, own_epoch, stale) = {
        let state = stream.lock();
        (state.log.top().clone(), state.link.own_epoch, state.link.stale)
    };
    let attach = broker.attach(&stream.name, (!own_epoch).then(|| known.clone()), debt.owed);
    let Ok(Attached { top, floor }) = attach.await else { return };
    debt.settle();
    let continues = top.epoch == known.epoch && top.offset >= known.offset;
    if continues {
        stream.lock().link.freshen(stale);
    }
    if continues && top.offset > known.offset && !stream.read_after(&known, broker).await {
        return;
    }
    let oldest = Position { offset: floor, ..top.clone() };
    let kept = match !continues && stream.is_for_commands() {
        true => broker.read(&stream.name, &oldest).await,
        false => Read::Gone,
    };
    let mut state = stream.lock();
    state.link.own_epoch = false;
    state.link.freshen(stale);
    if !continues || state.log.top().offset < top.offset {
        state.skip_to(top);
    }
    if let Read::Entries(kept) = kept {
        kept.iter().for_each(|copy| state.order(copy));
    }
    drop(state);
    stream.applied.notify_waiters();
}
