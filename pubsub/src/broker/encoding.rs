//! An entry as text, the same in every backend: JSON without positions, since the backend counts it later.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Alias, Entry, Excluded, History, Id, Message, Node, Place, Position, Shape, Target};

#[derive(Serialize, Deserialize)]
struct Encoded<'a> {
    node: u64,
    number: u64,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    data: Vec<Cow<'a, RawValue>>,
    /// The id of each socket, and the alias of its client.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    except: Vec<(Cow<'a, str>, Option<u64>)>,
    #[serde(borrow)]
    to: Vec<To<'a>>,
    /// Milliseconds since 1970.
    at: u64,
}

#[derive(Serialize, Deserialize)]
struct To<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    entries: usize,
    bytes: usize,
    /// Milliseconds.
    age: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<Shape>,
}

/// The entry of a node of the same version, or of one that is replaced meanwhile: what it does not know it skips.
pub(crate) fn encode(entry: &Entry) -> String {
    let encoded = Encoded {
        node: entry.id.node.0,
        number: entry.id.number,
        event: (&*entry.message.name).into(),
        data: entry.message.arguments.iter().map(|argument| Cow::Borrowed(&**argument)).collect(),
        except: entry.except.iter().map(|one| ((&*one.socket).into(), one.client.map(|alias| alias.0))).collect(),
        to: entry.places.iter().map(|place| To::of(&place.target)).collect(),
        at: millis(entry.at.duration_since(UNIX_EPOCH).unwrap_or_default()),
    };
    serde_json::to_string(&encoded).expect("texts and numbers are JSON")
}

/// The entry of a text, with the positions that the backend gave it in the order of its places.
pub(crate) fn decode(text: &str, positions: Vec<Position>) -> serde_json::Result<Entry> {
    let encoded: Encoded<'_> = serde_json::from_str(text)?;
    if encoded.to.len() != positions.len() {
        return Err(serde::de::Error::invalid_length(positions.len(), &"a position for each channel"));
    }
    let places = encoded.to.into_iter().zip(positions);
    Ok(Entry {
        id: Id { node: Node(encoded.node), number: encoded.number },
        message: Message {
            name: encoded.event.into_owned(),
            arguments: encoded.data.into_iter().map(Cow::into_owned).collect(),
        },
        except: encoded
            .except
            .into_iter()
            .map(|(socket, alias)| Excluded { socket: socket.into_owned(), client: alias.map(Alias) })
            .collect(),
        places: places.map(|(to, position)| Place { target: to.target(), position: Some(position) }).collect(),
        at: UNIX_EPOCH.checked_add(Duration::from_millis(encoded.at)).unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

impl<'a> To<'a> {
    fn of(target: &'a Target) -> Self {
        let History { entries, bytes, age, .. } = target.history;
        Self {
            channel: (&*target.channel).into(),
            stream: (&*target.stream).into(),
            entries,
            bytes,
            age: age.map(millis),
            shape: target.shape,
        }
    }

    fn target(self) -> Target {
        let age = self.age.map(Duration::from_millis);
        let history = History { entries: self.entries, bytes: self.bytes, age, since_subscribe: false };
        let channel: Arc<str> = self.channel.into();
        let stream = if self.stream == *channel { channel.clone() } else { self.stream.into() };
        Target { channel, stream, history, shape: self.shape }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(offset: u64) -> Position {
        Position { epoch: "k3x9ab2c".into(), offset }
    }

    fn entry() -> Entry {
        let target = |channel: &str, stream: &str, history| {
            let shape = (channel != stream).then_some(Shape(7));
            Target { channel: channel.into(), stream: stream.into(), history, shape }
        };
        let place = |target| Place { target, position: None };
        Entry {
            id: Id { node: Node(u64::MAX), number: 7 },
            message: Message {
                name: "said \"it\"".into(),
                arguments: vec![serde_json::value::to_raw_value(&["hi", "\u{1F600}"]).unwrap()],
            },
            except: vec![Excluded { socket: "s1".into(), client: Some(Alias(3)) }],
            places: vec![
                place(target("room:7", "room:7", History::of(9).bytes(90).seconds(5))),
                place(target("pet:1", "stream:pet", History::NONE)),
            ],
            at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        }
    }

    #[test]
    fn an_entry_comes_back_as_it_was_with_its_positions() {
        let entry = entry();
        let read = decode(&encode(&entry), vec![position(1), position(5)]).unwrap();
        assert_eq!((read.id, read.at, &read.except), (entry.id, entry.at, &entry.except));
        assert_eq!(read.message.to_string(), entry.message.to_string());
        for (read, (written, offset)) in read.places.iter().zip(entry.places.iter().zip([1, 5])) {
            assert_eq!(read.position, Some(position(offset)));
            assert_eq!((&read.target.channel, &read.target.stream), (&written.target.channel, &written.target.stream));
            assert_eq!((read.target.history, read.target.shape), (written.target.history, written.target.shape));
        }
    }

    #[test]
    fn what_is_no_entry_is_an_error() {
        for text in ["", "{}", "[1]", r#"{"node":1,"number":1,"event":"e","data":[],"to":[{}],"at":1}"#] {
            assert!(decode(text, vec![position(1)]).is_err(), "{text}");
        }
        assert!(decode(&encode(&entry()), vec![position(1)]).is_err());
    }
}
