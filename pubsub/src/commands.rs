//! What one server asks of all: a command, which each carries out on its own sockets, and its answer.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::{
    closings::{Closed, Reason},
    delivery::{Delivery, LeftReason},
    entry::{Excluded, Id, Target},
    event::EncodedEvent,
    registry::StreamRegistry,
    subscription::{SubscribeError, Subscriptions},
};

/// What each server does with its own sockets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Sends an event to all.
    Blast {
        /// The event.
        event: EncodedEvent,
        /// Who is left out.
        except: Vec<Excluded>,
    },
    /// Sends an event to one.
    Emit {
        /// The id of the socket.
        socket: String,
        /// The event.
        event: EncodedEvent,
    },
    /// Counts those that are live in a channel.
    Count {
        /// The channel.
        of: Target,
    },
    /// Lists them.
    List {
        /// The channel.
        of: Target,
    },
    /// Takes the members of one channel into another.
    Add {
        /// The channel.
        of: Target,
        /// The channel to subscribe to.
        to: Target,
    },
    /// Takes the members of one channel out of another.
    Remove {
        /// The channel.
        of: Target,
        /// The channel to leave.
        from: String,
    },
    /// Takes the members of a channel out of all their channels.
    LeaveAll {
        /// The channel.
        of: Target,
    },
    /// Subscribes one socket to a channel.
    Subscribe {
        /// The id of the socket.
        socket: String,
        /// The channel to subscribe to.
        to: Target,
    },
    /// Takes one socket out of a channel.
    Unsubscribe {
        /// The id of the socket.
        socket: String,
        /// The channel to leave.
        from: String,
    },
    /// Lists the channels of one socket.
    Channels {
        /// The id of the socket.
        socket: String,
    },
    /// Tells all who are subscribed to anything that they may have missed something.
    Turn,
    /// Closes those that have a tag.
    CloseTagged {
        /// The tag.
        tag: String,
        /// What the clients are told.
        reason: String,
    },
    /// Closes those that are live in a channel, or about to be.
    CloseMembers {
        /// The channel.
        of: Target,
        /// What the clients are told.
        reason: String,
    },
}

/// How many sockets a command concerned, and for a list their ids, or the channels of the one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// How many sockets.
    pub count: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    /// Their ids.
    pub sockets: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    /// The channels of the one.
    pub channels: Vec<String>,
    /// The socket is there, and has too many subscriptions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
}

impl Command {
    /// Whether it may have to attach a stream.
    pub(super) fn asks_the_bus(&self) -> bool {
        matches!(self, Self::Add { .. } | Self::Subscribe { .. })
    }

    /// The one socket that it concerns.
    pub(super) fn socket(&self) -> Option<&str> {
        match self {
            Self::Emit { socket, .. }
            | Self::Subscribe { socket, .. }
            | Self::Unsubscribe { socket, .. }
            | Self::Channels { socket } => Some(socket),
            _ => None,
        }
    }

    /// Whether servers that are away carry it out when they come back.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self, Self::CloseTagged { .. } | Self::CloseMembers { .. } | Self::Turn)
    }
}

impl AddAssign for Answer {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.sockets.extend(other.sockets);
        self.channels.extend(other.channels);
        self.full |= other.full;
    }
}

impl From<usize> for Answer {
    fn from(count: usize) -> Self {
        Self { count, ..Self::default() }
    }
}

impl StreamRegistry {
    /// Carries a command out on the sockets of this server. Only one that subscribes may have to wait. `by` is what another
    /// server calls it.
    pub(super) async fn carry_out(&self, command: Command, by: Option<Id>) -> Answer {
        match command {
            Command::Blast { event, except } => {
                let mut subscribers = self.sockets().all();
                subscribers.retain(|subscriber| !except.iter().any(|excluded| excluded.is(subscriber.identity())));
                subscribers.iter().for_each(|subscriber| subscriber.send(&Delivery::Event(&event)));
                subscribers.len().into()
            }
            Command::Emit { socket, event } => {
                let Some(subscriber) = self.sockets().get(&socket) else { return Answer::default() };
                subscriber.send(&Delivery::Event(&event));
                1.into()
            }
            Command::Count { of } => self.count(&of).into(),
            Command::List { of } => {
                let sockets: Vec<_> = self.members(&of).iter().map(|subscriber| subscriber.id().to_owned()).collect();
                Answer { count: sockets.len(), sockets, ..Answer::default() }
            }
            Command::Add { of, to } => {
                let members = self.members(&of);
                for subscriber in &members {
                    self.add(subscriber, to.clone(), None).await;
                }
                members.len().into()
            }
            Command::Remove { of, from } => {
                let members = self.members(&of);
                members.iter().for_each(|subscriber| self.remove(subscriber, &from, LeftReason::Removed));
                members.len().into()
            }
            Command::LeaveAll { of } => {
                let members = self.members(&of);
                for subscriber in &members {
                    let channels: Vec<_> = subscriber.joined().keys().cloned().collect();
                    channels.iter().for_each(|channel| self.remove(subscriber, channel, LeftReason::Removed));
                }
                members.len().into()
            }
            Command::Subscribe { socket, to } => {
                let Some(subscriber) = self.sockets().get(&socket) else { return Answer::default() };
                match Subscriptions::at_once().add(self, &subscriber, to, None).await {
                    Ok(_) => 1.into(),
                    Err(SubscribeError::TooMany(_)) => Answer { full: true, ..Answer::default() },
                    // The asking server has checked the name.
                    Err(SubscribeError::Gone | SubscribeError::OtherStream(_) | SubscribeError::NameTooLong(_)) => {
                        Answer::default()
                    }
                }
            }
            Command::Unsubscribe { socket, from } => {
                let Some(subscriber) = self.sockets().get(&socket) else { return Answer::default() };
                self.remove(&subscriber, &from, LeftReason::Removed);
                1.into()
            }
            Command::Channels { socket } => {
                let Some(subscriber) = self.sockets().get(&socket) else { return Answer::default() };
                Answer { count: 1, channels: subscriber.channels(), ..Answer::default() }
            }
            Command::Turn => {
                for stream in self.all().into_iter().filter(|stream| !stream.is_for_commands()) {
                    stream.lock().link.delivered_locally = true;
                    self.renew(stream);
                }
                Answer::default()
            }
            Command::CloseTagged { tag, reason } => self.close_all(&Closed::Tag(tag), reason, by),
            Command::CloseMembers { of, reason } => self.close_all(&Closed::Members(of), reason, by),
        }
    }

    /// Closes the sockets that were there before this server knew of the closing, which it carries out once.
    fn close_all(&self, closed: &Closed, text: String, by: Option<Id>) -> Answer {
        let reason = Reason { text, away_since: by.and_then(|_| self.away_since()) };
        if !self.closings().note(closed.clone(), reason.clone(), by) {
            return Answer::default();
        }
        let mut subscribers = match closed {
            Closed::Tag(tag) => self.sockets().tagged(tag),
            Closed::Members(of) => self.members_and_holders(of),
            Closed::All => self.sockets().all(),
        };
        subscribers.retain(|subscriber| self.close_by(subscriber, &reason));
        subscribers.len().into()
    }
}
