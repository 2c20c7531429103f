//! An event on its way out: a name, and arguments that are JSON already.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeTuple};
use serde_json::value::RawValue;

/// What a subscriber receives: encoded once, however many there are.
#[derive(Clone)]
pub struct Message {
    pub(crate) name: String,
    pub(crate) arguments: Vec<Box<RawValue>>,
}

impl Message {
    /// A message with one argument.
    pub fn new(name: impl Into<String>, argument: Box<RawValue>) -> Self {
        Self { name: name.into(), arguments: vec![argument] }
    }

    /// The first argument.
    pub fn argument(&self) -> Option<&RawValue> {
        self.arguments.first().map(|argument| &**argument)
    }

    /// How many bytes the name and the arguments have.
    pub(crate) fn bytes(&self) -> usize {
        self.name.len() + self.arguments.iter().map(|argument| argument.get().len() + 1).sum::<usize>()
    }

    /// How many bytes its packet has at least: a name with characters that JSON escapes makes it longer.
    pub(crate) fn packet_bytes(&self) -> usize {
        self.bytes() + r#"42[""]"#.len()
    }
}

/// Without the arguments, which are for subscribers and not for a log.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", serde_json::Value::from(&*self.name))?;
        self.arguments.iter().try_for_each(|argument| write!(f, ",{argument}"))?;
        f.write_str("]")
    }
}

impl Serialize for Message {
    /// As a tuple, which Socket.IO takes as one argument for each of its members.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut arguments = serializer.serialize_tuple(self.arguments.len())?;
        for argument in &self.arguments {
            arguments.serialize_element(argument)?;
        }
        arguments.end()
    }
}
