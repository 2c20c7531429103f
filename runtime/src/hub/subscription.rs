//! The subscriptions of one request: held while the action runs, live once its answer is on its way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    entry::{Position, Target},
    log::Outcome,
    peer::{Peer, Resume},
    stream::Held,
    streams::Streams,
};

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
    pub(crate) async fn add(&self, streams: &Streams, peer: &Peer, target: Target) -> Option<Outcome> {
        if peer.is_gone() {
            return None;
        }
        let resume = {
            let mut state = self.lock();
            if let Some(outcome) = state.has(streams, peer, &target.channel) {
                return Some(outcome);
            }
            state.resume.get(&*target.channel).map(|had| had.upto.clone())
        };
        let held = streams.hold(peer, target, resume.as_ref()).await;
        let mut state = self.lock();
        // The request may have asked for the channel twice at once.
        if let Some(outcome) = state.has(streams, peer, held.channel()) {
            return Some(outcome);
        }
        if state.settled {
            return held.announce(peer);
        }
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

impl State {
    /// The outcome of a channel that the request or its socket has already.
    fn has(&mut self, streams: &Streams, peer: &Peer, channel: &Arc<str>) -> Option<Outcome> {
        if let Some(held) = self.held.iter().find(|held| held.channel() == channel) {
            return Some(held.outcome());
        }
        let (position, outcome) = streams.joined(peer, channel)?;
        if self.had.iter().all(|(had, _, _)| had != channel) {
            self.had.push((channel.clone(), position, outcome));
        }
        Some(outcome)
    }
}

impl Settled {
    /// The ack is on its way: what was published since follows it.
    pub(crate) fn live(self, peer: &Peer) {
        for held in &self.held {
            held.join(peer);
        }
    }

    /// As [`live`](Self::live), where no ack tells of the channels.
    pub(crate) fn live_aloud(self, peer: &Peer) {
        for held in self.held {
            held.announce(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{History, Hub};

    fn target() -> Target {
        Target { channel: "room:7".into(), stream: "room:7".into(), history: History::NONE }
    }

    #[tokio::test]
    async fn a_channel_stands_once_in_an_ack_however_often_it_was_asked_for() {
        let (hub, (peer, _wire)) = (Hub::default(), Peer::of_test("ada", None));
        let first = Subscriptions::default();
        assert_eq!(first.add(hub.streams(), &peer, target()).await, Some(Outcome::Fresh));
        assert_eq!(first.add(hub.streams(), &peer, target()).await, Some(Outcome::Fresh));
        assert_eq!(first.lock().held.len(), 1);
        first.settle(&peer, true).live(&peer);

        let second = Subscriptions::default();
        second.add(hub.streams(), &peer, target()).await;
        second.add(hub.streams(), &peer, target()).await;
        assert_eq!(second.lock().had.len(), 1);
        assert!(second.lock().held.is_empty());
    }

    #[tokio::test]
    async fn a_socket_that_is_gone_cannot_subscribe() {
        let (hub, (peer, _wire)) = (Hub::default(), Peer::of_test("ada", None));
        let subscriptions = Subscriptions::default();
        subscriptions.add(hub.streams(), &peer, target()).await;
        peer.mark_gone();
        assert_eq!(subscriptions.add(hub.streams(), &peer, target()).await, None);
        subscriptions.settle(&peer, true).live(&peer);
        assert!(peer.joined().is_empty());
    }
}
