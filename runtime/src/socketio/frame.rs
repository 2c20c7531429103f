//! What a socket is sent of its channels: to the catamaran client with positions, to every other as in Sails. docs/wire.md is
//! normative.

use std::collections::BTreeMap;

use catamaran_pubsub::{Delivery, EncodedEvent, GapReason, LeftReason, Replayed};
use serde::{Serialize, Serializer, ser::SerializeTuple};

/// An event packet to one socket.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    /// What happened in a channel.
    Delivery(&'a Delivery<'a>),
    /// All subscriptions ended, and the socket is about to.
    Closed { reason: &'a str },
    /// The server stops: the client is to leave it after this time.
    Drain { after_ms: u64 },
}

impl Frame<'_> {
    /// The name of the event.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Delivery(Delivery::Event(message)) => &message.name,
            Self::Delivery(Delivery::Entry { .. } | Delivery::Advance { .. }) => "$",
            Self::Delivery(Delivery::Replay { .. }) => "$replay",
            Self::Delivery(Delivery::Gap { .. }) => "$gap",
            Self::Delivery(Delivery::Joined { .. }) => "$join",
            Self::Delivery(Delivery::Left { .. }) | Self::Closed { .. } => "$left",
            Self::Drain { .. } => "$drain",
        }
    }

    /// How many bytes its packet has at least: a name with characters that JSON escapes makes it longer.
    pub(crate) fn bytes(&self) -> usize {
        let delivery = match self {
            Self::Delivery(delivery) => delivery,
            Self::Closed { reason } => return reason.len(),
            Self::Drain { .. } => return r#"["$drain",{"after_ms":0}]"#.len(),
        };
        match delivery {
            Delivery::Event(message) => packet_bytes(message),
            Delivery::Entry { channel, offset, message } => {
                let digits = offset.checked_ilog10().unwrap_or(0) as usize + 1;
                // `"$",` and `"",` around the channel, and a comma after the offset
                packet_bytes(message) + channel.len() + digits + r#""$","","#.len() + 1
            }
            Delivery::Replay { channel, entries, .. } => {
                channel.len() + entries.iter().map(Replayed::bytes).sum::<usize>()
            }
            Delivery::Advance { channel, .. }
            | Delivery::Gap { channel, .. }
            | Delivery::Joined { channel, .. }
            | Delivery::Left { channel, .. } => channel.len(),
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

/// What a client that knows no positions gets of a frame: an entry as its event, of the rest nothing.
pub(crate) fn plain<'a>(frame: &Frame<'a>) -> Option<&'a EncodedEvent> {
    match frame {
        Frame::Delivery(Delivery::Event(message) | Delivery::Entry { message, .. }) => Some(message),
        _ => None,
    }
}

/// How many bytes the packet of an event has at least: a name with characters that JSON escapes makes it longer.
pub(crate) fn packet_bytes(message: &EncodedEvent) -> usize {
    message.bytes() + r#"42[""]"#.len()
}

impl Serialize for Frame<'_> {
    /// As a tuple, which Socket.IO takes as one argument for each of its members.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let delivery = match self {
            Self::Delivery(delivery) => *delivery,
            Self::Closed { reason } => return (None::<&str>, reason).serialize(serializer),
            Self::Drain { after_ms } => {
                return ([("after_ms", after_ms)].into_iter().collect::<BTreeMap<_, _>>(),).serialize(serializer);
            }
        };
        match delivery {
            Delivery::Event(message) => Arguments(message).serialize(serializer),
            Delivery::Entry { channel, offset, message } => {
                let mut frame = serializer.serialize_tuple(3 + message.arguments.len())?;
                frame.serialize_element(channel)?;
                frame.serialize_element(offset)?;
                frame.serialize_element(&message.name)?;
                message.arguments.iter().try_for_each(|argument| frame.serialize_element(argument))?;
                frame.end()
            }
            Delivery::Advance { channel, offset } => (channel, offset).serialize(serializer),
            Delivery::Replay { channel, entries, more } => {
                (channel, entries.iter().map(Entry).collect::<Vec<_>>(), more).serialize(serializer)
            }
            Delivery::Gap { channel, top, reason } => {
                (channel, &*top.epoch, top.offset, gap_reason(*reason)).serialize(serializer)
            }
            Delivery::Joined { channel, position } => {
                (channel, &*position.epoch, position.offset).serialize(serializer)
            }
            Delivery::Left { channel, reason } => (channel, left_reason(*reason)).serialize(serializer),
        }
    }
}

/// The arguments of an event, as a tuple.
pub(crate) struct Arguments<'a>(pub(crate) &'a EncodedEvent);

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let arguments = &self.0.arguments;
        let mut tuple = serializer.serialize_tuple(arguments.len())?;
        arguments.iter().try_for_each(|argument| tuple.serialize_element(argument))?;
        tuple.end()
    }
}

/// An event of a replay, `[offset, event, argument, ..]`; `[offset]` if the client was sent it as one of another channel.
struct Entry<'a>(&'a Replayed<'a>);

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Replayed { offset, message } = self.0;
        let Some(message) = message else { return [offset].serialize(serializer) };
        let mut entry = serializer.serialize_tuple(2 + message.arguments.len())?;
        entry.serialize_element(offset)?;
        entry.serialize_element(&message.name)?;
        message.arguments.iter().try_for_each(|argument| entry.serialize_element(argument))?;
        entry.end()
    }
}

fn gap_reason(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Missed => "missed",
        GapReason::NotRetained => "not retained",
    }
}

fn left_reason(reason: LeftReason) -> &'static str {
    match reason {
        LeftReason::Removed => "removed",
        LeftReason::Unsubscribed => "unsubscribed",
        LeftReason::Expired => "expired",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use catamaran_pubsub::Position;
    use serde_json::value::to_raw_value;

    use super::*;

    #[test]
    fn a_frame_is_never_counted_as_more_than_its_packet_has() {
        let packet = |frame: &Frame<'_>| frame.text().len() + "42".len();
        let said = to_raw_value(&"hello").unwrap();
        let mut messages = Vec::new();
        for arguments in [vec![], vec![said.clone()], vec![said.clone(), said]] {
            let message = EncodedEvent { name: "said".into(), arguments };
            for offset in [0, 9, 10, 12_345] {
                let entry = Delivery::Entry { channel: "room:7", offset, message: &message };
                let frame = Frame::Delivery(&entry);
                assert_eq!(frame.bytes(), packet(&frame));
            }
            let event = Delivery::Event(&message);
            assert_eq!(Frame::Delivery(&event).bytes(), packet(&Frame::Delivery(&event)));
            messages.push(message);
        }
        let entries: Vec<_> = messages.iter().map(|message| Replayed { offset: 7, message: Some(message) }).collect();
        let (channel, position) = ("room:7", &Position { epoch: Arc::from("k3x9ab2c"), offset: 7 });
        for delivery in [
            Delivery::Replay { channel, entries: &entries, more: true },
            Delivery::Advance { channel, offset: 7 },
            Delivery::Gap { channel, top: position, reason: GapReason::NotRetained },
            Delivery::Joined { channel, position },
            Delivery::Left { channel, reason: LeftReason::Removed },
        ] {
            let frame = Frame::Delivery(&delivery);
            assert!(frame.bytes() <= packet(&frame));
        }
    }
}
