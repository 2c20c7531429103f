//! The subscriptions of one request: held while the action runs, live once its answer is on its way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    peer::Peer,
    stream::{Outcome, Position},
    streams::{Held, Streams, Target},
};

/// Where a client was in the channels that a request subscribes to again.
pub(crate) type Resume = HashMap<String, Position>;

/// What a request has subscribed to so far.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Nobody will settle these subscriptions: each is live at once.
    settled: bool,
    resume: Resume,
    held: Vec<Held>,
    /// Channels that the socket had before.
    had: Vec<(Arc<str>, Position, Outcome)>,
    left: Vec<String>,
}

/// What an ack says of its request's subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) channels: Vec<(Arc<str>, Position, Outcome)>,
    pub(crate) left: Vec<String>,
    held: Vec<Held>,
}

impl Subscriptions {
    /// The client says where it was.
    pub(crate) fn resume(&self, resume: Resume) {
        self.lock().resume = resume;
    }

    /// Those outside any request: each is live at once.
    pub(crate) fn at_once() -> Self {
        Self { state: Mutex::new(State { settled: true, ..State::default() }) }
    }

    /// Subscribes; `None` if the socket is gone.
    pub(crate) fn add(&self, streams: &Streams, peer: &Peer, target: Target) -> Option<Outcome> {
        if peer.is_gone() {
            return None;
        }
        let mut state = self.lock();
        if let Some(held) = state.held.iter().find(|held| *held.channel() == target.channel) {
            return Some(held.outcome());
        }
        if let Some((position, outcome)) = streams.joined(peer, &target.channel) {
            if state.had.iter().all(|(channel, _, _)| *channel != target.channel) {
                state.had.push((target.channel, position, outcome));
            }
            return Some(outcome);
        }
        let resume = state.resume.get(&*target.channel).cloned();
        if state.settled {
            return streams.add(peer, target, resume.as_ref());
        }
        let held = streams.hold(peer, target, resume.as_ref());
        let outcome = held.outcome();
        state.held.push(held);
        Some(outcome)
    }

    /// Ends a subscription, held or live.
    pub(crate) fn remove(&self, streams: &Streams, peer: &Peer, channel: &str) {
        let mut state = self.lock();
        state.held.retain(|held| **held.channel() != *channel);
        state.had.retain(|(had, _, _)| **had != *channel);
        if state.settled {
            streams.remove(peer, channel, "unsubscribed");
        } else if streams.leave(peer, channel) {
            state.left.push(channel.to_owned());
        }
    }

    /// The request is answered. What it subscribed to counts only if it succeeded.
    pub(crate) fn settle(&self, peer: &Peer, succeeded: bool) -> Settled {
        let mut state = std::mem::replace(&mut *self.lock(), State { settled: true, ..State::default() });
        if !succeeded {
            state.held.clear();
        }
        if peer.client().is_none() {
            return Settled { held: state.held, ..Settled::default() };
        }
        let mut channels = if succeeded { state.had } else { Vec::new() };
        for held in &mut state.held {
            let position = held.settle();
            channels.push((held.channel().clone(), position, held.outcome()));
        }
        Settled { channels, left: state.left, held: state.held }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settled {
    /// The ack is on its way: what was published since follows it.
    pub(crate) fn live(self, streams: &Streams, peer: &Peer) {
        for held in &self.held {
            streams.join(peer, held);
        }
    }

    /// As [`live`](Self::live), where no ack tells of the channels.
    pub(crate) fn live_aloud(mut self, streams: &Streams, peer: &Peer) {
        for held in &mut self.held {
            streams.join_aloud(peer, held);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::hub::stream::Retention;

    fn target() -> Target {
        Target { channel: "room:7".into(), stream: "room:7".into(), retention: Retention::default() }
    }

    fn peer() -> Peer {
        Peer::of_inbox("ada".into(), mpsc::unbounded_channel().0)
    }

    #[test]
    fn a_channel_stands_once_in_an_ack_however_often_it_was_asked_for() {
        let (streams, peer) = (Streams::default(), peer());
        let first = Subscriptions::default();
        assert_eq!(first.add(&streams, &peer, target()), Some(Outcome::Fresh));
        assert_eq!(first.add(&streams, &peer, target()), Some(Outcome::Fresh));
        assert_eq!(first.lock().held.len(), 1);
        first.settle(&peer, true).live(&streams, &peer);

        let second = Subscriptions::default();
        second.add(&streams, &peer, target());
        second.add(&streams, &peer, target());
        assert_eq!(second.lock().had.len(), 1);
        assert!(second.lock().held.is_empty());
    }

    #[test]
    fn a_socket_that_is_gone_cannot_subscribe() {
        let (streams, peer) = (Streams::default(), peer());
        let subscriptions = Subscriptions::default();
        subscriptions.add(&streams, &peer, target());
        peer.mark_gone();
        assert_eq!(subscriptions.add(&streams, &peer, target()), None);
        subscriptions.settle(&peer, true).live(&streams, &peer);
        assert!(peer.joined().is_empty());
    }
}
