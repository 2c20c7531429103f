//! A subscription before it is live: what follows its start is kept for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    active::ActiveSubscription,
    delivery::{Delivery, GapReason, LeftReason},
    entry::{Shape, StreamEntry, Target},
    environment,
    event::EncodedEvent,
    expiry::Expiry,
    filter::{self, EventFilter, FilterInput, Panicked},
    log::Recovery,
    position::Position,
    stream::{Kept, Key, Pin, State, Stream},
    subscriber::Subscriber,
};
use crate::metrics;

/// A subscription that is not live yet: what follows its start is kept for it.
#[derive(Debug)]
pub(crate) struct PendingSubscription {
    stream: Arc<Stream>,
    key: Key,
    subscriber: Subscriber,
    filter: Option<Arc<dyn EventFilter>>,
    /// The number of the request; 0 if it was none.
    request: u64,
    start: Position,
    /// The newest offset when the request subscribed.
    top: u64,
    outcome: Recovery,
    since_subscribe: bool,
    shape: Option<Shape>,
}

/// How long what is published is kept for a subscription that ended, so that renewing it misses nothing.
pub(super) const RENEWAL: Duration = Duration::from_secs(10);

/// An entry, and what a filter made of it if there is one.
type Seen<'a> = (&'a StreamEntry, Option<Arc<EncodedEvent>>);

/// How often a socket was made live in a channel, of all streams: these come and go.
static JOININGS: AtomicU64 = AtomicU64::new(0);

impl Stream {
    /// Keeps what is published to a channel from now on, or from where the client was, until the subscription is live.
    /// `behind`: this node may have to catch up with where the client was.
    pub(super) fn hold(
        self: &Arc<Self>,
        subscriber: &Subscriber,
        to: Target,
        filter: Option<Arc<dyn EventFilter>>,
        resume: Option<&Position>,
        behind: bool,
    ) -> PendingSubscription {
        let (since_subscribe, shape) = (to.history.since_subscribe, to.shape);
        let key = (to.channel, subscriber.id().to_owned());
        let (Pin { start, outcome, .. }, top) = {
            let mut state = self.lock();
            let hold = state.hold(&key, subscriber, filter.as_deref(), resume, since_subscribe, behind);
            (hold, state.log.top().offset)
        };
        subscriber.held();
        PendingSubscription {
            stream: self.clone(),
            key,
            subscriber: subscriber.clone(),
            filter,
            request: 0,
            start,
            top,
            outcome,
            since_subscribe,
            shape,
        }
    }

    /// Another request subscribed to a channel that a socket is live in: the later of both ends is the end.
    pub(super) fn extend(self: &Arc<Self>, channel: &Arc<str>, subscriber: &Subscriber, end: Option<Instant>) {
        let mut state = self.lock();
        if let Some(live) = state.live.get_mut(channel).and_then(|all| all.get_mut(subscriber.id())) {
            live.extend(end, |end, subscriber| self.end_at(end, channel, subscriber));
        }
    }

    /// Ends a subscription at a time. What is published afterwards is kept for a while.
    fn end_at(self: &Arc<Self>, end: Instant, channel: &Arc<str>, subscriber: &Subscriber) -> Expiry {
        let (stream, channel, subscriber) = (Arc::downgrade(self), channel.clone(), subscriber.clone());
        self.shared.alarms.expire(end, move || {
            let Some(stream) = stream.upgrade() else { return };
            if let Some(renewal) = stream.expire(&channel, &subscriber) {
                stream.shared.alarms.keep_until(Instant::now() + RENEWAL, renewal);
            }
        })
    }

    /// Takes a socket out of a channel whose authorization has ended, and tells it. For a client that can renew it, what is
    /// published from now on is kept as long as the answer lives.
    fn expire(self: &Arc<Self>, channel: &Arc<str>, subscriber: &Subscriber) -> Option<Renewal> {
        let mut joined = subscriber.joined();
        let mut state = self.lock();
        let live = state.live.get(channel)?.get(subscriber.id())?;
        // It may have been renewed since the alarm rang.
        if live.expiry.as_ref().is_none_or(|expiry| expiry.time() > Instant::now()) {
            return None;
        }
        let filter = live.filter.clone();
        state.remove(channel, subscriber.id());
        joined.remove(channel);
        subscriber.send(&Delivery::Left { channel, reason: LeftReason::Expired });
        if subscriber.client().is_none() {
            drop((state, joined));
            self.freed();
            return None;
        }
        let key = (channel.clone(), subscriber.id().to_owned());
        let number = state.keep_for_renewal(key.clone(), filter);
        Some(Renewal { stream: self.clone(), key, number })
    }
}

impl PendingSubscription {
    /// Names the request that subscribed. One that began later has the greater number.
    pub(super) fn of_request(mut self, number: u64) -> Self {
        self.request = number;
        self
    }

    pub(super) fn filter(&self) -> Option<&dyn EventFilter> {
        self.filter.as_deref()
    }

    /// An entry that follows the start, at the filter.
    fn passing<'a>(&self, copy: &'a StreamEntry) -> FilterInput<'a> {
        FilterInput::of(&copy.entry, copy.offset() <= self.top)
    }

    /// Entries that follow the start, with what the filter makes of them; none if the filter panics.
    fn seen<'a>(&self, missed: impl Iterator<Item = &'a StreamEntry>) -> Option<Vec<Seen<'a>>> {
        let Some(filter) = &self.filter else { return Some(missed.map(|copy| (copy, None)).collect()) };
        let seen = missed.filter_map(|copy| {
            let made = filter::pass(&**filter, &self.passing(copy)).transpose()?;
            Some(made.map(|made| (copy, Some(made))))
        });
        seen.collect::<Result<_, Panicked>>().ok()
    }

    /// Whether the socket is live in the channel already, by another subscription behind a filter.
    fn is_more(&self) -> Option<(Position, Recovery)> {
        self.filter.as_ref()?;
        self.stream.joined(self.channel(), self.subscriber.id())
    }

    /// The number of the viewer for whom the socket receives the channel: by a request that began later it is another one's.
    pub(super) fn viewer(&self) -> Option<u64> {
        let live = {
            let state = self.stream.lock();
            let live = state.live.get(self.channel()).and_then(|all| all.get(self.subscriber.id()));
            live.filter(|live| live.request > self.request).and_then(|live| live.filter.clone())
        };
        filter::viewer(live.as_deref().or(self.filter())?)
    }

    pub(super) fn stream(&self) -> Arc<Stream> {
        self.stream.clone()
    }

    pub(crate) fn channel(&self) -> &Arc<str> {
        &self.key.0
    }

    pub(crate) fn outcome(&self) -> Recovery {
        self.outcome
    }

    /// Where the subscription stands as its request is answered. If more was published meanwhile than is kept, it starts
    /// anew, and that is a gap.
    pub(crate) fn settle(&mut self) -> Position {
        if let Some((top, outcome)) = self.is_more() {
            // What the other filters hid from this client since it was away is sent only if it said since when.
            if self.outcome == Recovery::Recovered {
                self.outcome = outcome;
            }
            return top;
        }
        let mut state = self.stream.lock();
        if state.log.after(&self.start).is_none() {
            state.log.release(&self.start);
            (self.start, self.outcome) = state.log.hold(Some(&nowhere()));
            if let Some(hold) = state.holds.get_mut(&self.key) {
                (hold.start, hold.outcome) = (self.start.clone(), self.outcome);
            }
        }
        // What follows begins there, also for a client that has forgotten meanwhile where it was.
        self.start.clone()
    }

    /// Sends what was published since the start, and lets the rest follow until the end. False if the socket is gone.
    pub(super) fn join(&self, end: Option<Instant>) -> bool {
        let mut joined = self.subscriber.joined();
        // `leave_all` runs after the socket was marked as gone, so it finds what was added before.
        if self.subscriber.is_gone() {
            return false;
        }
        if joined.insert(self.channel().clone(), self.stream.name.clone()).is_none() {
            self.stream.lock().join(self, end);
        } else {
            self.stream.lock().join_again(self, end);
        }
        true
    }

    /// Goes live where no ack tells of it. None if the socket is gone.
    pub(crate) fn announce(mut self, end: Option<Instant>) -> Option<Recovery> {
        if let Some((_, outcome)) = self.is_more() {
            return self.join(end).then_some(outcome);
        }
        self.settle();
        let channel = self.channel();
        match self.outcome {
            // What was missed follows, so a client that recovers is where it was.
            Recovery::Fresh | Recovery::Recovered => {
                self.subscriber.send(&Delivery::Joined { channel, position: &self.start });
            }
            Recovery::Gap => {
                self.stream.shared.alarms.gap(&self.subscriber, channel, &self.start, GapReason::NotRetained)
            }
        }
        self.join(end).then_some(self.outcome)
    }
}

impl Drop for PendingSubscription {
    fn drop(&mut self) {
        self.stream.lock().release(&self.key, &self.start);
        self.subscriber.released();
        self.stream.freed();
    }
}

/// What is published to a channel is kept, as long as this value lives or until the subscription is renewed.
#[derive(Debug)]
struct Renewal {
    stream: Arc<Stream>,
    key: Key,
    number: u64,
}

impl Kept {
    fn is_for(&self, filter: Option<&dyn EventFilter>) -> bool {
        match (self.filter.as_deref(), filter) {
            (Some(had), Some(filter)) => filter::same_viewer(had, filter),
            (had, filter) => had.is_none() && filter.is_none(),
        }
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        if state.renewals.get(&self.key).is_some_and(|kept| kept.number == self.number) {
            state.forget_renewal(&self.key);
        }
        drop(state);
        self.stream.freed();
    }
}

impl State {
    fn hold(
        &mut self,
        key: &Key,
        subscriber: &Subscriber,
        filter: Option<&dyn EventFilter>,
        resume: Option<&Position>,
        since_subscribe: bool,
        behind: bool,
    ) -> Pin {
        self.used = environment::now();
        if let Some(hold) = self.holds.get_mut(key) {
            hold.requests += 1;
            self.log.pin(&hold.start);
            return hold.clone();
        }
        let may_read = |had: &&Position| {
            let client = subscriber.client().filter(|_| since_subscribe);
            client.is_none_or(|client| self.readers.may_read(&key.0, client, had.offset))
        };
        let nowhere = nowhere();
        // The last that was for the client may be older than the last that it can have missed.
        let missed_nothing_until = |had: &Position| {
            let Kept { until, .. } = self.renewals.get(key).filter(|kept| kept.is_for(filter))?;
            (until.epoch == had.epoch && until.offset > had.offset).then_some(until)
        };
        let resume = resume.map(|had| Some(had).filter(may_read).unwrap_or(&nowhere));
        let resume = resume.map(|had| missed_nothing_until(had).unwrap_or(had)).cloned();
        let (start, outcome) = match resume.as_ref().filter(|had| behind && self.log.is_ahead(had)) {
            // What this node is still to apply the client has heard: it does not begin before that again.
            Some(had) => (self.log.pin(had), Recovery::Gap),
            None => self.log.hold(resume.as_ref()),
        };
        let hold = Pin { subscriber: subscriber.clone(), start, outcome, requests: 1 };
        self.holds.insert(key.clone(), hold.clone());
        hold
    }

    /// Keeps what follows, for a subscription that has just ended. The number tells this time from the next.
    fn keep_for_renewal(&mut self, key: Key, filter: Option<Arc<dyn EventFilter>>) -> u64 {
        let until = self.log.top().clone();
        self.log.pin(&until);
        self.forget_renewal(&key);
        self.expired += 1;
        self.renewals.insert(key, Kept { until, number: self.expired, filter });
        self.expired
    }

    fn forget_renewal(&mut self, key: &Key) {
        if let Some(kept) = self.renewals.remove(key) {
            self.log.release(&kept.until);
        }
    }

    fn release(&mut self, key: &Key, start: &Position) {
        self.log.release(start);
        if let Some(hold) = self.holds.get_mut(key) {
            hold.requests -= 1;
            if hold.requests == 0 {
                self.holds.remove(key);
            }
        }
    }

    fn join(&mut self, held: &PendingSubscription, end: Option<Instant>) {
        let subscriber = &held.subscriber;
        let channel = held.channel();
        let (mut start, mut outcome) = (held.start.offset, held.outcome);
        subscriber.goes_on(channel, &held.start);
        let foreign = |copy: &StreamEntry| copy.channel() == channel && copy.target().is_foreign_to(held.shape);
        let has_foreign = self.log.after(&held.start).is_some_and(|mut missed| missed.any(foreign));
        let missed = self.log.after(&held.start).filter(|_| !has_foreign);
        if let Some(missed) = missed.and_then(|missed| held.seen(missed.filter(|copy| copy.channel() == channel))) {
            let missed = missed.iter().map(|(copy, made)| (*copy, made.as_deref().unwrap_or(&copy.entry.message)));
            subscriber.send_replay(channel, missed);
        } else {
            let top = self.log.top();
            held.stream.shared.alarms.gap(subscriber, channel, top, GapReason::NotRetained);
            (start, outcome) = (top.offset, Recovery::Gap);
        }
        if let Some(client) = subscriber.client().filter(|_| held.since_subscribe && outcome != Recovery::Recovered) {
            self.readers.begin(channel, client, start);
        }
        let expiry = end.map(|end| held.stream.end_at(end, channel, subscriber));
        if self.renewals.get(&held.key).is_some_and(|kept| kept.is_for(held.filter())) {
            self.forget_renewal(&held.key);
        }
        match outcome {
            Recovery::Fresh => {}
            Recovery::Recovered => metrics::resumed(),
            Recovery::Gap => metrics::gap(),
        }
        let live = ActiveSubscription {
            subscriber: subscriber.clone(),
            outcome,
            since_subscribe: held.since_subscribe,
            filter: held.filter.clone(),
            joining: JOININGS.fetch_add(1, Ordering::Relaxed),
            request: held.request,
            told: self.log.top().offset,
            shape: held.shape,
            expiry,
        };
        self.live.entry(channel.clone()).or_default().insert(live);
    }

    /// A socket that is live in the channel subscribed by another request. Behind filters it is sent what the first did not let
    /// through since then; and it has one viewer, that of the request which began last.
    fn join_again(&mut self, held: &PendingSubscription, end: Option<Instant>) {
        let (channel, subscriber) = (held.channel(), &held.subscriber);
        let Some(live) = self.live.get_mut(channel).and_then(|all| all.get_mut(subscriber.id())) else { return };
        let end_at = |end, subscriber: &Subscriber| held.stream.end_at(end, channel, subscriber);
        let Some((had, filter)) = live.filter.clone().zip(held.filter.as_ref()) else {
            return live.extend(end, end_at);
        };
        let same_viewer = filter::same_viewer(&*had, &**filter);
        if !same_viewer && held.request < live.request {
            return;
        }
        let is_for_it = |copy: &&StreamEntry| copy.channel() == channel && !copy.leaves_out(subscriber.identity());
        let unseen = |copy: &StreamEntry| match filter::pass(&*had, &FilterInput::of(&copy.entry, false))? {
            Some(_) => Ok(None),
            None => filter::pass(&**filter, &held.passing(copy)),
        };
        let unseen = self.log.after(&held.start).and_then(|missed| {
            let unseen = missed.filter(is_for_it).filter_map(|copy| unseen(copy).transpose());
            unseen.collect::<Result<Vec<_>, Panicked>>().ok()
        });
        let is_whole = unseen.is_some();
        live.request = live.request.max(held.request);
        if same_viewer {
            if filter::widen(&*had, &**filter).is_err() {
                // From now on it would miss what only the second lets through.
                return subscriber.end();
            }
            // The client is past its offset, so it is sent as an event that no position counts.
            unseen.iter().flatten().for_each(|message| subscriber.send(&Delivery::Event(message)));
            live.extend(end, end_at);
        } else {
            unseen.iter().flatten().for_each(|message| subscriber.send(&Delivery::Event(message)));
            live.filter = Some(filter.clone());
            live.expiry = end.map(|end| end_at(end, subscriber));
        }
        // What the former viewer asked for ends, though no request said so.
        let reason = match (is_whole, same_viewer) {
            (false, _) => GapReason::NotRetained,
            (true, false) => GapReason::Missed,
            (true, true) => return,
        };
        if subscriber.client().is_some() || !is_whole {
            held.stream.shared.alarms.gap(subscriber, channel, self.log.top(), reason);
        }
    }
}

/// A position that no count has.
pub(super) fn nowhere() -> Position {
    Position { epoch: "".into(), offset: u64::MAX }
}
