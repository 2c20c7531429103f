//! The subscriptions of one request: held while the action runs, live once its answer is on its way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{
    delivery::LeftReason, entry::Target, gate::Gate, held::Held, log::Outcome, position::Position, sent::Resume,
    streams::Streams, subscriber::Subscriber,
};

/// Why a socket could not be subscribed.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The socket is gone.
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

/// What a request has subscribed to so far.
#[derive(Debug, Default)]
pub struct Subscriptions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Nobody will settle these subscriptions: each is live at once.
    settled: bool,
    /// The request is a HEAD, which has no effect.
    without_effect: bool,
    resume: Resume,
    held: Vec<Held>,
    /// Channels that the socket had before.
    had: Vec<(Arc<str>, Position, Outcome)>,
    left: Vec<String>,
    /// When the request's authorization ends.
    end: Option<Instant>,
}

/// What an ack says of its request's subscriptions.
#[derive(Debug, Default)]
pub struct Settled {
    /// The channels, where each subscription stands, and how it came about.
    pub channels: Vec<(Arc<str>, Position, Outcome)>,
    /// The channels that the request left.
    pub left: Vec<String>,
    held: Vec<Held>,
    /// Channels that the socket had before, which may stay until this request's authorization ends.
    had: Vec<Arc<str>>,
    end: Option<Instant>,
}

impl Subscriptions {
    /// Creates those of a request that must have no effect: it subscribes and unsubscribes nothing.
    pub fn without_effect() -> Self {
        Self { state: Mutex::new(State { without_effect: true, ..State::default() }) }
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
        Self { state: Mutex::new(State { settled: true, ..State::default() }) }
    }

    /// Subscribes, behind a gate if not everybody may see the same.
    pub async fn add(
        &self,
        streams: &Streams,
        subscriber: &Subscriber,
        target: Target,
        gate: Option<Arc<dyn Gate>>,
    ) -> Result<Outcome, SubscribeError> {
        if subscriber.is_gone() {
            return Err(SubscribeError::Gone);
        }
        let limit = streams.max_channel_bytes();
        if target.channel.len() > limit {
            return Err(SubscribeError::NameTooLong(limit));
        }
        let limit = streams.max_subscriptions();
        let resume = {
            let mut state = self.lock();
            if state.without_effect {
                return Ok(Outcome::Fresh);
            }
            if state.has_on_another_stream(subscriber, &target) {
                return Err(SubscribeError::OtherStream(target));
            }
            if let Some(outcome) = state.has(streams, subscriber, &target.channel, gate.as_deref()) {
                return Ok(outcome);
            }
            // Before there is a stream, and the bus is asked for it.
            if subscriber.subscriptions() >= limit {
                return Err(SubscribeError::TooMany(limit));
            }
            state.resume.get(&*target.channel).map(|had| had.upto.clone())
        };
        let held = streams.hold(subscriber, target, gate.clone(), resume.as_ref()).await;
        let mut state = self.lock();
        // The request may have asked for the channel twice at once.
        if let Some(outcome) = state.has(streams, subscriber, held.channel(), gate.as_deref()) {
            return Ok(outcome);
        }
        if subscriber.subscriptions() > limit {
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
    pub fn remove(&self, streams: &Streams, subscriber: &Subscriber, channel: &str) {
        let mut state = self.lock();
        if state.without_effect {
            return;
        }
        state.held.retain(|held| **held.channel() != *channel);
        state.had.retain(|(had, _, _)| **had != *channel);
        if state.settled {
            streams.remove(subscriber, channel, LeftReason::Unsubscribed);
        } else if streams.leave(subscriber, channel) {
            state.left.push(channel.to_owned());
        }
    }

    /// The names of the application's channels that the request has subscribed to and that are not live yet.
    pub fn pending(&self) -> Vec<String> {
        let state = self.lock();
        let own = state.held.iter().filter(|held| held.gate().is_none());
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
        let had = state.had.iter().map(|(channel, ..)| channel.clone()).collect();
        let mut settled = Settled { held: state.held, had, end: state.end, ..Settled::default() };
        if subscriber.client().is_some() {
            let held = settled.held.iter_mut();
            let held = held.map(|held| (held.channel().clone(), held.settle(), held.outcome()));
            settled.channels = state.had.into_iter().chain(held).collect();
            settled.left = state.left;
        }
        settled
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the request or its socket has the name of a channel already, and it is another channel.
    fn has_on_another_stream(&self, subscriber: &Subscriber, target: &Target) -> bool {
        let held = self.held.iter().find(|held| *held.channel() == target.channel).map(Held::stream);
        let joined = || subscriber.joined().get(&target.channel).cloned();
        held.or_else(joined).is_some_and(|stream| *stream.name != *target.stream)
    }

    /// The outcome of a channel that the request or its socket has already. Behind a gate a socket may have a channel more
    /// than once, since what it sees by one request is not all that it sees by another.
    fn has(
        &mut self,
        streams: &Streams,
        subscriber: &Subscriber,
        channel: &Arc<str>,
        gate: Option<&dyn Gate>,
    ) -> Option<Outcome> {
        if let Some(held) = self.held.iter().find(|held| held.channel() == channel) {
            if let Some((held, gate)) = held.gate().zip(gate) {
                held.widen(gate);
            }
            return Some(held.outcome());
        }
        if gate.is_some() {
            return None;
        }
        let (position, outcome) = streams.joined(subscriber, channel)?;
        if self.had.iter().all(|(had, _, _)| had != channel) {
            self.had.push((channel.clone(), position, outcome));
        }
        Some(outcome)
    }
}

impl Settled {
    /// Returns whether another subscription of the socket to this channel may receive other events of it.
    pub fn is_filtered(&self, channel: &str) -> bool {
        self.held.iter().any(|held| **held.channel() == *channel && held.gate().is_some())
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

    fn extend(&self, subscriber: &Subscriber) {
        for channel in &self.had {
            let stream = subscriber.joined().get(channel).cloned();
            if let Some(stream) = stream {
                stream.extend(channel, subscriber, self.end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{History, testing::Hub};

    fn target() -> Target {
        Target { channel: "room:7".into(), stream: "room:7".into(), history: History::NONE, shape: None }
    }

    #[tokio::test]
    async fn a_channel_stands_once_in_an_ack_however_often_it_was_asked_for() {
        let (hub, (subscriber, _wire)) = (Hub::default(), Subscriber::of_test("ada", None));
        let first = Subscriptions::default();
        assert_eq!(first.add(hub.streams(), &subscriber, target(), None).await.unwrap(), Outcome::Fresh);
        assert_eq!(first.add(hub.streams(), &subscriber, target(), None).await.unwrap(), Outcome::Fresh);
        assert_eq!(first.lock().held.len(), 1);
        first.settle(&subscriber, true).live(&subscriber);

        let second = Subscriptions::default();
        second.add(hub.streams(), &subscriber, target(), None).await.unwrap();
        second.add(hub.streams(), &subscriber, target(), None).await.unwrap();
        assert_eq!(second.lock().had.len(), 1);
        assert!(second.lock().held.is_empty());
    }

    #[tokio::test]
    async fn refused_subscriptions_make_no_streams() {
        let (hub, (subscriber, _wire)) = (Hub::default(), Subscriber::of_test("ada", None));
        hub.streams().set_max_subscriptions(2);
        hub.streams().set_max_channel_bytes(10);
        let subscriptions = Subscriptions::default();
        let add = |name: String| {
            let target = Target {
                channel: name.as_str().into(),
                stream: name.as_str().into(),
                history: History::NONE,
                shape: None,
            };
            subscriptions.add(hub.streams(), &subscriber, target, None)
        };
        let too_long = add("x".repeat(11)).await.unwrap_err();
        assert!(too_long.to_string().contains("at most 10 bytes"), "{too_long}");
        for n in 0..2 {
            add(format!("{n:0>10}")).await.unwrap();
        }
        for n in 2..1000 {
            assert!(matches!(add(n.to_string()).await, Err(SubscribeError::TooMany(2))));
        }
        assert_eq!(hub.streams().all().len(), 2);
        // Had the bus been asked for those, it would count them.
        assert_eq!(hub.streams().bus().streams(), 2);
    }

    #[tokio::test]
    async fn a_socket_that_is_gone_cannot_subscribe() {
        let (hub, (subscriber, _wire)) = (Hub::default(), Subscriber::of_test("ada", None));
        let subscriptions = Subscriptions::default();
        subscriptions.add(hub.streams(), &subscriber, target(), None).await.unwrap();
        subscriber.end();
        assert!(matches!(
            subscriptions.add(hub.streams(), &subscriber, target(), None).await,
            Err(SubscribeError::Gone)
        ));
        subscriptions.settle(&subscriber, true).live(&subscriber);
        assert!(subscriber.joined().is_empty());
    }
}
