//! What a subscriber is sent: to our own client with positions, to every other as in Sails. docs/wire.md is normative.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeTuple};

use super::{
    message::Message,
    stream::{Entry, Position},
};

/// An event packet to one socket.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    /// An event to this socket alone, which no position counts.
    Event(&'a Message),
    /// An event of a channel.
    Entry { channel: &'a str, offset: u64, message: &'a Message },
    /// Events of a channel that the client had not received; `more` of them follow.
    Replay { channel: &'a str, entries: &'a [Entry], more: bool },
    /// The client may have missed something.
    Gap { channel: &'a str, top: &'a Position, reason: &'static str },
    /// The server made the socket a subscriber, outside a request.
    Join { channel: &'a str, position: &'a Position },
    /// The subscription ended, outside a request.
    Left { channel: &'a str, reason: &'static str },
    /// The server stops: the client is to leave it after this time.
    Drain { after_ms: u64 },
}

impl Frame<'_> {
    /// The name of the event.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Event(message) => &message.name,
            Self::Entry { .. } => "$",
            Self::Replay { .. } => "$replay",
            Self::Gap { .. } => "$gap",
            Self::Join { .. } => "$join",
            Self::Left { .. } => "$left",
            Self::Drain { .. } => "$drain",
        }
    }

    /// What a client that knows no positions gets of it: an entry as its event, of the rest nothing.
    pub(crate) fn plain(&self) -> Option<&Message> {
        match self {
            Self::Event(message) | Self::Entry { message, .. } => Some(message),
            _ => None,
        }
    }
}

impl Serialize for Frame<'_> {
    /// As a tuple, which Socket.IO takes as one argument for each of its members.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Event(message) => message.serialize(serializer),
            Self::Entry { channel, offset, message } => {
                let mut frame = serializer.serialize_tuple(3 + message.arguments.len())?;
                frame.serialize_element(channel)?;
                frame.serialize_element(offset)?;
                frame.serialize_element(&message.name)?;
                message.arguments.iter().try_for_each(|argument| frame.serialize_element(argument))?;
                frame.end()
            }
            Self::Replay { channel, entries, more } => {
                let entries: Vec<_> = entries.iter().map(Replayed).collect();
                (channel, entries, more).serialize(serializer)
            }
            Self::Gap { channel, top, reason } => (channel, &*top.epoch, top.offset, reason).serialize(serializer),
            Self::Join { channel, position } => (channel, &*position.epoch, position.offset).serialize(serializer),
            Self::Left { channel, reason } => (channel, reason).serialize(serializer),
            Self::Drain { after_ms } => {
                ([("after_ms", after_ms)].into_iter().collect::<BTreeMap<_, _>>(),).serialize(serializer)
            }
        }
    }
}

/// `[offset, event, argument, ..]`
struct Replayed<'a>(&'a Entry);

impl Serialize for Replayed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Entry { offset, message, .. } = self.0;
        let message: &Arc<Message> = message;
        let mut entry = serializer.serialize_tuple(2 + message.arguments.len())?;
        entry.serialize_element(offset)?;
        entry.serialize_element(&message.name)?;
        message.arguments.iter().try_for_each(|argument| entry.serialize_element(argument))?;
        entry.end()
    }
}
