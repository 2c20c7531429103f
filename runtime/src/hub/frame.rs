//! What a subscriber is sent: to our own client with positions, to every other as in Sails. docs/wire.md is normative.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeTuple};

use super::{entry::Position, message::Message};

/// An event packet to one socket.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    /// An event to this socket alone, which no position counts.
    Event(&'a Message),
    /// An event of a channel.
    Entry { channel: &'a str, offset: u64, message: &'a Message },
    /// An event of a channel that the client was sent as one of another channel.
    Advance { channel: &'a str, offset: u64 },
    /// Events of a channel that the client had not received; `more` of them follow.
    Replay { channel: &'a str, entries: &'a [Replayed<'a>], more: bool },
    /// The client may have missed something.
    Gap { channel: &'a str, top: &'a Position, reason: &'static str },
    /// The server made the socket a subscriber, outside a request.
    Join { channel: &'a str, position: &'a Position },
    /// The subscription ended, outside a request.
    Left { channel: &'a str, reason: &'a str },
    /// All subscriptions ended, and the socket is about to.
    Closed { reason: &'a str },
    /// The server stops: the client is to leave it after this time.
    Drain { after_ms: u64 },
}

impl Frame<'_> {
    /// The name of the event.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Event(message) => &message.name,
            Self::Entry { .. } | Self::Advance { .. } => "$",
            Self::Replay { .. } => "$replay",
            Self::Gap { .. } => "$gap",
            Self::Join { .. } => "$join",
            Self::Left { .. } | Self::Closed { .. } => "$left",
            Self::Drain { .. } => "$drain",
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
            Self::Replay { channel, entries, .. } => channel.len() + entries.iter().map(Replayed::bytes).sum::<usize>(),
            Self::Advance { channel, .. }
            | Self::Gap { channel, .. }
            | Self::Join { channel, .. }
            | Self::Left { channel, .. } => channel.len(),
            Self::Closed { reason } => reason.len(),
            Self::Drain { .. } => r#"["$drain",{"after_ms":0}]"#.len(),
        }
    }

    /// What a client that knows no positions gets of it: an entry as its event, of the rest nothing.
    pub(crate) fn plain(&self) -> Option<&Message> {
        match self {
            Self::Event(message) | Self::Entry { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The packet of a client that knows positions.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        let mut packet = vec![serde_json::Value::from(self.name())];
        if let serde_json::Value::Array(arguments) = serde_json::to_value(self).expect("a frame is JSON") {
            packet.extend(arguments);
        }
        serde_json::Value::from(packet).to_string()
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
            Self::Advance { channel, offset } => (channel, offset).serialize(serializer),
            Self::Replay { channel, entries, more } => (channel, entries, more).serialize(serializer),
            Self::Gap { channel, top, reason } => (channel, &*top.epoch, top.offset, reason).serialize(serializer),
            Self::Join { channel, position } => (channel, &*position.epoch, position.offset).serialize(serializer),
            Self::Left { channel, reason } => (channel, reason).serialize(serializer),
            Self::Closed { reason } => (None::<&str>, reason).serialize(serializer),
            Self::Drain { after_ms } => {
                ([("after_ms", after_ms)].into_iter().collect::<BTreeMap<_, _>>(),).serialize(serializer)
            }
        }
    }
}

/// An event of a replay, `[offset, event, argument, ..]`; `[offset]` if the client was sent it as one of another channel.
#[derive(Debug)]
pub(crate) struct Replayed<'a> {
    pub(crate) offset: u64,
    pub(crate) message: Option<&'a Message>,
}

impl Replayed<'_> {
    /// About as many bytes as it takes in a packet.
    pub(crate) fn bytes(&self) -> usize {
        self.message.map_or(0, Message::bytes)
    }
}

impl Serialize for Replayed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(message) = self.message else { return [self.offset].serialize(serializer) };
        let mut entry = serializer.serialize_tuple(2 + message.arguments.len())?;
        entry.serialize_element(&self.offset)?;
        entry.serialize_element(&message.name)?;
        message.arguments.iter().try_for_each(|argument| entry.serialize_element(argument))?;
        entry.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::value::to_raw_value;

    use super::*;

    #[test]
    fn a_frame_is_never_counted_as_more_than_its_packet_has() {
        let packet = |frame: &Frame<'_>| frame.text().len() + "42".len();
        let said = to_raw_value(&"hello").unwrap();
        let mut messages = Vec::new();
        for arguments in [vec![], vec![said.clone()], vec![said.clone(), said]] {
            let message = Message { name: "said".into(), arguments };
            for offset in [0, 9, 10, 12_345] {
                let frame = Frame::Entry { channel: "room:7", offset, message: &message };
                assert_eq!(frame.bytes(), packet(&frame));
            }
            assert_eq!(Frame::Event(&message).bytes(), packet(&Frame::Event(&message)));
            messages.push(message);
        }
        let entries: Vec<_> = messages.iter().map(|message| Replayed { offset: 7, message: Some(message) }).collect();
        let (channel, position) = ("room:7", &Position { epoch: Arc::from("k3x9ab2c"), offset: 7 });
        for frame in [
            Frame::Replay { channel, entries: &entries, more: true },
            Frame::Advance { channel, offset: 7 },
            Frame::Gap { channel, top: position, reason: "not retained" },
            Frame::Join { channel, position },
            Frame::Left { channel, reason: "removed" },
        ] {
            assert!(frame.bytes() <= packet(&frame));
        }
    }
}
