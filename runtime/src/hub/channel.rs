//! A channel: what sockets subscribe to, and what events are published to.

use std::fmt::{self, Display, Write};

use serde_json::Value;

use super::Event;

/// What sockets subscribe to; `#[channel]` implements it for a struct.
///
/// Each value of the struct is a channel of its own, and only events of the one type can be published to it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a channel, so no socket can subscribe to it",
    label = "not a channel",
    note = "a channel is a struct with a name: `#[channel(\"room:{{id}}\", event = RoomEvent)] pub struct Room {{ pub id: u64 }}`",
    note = "`Untyped::new(\"name\")` is a channel whose name and events are not checked"
)]
pub trait Channel: Send + Sync {
    /// What can be published to the channel.
    type Event: Event;
    /// The name with its fields in braces: `room:{id}`.
    const PATTERN: &'static str;
    /// How many events are kept for sockets that come back.
    const HISTORY: usize = 0;
    /// The stream that the channel's events are counted on, if it shares one; otherwise it is its own.
    const STREAM: Option<&'static str> = None;

    /// The name of this channel; two different channels of a type never share one.
    fn name(&self) -> String;
}

/// A channel that is only a name, for code that comes from Sails: nothing checks what is published to it.
///
/// ```
/// use catamaran::{Channel, Untyped};
///
/// let lobby = Untyped::new("lobby");
/// assert_eq!(lobby.name(), "lobby");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Untyped(String);

impl Untyped {
    /// The channel of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl Channel for Untyped {
    type Event = (String, Value);
    const PATTERN: &'static str = "{name}";

    fn name(&self) -> String {
        self.0.clone()
    }
}

/// The name that a pattern gives to these values of its fields, which stand in the pattern's order.
pub fn name(pattern: &str, fields: &[&dyn Display]) -> String {
    let mut name = String::with_capacity(pattern.len() + 16);
    let mut fields = fields.iter();
    for (i, part) in pattern.split('{').enumerate() {
        let text = match part.split_once('}') {
            Some((_, text)) if i > 0 => {
                let mut escaped = Escaped(&mut name);
                fields.next().map_or(Ok(()), |field| write!(escaped, "{field}")).expect("a String takes any text");
                text
            }
            _ => part,
        };
        name.push_str(text);
    }
    name
}

/// Writes a field so that it cannot be taken for a part of the pattern.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() || matches!(c, ':' | '%' | '{' | '}') {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    write!(self.0, "%{byte:02X}")?;
                }
            } else {
                self.0.push(c);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_pattern_with_its_fields() {
        assert_eq!(name("lobby", &[]), "lobby");
        assert_eq!(name("room:{id}", &[&7]), "room:7");
        assert_eq!(name("{shop}:pet:{id}:all", &[&"north", &7]), "north:pet:7:all");
    }

    #[test]
    fn different_values_never_share_a_name() {
        assert_eq!(name("{a}:{b}", &[&"x:y", &"z"]), "x%3Ay:z");
        assert_eq!(name("{a}:{b}", &[&"x", &"y:z"]), "x:y%3Az");
        assert_eq!(name("{a}", &[&"%3A"]), "%253A");
        assert_eq!(name("{a}", &[&"{a}\n\u{85}"]), "%7Ba%7D%0A%C2%85");
        assert_eq!(name("{a}", &[&"größe 1"]), "größe 1");
    }
}
