//! The subscriptions of one request: held while the action runs, live once its answer is on its way.

#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

use super::{
    delivery::{Delivery, LeftReason},
    entry::Target,
    filter::{self, EventFilter},
    log::Recovery,
    moment::Moment,
    pending::{PendingSubscription, nowhere},
    position::Position,
    registry::StreamRegistry,
    sent::Resume,
    subscriber::Subscriber,
};

/// Why a socket could not be subscribed.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The socket is gone, or is closed by this, since the channel's members were closed while the request ran.
    #[error("the socket is gone")]
    Gone,
    /// It has as many subscriptions as it may have.
    #[error("a socket has at most {0} subscriptions")]
    TooMany(usize),
    /// The name of the channel has more bytes than it may have.
    #[error("the name of a channel has at most {0} bytes, and this one has more: send shorter values")]
    NameTooLong(usize),
    /// The socket has a channel of this name on another stream.
    #[error("the socket has a channel named {:?} on another stream", .0.channel)]
    OtherStream(Target),
}

/// How many requests have begun.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// What a request has subscribed to so far.
///
/// It is made as the request begins: of several viewers of one socket the one counts whose request began last.
#[derive(Debug)]
pub struct Subscriptions {
    /// Which of the requests it is.
    number: u64,
    state: Mutex<State>,
}

impl Default for Subscriptions {
    /// Creates those of a request that begins now.
    fn default() -> Self {
        Self::of(State { since: Some(Moment::now()), ..State::default() })
    }
}

#[derive(Debug, Default)]
struct State {
    /// Nobody will settle these subscriptions: each is live at once.
    settled: bool,
    /// The request is a HEAD, which has no effect.
    without_effect: bool,
    /// When the request began, unless it is over.
    since: Option<Moment>,
    resume: Resume,
    held: Vec<PendingSubscription>,
    /// Channels that the socket had before.
    had: Vec<Had>,
    left: Vec<String>,
    /// When the request's authorization ends.
    end: Option<Instant>,
}

/// A channel that the socket had before a request asked for it.
#[derive(Debug)]
struct Had {
    channel: Arc<str>,
    /// The name of its stream, and the streams that it is one of.
    stream: Arc<str>,
    streams: Weak<StreamRegistry>,
    /// Tells the subscription from the next, if the socket leaves the channel and comes back.
    joining: u64,
    outcome: Recovery,
}

/// What an ack says of its request's subscriptions.
#[derive(Debug, Default)]
pub struct Settled {
    /// The channels, where each subscription stands, and how it came about.
    pub channels: Vec<(Arc<str>, Position, Recovery)>,
    /// The channels that the request left.
    pub left: Vec<String>,
    held: Vec<PendingSubscription>,
    /// Channels that the socket had before, which may stay until this request's authorization ends.
    had: Vec<Had>,
    end: Option<Instant>,
}

impl Subscriptions {
    fn of(state: State) -> Self {
        Self { number: REQUESTS.fetch_add(1, Ordering::Relaxed), state: Mutex::new(state) }
    }

    /// Creates those of a request that must have no effect: it subscribes and unsubscribes nothing.
    pub fn without_effect() -> Self {
        Self::of(State { without_effect: true, ..State::default() })
    }

    /// The client says where it was.
    pub fn resume(&self, resume: Resume) {
        self.lock().resume = resume;
    }

    /// The request's authorization ends then, if not before.
    pub fn expire_at(&self, time: Instant) {
        let mut state = self.lock();
        state.end = Some(state.end.map_or(time, |end| end.min(time)));
    }

    /// Those outside any request: each is live at once.
    pub fn at_once() -> Self {
        Self::of(State { settled: true, ..State::default() })
    }

    /// Subscribes, behind a filter if not everybody may see the same.
    pub async fn add(
        &self,
        streams: &StreamRegistry,
        subscriber: &Subscriber,
        target: Target,
        filter: Option<Arc<dyn EventFilter>>,
    ) -> Result<Recovery, SubscribeError> {
        if subscriber.is_gone() {
            return Err(SubscribeError::Gone);
        }
        let limit = streams.max_channel_bytes();
        if target.channel.len() > limit {
            return Err(SubscribeError::NameTooLong(limit));
        }
        let limit = streams.max_subscriptions();
        // Behind a filter, a request may ask for a channel that its socket has.
        let is_new;
        let (resume, since) = {
            let mut state = self.lock();
            if state.without_effect {
                return Ok(Recovery::Fresh);
            }
            if state.has_on_another_stream(subscriber, &target) {
                return Err(SubscribeError::OtherStream(target));
            }
            if let Some(outcome) = state.has(streams, subscriber, &target.channel, filter.as_deref()) {
                return Ok(outcome);
            }
            // Before there is a stream, and the broker is asked for it.
            is_new = !subscriber.joined().contains_key(&target.channel);
            if is_new && subscriber.subscriptions() >= limit {
                return Err(SubscribeError::TooMany(limit));
            }
            let resume =
                state.resume.get(&*target.channel).map(|had| match filter::is_for(filter.as_deref(), had.viewer) {
                    true => had.upto.clone(),
                    // The client has what another viewer may see, and not what this one may.
                    false => nowhere(),
                });
            (resume, state.since)
        };
        let held = streams.hold(subscriber, target, filter.clone(), resume.as_ref()).await.of_request(self.number);
        // Checked after it is held, since a closing looks for what is held after it was noted.
        if since.is_some_and(|since| streams.close_late(&held, subscriber, since)) {
            return Err(SubscribeError::Gone);
        }
        let mut state = self.lock();
        // The request may have asked for the channel twice at once.
        if let Some(outcome) = state.has(streams, subscriber, held.channel(), filter.as_deref()) {
            return Ok(outcome);
        }
        if is_new && subscriber.subscriptions() > limit {
            return Err(SubscribeError::TooMany(limit));
        }
        if state.settled {
            return held.announce(state.end).ok_or(SubscribeError::Gone);
        }
        let outcome = held.outcome();
        state.held.push(held);
        Ok(outcome)
    }

    /// Ends a subscription, held or live.
    pub fn remove(&self, streams: &StreamRegistry, subscriber: &Subscriber, channel: &str) {
        let mut state = self.lock();
        if state.without_effect {
            return;
        }
        state.held.retain(|held| **held.channel() != *channel);
        state.had.retain(|had| *had.channel != *channel);
        if state.settled {
            streams.remove(subscriber, channel, LeftReason::Unsubscribed);
        } else if streams.leave(subscriber, channel) {
            state.left.push(channel.to_owned());
        }
    }

    /// The names of the application's channels that the request has subscribed to and that are not live yet.
    pub fn pending(&self) -> Vec<String> {
        let state = self.lock();
        let own = state.held.iter().filter(|held| held.filter().is_none());
        own.map(|held| held.channel().as_ref().to_owned()).collect()
    }

    /// The request is answered. What it subscribed to counts only if it succeeded, and is still authorized.
    pub fn settle(&self, subscriber: &Subscriber, succeeded: bool) -> Settled {
        let mut state = {
            let mut state = self.lock();
            let without_effect = state.without_effect;
            let after = State { settled: true, without_effect, end: state.end, ..State::default() };
            std::mem::replace(&mut *state, after)
        };
        if !succeeded || subscriber.is_gone() || state.end.is_some_and(|end| end <= Instant::now()) {
            state.held.clear();
            state.had.clear();
        }
        let had = state.still_had(subscriber);
        let mut settled = Settled { held: state.held, end: state.end, ..Settled::default() };
        if subscriber.client().is_some() {
            let channels = had.iter().map(|(had, position)| (had.channel.clone(), position.clone(), had.outcome));
            settled.channels = channels.collect();
            let held = settled.held.iter_mut();
            settled.channels.extend(held.map(|held| (held.channel().clone(), held.settle(), held.outcome())));
            settled.left = state.left;
        }
        settled.had = had.into_iter().map(|(had, _)| had).collect();
        settled
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the request or its socket has the name of a channel already, and it is another channel.
    fn has_on_another_stream(&self, subscriber: &Subscriber, target: &Target) -> bool {
        let held = self.held.iter().find(|held| *held.channel() == target.channel);
        let held = held.map(|held| held.stream().name.clone());
        let joined = || subscriber.joined().get(&target.channel).cloned();
        held.or_else(joined).is_some_and(|stream| stream != target.stream)
    }

    /// The outcome of a channel that the request or its socket has already. Behind a filter a socket may have a channel more
    /// than once, since what it sees by one request is not all that it sees by another.
    fn has(
        &mut self,
        streams: &StreamRegistry,
        subscriber: &Subscriber,
        channel: &Arc<str>,
        filter: Option<&dyn EventFilter>,
    ) -> Option<Recovery> {
        if let Some(held) = self.held.iter().find(|held| held.channel() == channel) {
            if let Some((held, filter)) = held.filter().zip(filter) {
                held.widen(filter);
            }
            return Some(held.outcome());
        }
        if filter.is_some() {
            return None;
        }
        let stream = subscriber.joined().get(channel)?.clone();
        let (joining, outcome) = streams.find(&stream)?.joining(channel, subscriber.id())?;
        // Who does not say where the client was has read nothing yet.
        let is_repeat = self.resume.contains_key(&**channel);
        let outcome = if outcome == Recovery::Recovered && !is_repeat { Recovery::Fresh } else { outcome };
        self.had.retain(|had| had.channel != *channel);
        self.had.push(Had { channel: channel.clone(), stream, streams: streams.weak(), joining, outcome });
        Some(outcome)
    }

    /// The channels that the socket had before and has not left since, and where they stand. What it has now it has not left.
    fn still_had(&mut self, subscriber: &Subscriber) -> Vec<(Had, Position)> {
        let Self { had, held, left, .. } = self;
        let is_held = |channel: &str| held.iter().any(|held| **held.channel() == *channel);
        let joined = subscriber.joined();
        left.retain(|channel| !is_held(channel) && !joined.contains_key(&**channel));
        let had = had.drain(..).filter(|had| !is_held(&had.channel));
        let still = had.filter_map(|had| {
            let stream = had.streams.upgrade()?.find(joined.get(&had.channel)?)?;
            let (joining, _) = stream.joining(&had.channel, subscriber.id())?;
            let (position, _) = stream.joined(&had.channel, subscriber.id())?;
            (joining == had.joining).then_some((had, position))
        });
        still.collect()
    }
}

impl Settled {
    /// Returns whether another subscription of the socket to this channel may receive other events of it.
    pub fn is_filtered(&self, channel: &str) -> bool {
        self.held.iter().any(|held| **held.channel() == *channel && held.filter().is_some())
    }

    /// Returns the number of the viewer for whom the socket receives a filtered channel.
    pub fn viewer(&self, channel: &str) -> Option<u64> {
        self.held.iter().find(|held| **held.channel() == *channel)?.viewer()
    }

    /// Whether there is anything to make live.
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// The ack is on its way: what was published since follows it.
    pub fn live(self, subscriber: &Subscriber) {
        for held in &self.held {
            held.join(self.end);
        }
        self.extend(subscriber);
    }

    /// As [`live`](Self::live), where no ack tells of the channels.
    pub fn live_aloud(mut self, subscriber: &Subscriber) {
        for held in self.held.drain(..) {
            held.announce(self.end);
        }
        self.extend(subscriber);
    }

    /// The ack has named channels that the socket had before. One that it left meanwhile it is told of once more.
    fn extend(&self, subscriber: &Subscriber) {
        for Had { channel, stream, streams, .. } in &self.had {
            let Some(streams) = streams.upgrade() else { return };
            let joined = subscriber.joined();
            if let Some(stream) = joined.get(channel) {
                streams.find(stream).iter().for_each(|stream| stream.extend(channel, subscriber, self.end));
            } else if subscriber.client().is_some() {
                let is_expired = streams.find(stream).is_some_and(|stream| stream.may_be_renewed(channel, subscriber));
                let reason = if is_expired { LeftReason::Expired } else { LeftReason::Removed };
                subscriber.send(&Delivery::Left { channel, reason });
            }
        }
    }
}
