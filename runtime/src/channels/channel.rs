//! A channel: what sockets subscribe to, by its type.

use std::{
    fmt::{Display, Write},
    sync::Arc,
};

use catamaran_pubsub::{EncodedEvent, History, RESERVED, Target};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::{
    event::{EncodeError, Event, check_name},
    names::shape_of,
};

/// What sockets subscribe to: a type with a name, and the one type of event that is published there.
///
/// `#[channel("room:{id}", event = RoomEvent)]` implements it for a struct.
///
/// A name belongs to the first type that uses it; see [`ChannelConflict`](crate::ChannelConflict).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a channel, so no socket can subscribe to it",
    label = "expected a type declared with `#[channel(..)]`",
    note = "write `#[channel(\"room:{{id}}\", event = RoomEvent)] struct Room {{ id: u64 }}` and pass `&Room {{ id }}`"
)]
pub trait Channel {
    /// What is published there.
    type Event: Event;

    /// The name with its parameters, as declared: `room:{id}`.
    const PATTERN: &'static str;

    /// How much is kept for sockets that come back.
    const HISTORY: History = History::NONE;

    /// The stream that the channel's events are counted on, if it shares one; otherwise it is its own.
    const STREAM: Option<&'static str> = None;

    /// The name of this one: `room:7`.
    fn name(&self) -> String;
}

/// Returns where a channel is, without asking whom its name belongs to.
pub(super) fn target<C: Channel + ?Sized>(channel: &C) -> Target {
    let name: Arc<str> = channel.name().into();
    let stream = match C::STREAM {
        Some(stream) => format!("stream:{stream}").into(),
        None if name.starts_with(RESERVED) => format!("stream:{name}").into(),
        None => name.clone(),
    };
    Target { channel: name, stream, history: C::HISTORY, shape: shape_of::<C>() }
}

/// All but the characters that stand for themselves in the name of a channel.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Writes a value into the name of a channel, so that no two lists of values give one name.
///
/// Generated code calls it for each parameter; what stands between two parameters has a character that is escaped here.
pub fn escape(name: &mut String, value: &dyn Display) {
    let text = value.to_string();
    // A `String` takes everything that is written to it.
    let _ = write!(name, "{}", utf8_percent_encode(&text, ESCAPED));
}

/// A channel with any name and any event: the one way around typed channels, for code that was ported from Sails.
///
/// ```
/// use catamaran::{Channel, RawChannel, RawEvent};
///
/// let room = RawChannel::new("funSockets");
/// let event = RawEvent::new("message", &"hi").unwrap();
/// assert_eq!(room.name(), "funSockets");
/// # let _ = event;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawChannel {
    name: String,
}

impl RawChannel {
    /// The channel of this name, which may also be one that a typed channel gives, unless that has a
    /// [`STREAM`](Channel::STREAM): then it is another channel.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl Channel for RawChannel {
    type Event = RawEvent;

    const PATTERN: &'static str = "{name}";

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// An event of any name that carries any value.
#[derive(Clone, Debug)]
pub struct RawEvent(EncodedEvent);

impl RawEvent {
    /// An event with one argument.
    ///
    /// # Errors
    ///
    /// If the value cannot be written as JSON, or the name is empty or reserved: one that begins with `$`, or that Socket.IO
    /// or one of its clients raises itself, such as `connect`, `disconnect`, `error`, `gap` and `ping`.
    pub fn new<T: Serialize + ?Sized>(name: impl Into<String>, data: &T) -> Result<Self, EncodeError> {
        let name = name.into();
        check_name(&name)?;
        let argument = serde_json::value::to_raw_value(data).map_err(EncodeError::of_value)?;
        Ok(Self(EncodedEvent { name, arguments: vec![argument] }))
    }
}

impl Event for RawEvent {
    fn message(&self) -> Result<EncodedEvent, EncodeError> {
        Ok(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_values_share_a_name() {
        let name = |values: &[&str]| {
            let mut name = String::from("room");
            for value in values {
                name.push(':');
                escape(&mut name, value);
            }
            name
        };
        assert_eq!(name(&["7", "a-b_c.d"]), "room:7:a-b_c.d");
        assert_eq!(name(&["a:b"]), "room:a%3Ab");
        assert_ne!(name(&["a:b"]), name(&["a", "b"]));
        assert_ne!(name(&["%3A"]), name(&[":"]));
        assert_eq!(name(&["é\n{}"]), "room:%C3%A9%0A%7B%7D");
    }
}
