//! What one server asks of all: a command, which each carries out on its own sockets, and its answer.

use std::{
    fmt,
    ops::AddAssign,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    SubscribeError,
    entry::{Alias, Excluded, Target},
    frame::Frame,
    history::History,
    message::Message,
    names::Shape,
    peer::Peer,
    streams::Streams,
    subscription::Subscriptions,
};

/// How far the clocks of two servers may be apart. A closing that comes late spares the sockets that were opened later.
const CLOCKS: Duration = Duration::from_secs(10);

/// What each server does with its own sockets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Command {
    /// Sends an event to all.
    Blast {
        event: Event,
        except: Vec<(String, Option<u64>)>,
    },
    /// Sends an event to one.
    Emit {
        socket: String,
        event: Event,
    },
    /// Counts, or lists, those that are live in a channel.
    Count {
        of: To,
    },
    List {
        of: To,
    },
    /// Takes the members of one channel into another.
    Add {
        of: To,
        to: To,
    },
    /// Takes the members of one channel out of another.
    Remove {
        of: To,
        from: String,
    },
    /// Takes the members of a channel out of all their channels.
    LeaveAll {
        of: To,
    },
    /// Subscribes one socket to a channel.
    Subscribe {
        socket: String,
        to: To,
    },
    /// Takes one socket out of a channel.
    Unsubscribe {
        socket: String,
        from: String,
    },
    /// Lists the channels of one socket.
    Channels {
        socket: String,
    },
    /// Tells all who are subscribed to anything that they may have missed something.
    Turn,
    /// Closes those that have a tag.
    CloseTagged {
        tag: String,
        reason: String,
    },
    /// Closes those that are live in a channel, or about to be.
    CloseMembers {
        of: To,
        reason: String,
    },
}

/// How many sockets a command concerned, and for a list their ids, or the channels of the one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) count: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sockets: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) channels: Vec<String>,
    /// The socket is there, and has too many subscriptions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) full: bool,
}

/// An event on its way to other servers.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Event {
    name: String,
    data: Vec<Box<RawValue>>,
}

/// A channel on its way to other servers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct To {
    channel: String,
    stream: String,
    entries: usize,
    bytes: usize,
    age: Option<Duration>,
    since_subscribe: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<Shape>,
}

impl Command {
    pub(super) fn blast(message: &Message, except: &[Excluded]) -> Self {
        let except = except.iter().map(|one| (one.socket.clone(), one.client.map(|alias| alias.0))).collect();
        Self::Blast { event: message.into(), except }
    }

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
        matches!(self, Self::CloseTagged { .. } | Self::CloseMembers { .. })
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

impl From<&Message> for Event {
    fn from(message: &Message) -> Self {
        Self { name: message.name.clone(), data: message.arguments.clone() }
    }
}

/// Without what it carries.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("name", &self.name).finish_non_exhaustive()
    }
}

impl From<Event> for Message {
    fn from(event: Event) -> Self {
        Self { name: event.name, arguments: event.data }
    }
}

impl From<&Target> for To {
    fn from(target: &Target) -> Self {
        let History { entries, bytes, age, since_subscribe } = target.history;
        Self {
            channel: target.channel.as_ref().into(),
            stream: target.stream.as_ref().into(),
            entries,
            bytes,
            age,
            since_subscribe,
            shape: target.shape,
        }
    }
}

impl From<To> for Target {
    fn from(to: To) -> Self {
        let To { entries, bytes, age, since_subscribe, shape, .. } = to;
        let history = History { entries, bytes, age, since_subscribe };
        Self { channel: to.channel.into(), stream: to.stream.into(), history, shape }
    }
}

impl Streams {
    /// Carries a command out on the sockets of this server. Only one that subscribes may have to wait.
    pub(super) async fn carry_out(&self, command: Command, given: SystemTime) -> Answer {
        match command {
            Command::Blast { event, except } => {
                let message = event.into();
                let except: Vec<_> =
                    except.into_iter().map(|(socket, alias)| Excluded { socket, client: alias.map(Alias) }).collect();
                let mut peers = self.sockets().all();
                peers.retain(|peer| !except.iter().any(|excluded| excluded.is(peer)));
                peers.iter().for_each(|peer| peer.send(&Frame::Event(&message)));
                peers.len().into()
            }
            Command::Emit { socket, event } => {
                let Some(peer) = self.sockets().get(&socket) else { return Answer::default() };
                peer.send(&Frame::Event(&event.into()));
                1.into()
            }
            Command::Count { of } => self.members(&of.into()).len().into(),
            Command::List { of } => {
                let sockets: Vec<_> = self.members(&of.into()).iter().map(|peer| peer.id().to_owned()).collect();
                Answer { count: sockets.len(), sockets, ..Answer::default() }
            }
            Command::Add { of, to } => {
                let (members, to) = (self.members(&of.into()), Target::from(to));
                for peer in &members {
                    self.add(peer, to.clone(), None).await;
                }
                members.len().into()
            }
            Command::Remove { of, from } => {
                let members = self.members(&of.into());
                members.iter().for_each(|peer| self.remove(peer, &from, "removed"));
                members.len().into()
            }
            Command::LeaveAll { of } => {
                let members = self.members(&of.into());
                for peer in &members {
                    let channels: Vec<_> = peer.joined().keys().cloned().collect();
                    channels.iter().for_each(|channel| self.remove(peer, channel, "removed"));
                }
                members.len().into()
            }
            Command::Subscribe { socket, to } => {
                let Some(peer) = self.sockets().get(&socket) else { return Answer::default() };
                match Subscriptions::at_once().add(self, &peer, to.into(), None).await {
                    Ok(_) => 1.into(),
                    Err(SubscribeError::TooMany(_)) => Answer { full: true, ..Answer::default() },
                    // The asking server has checked the name.
                    Err(SubscribeError::Gone | SubscribeError::Conflict(_) | SubscribeError::NameTooLong(_)) => {
                        Answer::default()
                    }
                }
            }
            Command::Unsubscribe { socket, from } => {
                let Some(peer) = self.sockets().get(&socket) else { return Answer::default() };
                self.remove(&peer, &from, "removed");
                1.into()
            }
            Command::Channels { socket } => {
                let Some(peer) = self.sockets().get(&socket) else { return Answer::default() };
                Answer { count: 1, channels: peer.channels(), ..Answer::default() }
            }
            Command::Turn => {
                for stream in self.all().into_iter().filter(|stream| !stream.is_for_commands()) {
                    stream.lock().link.degraded = true;
                    self.renew(stream);
                }
                Answer::default()
            }
            Command::CloseTagged { tag, reason } => self.close_all(self.sockets().tagged(&tag), &reason, given),
            Command::CloseMembers { of, reason } => {
                self.close_all(self.members_and_holders(&of.into()), &reason, given)
            }
        }
    }

    fn close_all(&self, mut peers: Vec<Peer>, reason: &str, given: SystemTime) -> Answer {
        peers.retain(|peer| peer.opened() <= given + CLOCKS && self.close(peer, reason));
        peers.len().into()
    }
}
