//! An event on its way out: a name, and arguments that are JSON already.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a subscriber receives: encoded once, however many there are.
#[derive(Clone, Serialize, Deserialize)]
pub struct EncodedEvent {
    /// Its name.
    pub name: String,
    /// Its arguments, each a JSON text.
    #[serde(rename = "data")]
    pub arguments: Vec<Box<RawValue>>,
}

impl EncodedEvent {
    /// A message with one argument.
    pub fn new(name: impl Into<String>, argument: Box<RawValue>) -> Self {
        Self { name: name.into(), arguments: vec![argument] }
    }

    /// The first argument.
    pub fn argument(&self) -> Option<&RawValue> {
        self.arguments.first().map(|argument| &**argument)
    }

    /// Returns how many bytes the name and the arguments have.
    pub fn bytes(&self) -> usize {
        self.name.len() + self.arguments.iter().map(|argument| argument.get().len() + 1).sum::<usize>()
    }
}

/// Without the arguments, which are for subscribers and not for a log.
impl fmt::Debug for EncodedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedEvent").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Display for EncodedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", serde_json::to_string(&self.name).map_err(|_| fmt::Error)?)?;
        self.arguments.iter().try_for_each(|argument| write!(f, ",{argument}"))?;
        f.write_str("]")
    }
}
