//! What a subscriber is sent: to our own client with positions, to every other as in Sails. docs/wire.md is normative.

use std::sync::Arc;

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
        }
    }

    /// How many bytes its packet has at least: a name with characters that JSON escapes makes it longer.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Event(message) => message.packet_bytes(),
            Self::Entry { channel, offset, message } => {
                let digits = offset.checked_ilog10().unwrap_or(0) as usize + 1;
                // `"$",` and `"",` around the channel, and a comma after the offset
                message.packet_bytes() + channel.len() + digits + r#""$","","#.len() + 1
            }
            Self::Replay { channel, entries, .. } => {
                channel.len() + entries.iter().map(|entry| entry.message.bytes()).sum::<usize>()
            }
            Self::Gap { channel, .. } | Self::Join { channel, .. } | Self::Left { channel, .. } => channel.len(),
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::value::to_raw_value;

    use super::*;
    use crate::hub::stream::{Log, Retention};

    /// The packet as the library writes it.
    fn packet(frame: &Frame<'_>) -> String {
        let arguments = serde_json::to_string(frame).unwrap();
        let comma = if arguments == "[]" { "" } else { "," };
        format!(r#"42["{}"{comma}{}"#, frame.name(), &arguments[1..])
    }

    #[test]
    fn a_frame_is_never_counted_as_more_than_its_packet_has() {
        let (epoch, said) = (Arc::from("k3x9ab2c"), to_raw_value(&"hello").unwrap());
        let mut log = Log::new(Arc::clone(&epoch));
        log.retain(Retention { entries: 9, age: None });
        for arguments in [vec![], vec![said.clone()], vec![said.clone(), said]] {
            let message = Arc::new(Message { name: "said".into(), arguments });
            log.append("room:7".into(), message.clone(), None, Instant::now());
            for offset in [0, 9, 10, 12_345] {
                let frame = Frame::Entry { channel: "room:7", offset, message: &message };
                assert_eq!(frame.bytes(), packet(&frame).len());
            }
            assert_eq!(Frame::Event(&message).bytes(), packet(&Frame::Event(&message)).len());
        }
        let entries: Vec<_> = log.after(0).unwrap().cloned().collect();
        let (channel, position) = ("room:7", &Position { epoch, offset: 7 });
        for frame in [
            Frame::Replay { channel, entries: &entries, more: true },
            Frame::Gap { channel, top: position, reason: "not retained" },
            Frame::Join { channel, position },
            Frame::Left { channel, reason: "removed" },
        ] {
            assert!(frame.bytes() <= packet(&frame).len());
        }
    }
}
