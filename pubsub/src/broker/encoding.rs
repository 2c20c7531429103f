//! An entry as text, the same in every backend: a compact header, then the name and the arguments as they are. It has no
//! positions, since the backend counts it later.
//!
//! A number is written in digits of five bits, the lowest first: `0` to `O` is the last digit, `P` to `o` one that another
//! follows. A text is its number of bytes and the bytes. So all of it is UTF-8, and a node of another version can read it far
//! enough to see that it does not understand it.
//!
//! The version before wrote JSON, which a backend may still keep.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Alias, Destination, EncodedEvent, Excluded, History, Id, Node, Position, PublishedEvent, Shape, Target};

/// The first character of an entry of this version.
const VERSION: char = '2';
/// How many digits there are, and the first of those that end a number, and of those that do not.
const BASE: u64 = 32;
const LAST: u8 = b'0';
const MORE: u8 = LAST + 32;
/// About how many bytes the header takes, and each channel beside its name.
const HEADER_BYTES: usize = 48;

/// What optional parts of a destination follow.
const OWN_STREAM: u64 = 1;
const AGE: u64 = 2;
const SHAPE: u64 = 4;

/// A text that no node of this version has written.
#[derive(Debug, thiserror::Error)]
#[error("not an event of this version")]
pub(crate) struct Unreadable;

/// Writes an entry for nodes of the same version.
pub(crate) fn encode(entry: &PublishedEvent) -> String {
    let names = entry.destinations.iter().map(|destination| destination.target.channel.len() + HEADER_BYTES);
    let mut writer = Writer(String::with_capacity(entry.message.bytes() + HEADER_BYTES + names.sum::<usize>()));
    writer.0.push(VERSION);
    writer.number(entry.id.node.0);
    writer.number(entry.id.number);
    writer.number(millis(entry.at.duration_since(UNIX_EPOCH).unwrap_or_default()));
    writer.text(&entry.message.name);
    writer.number(entry.message.arguments.len() as u64);
    entry.message.arguments.iter().for_each(|argument| writer.text(argument.get()));
    writer.number(entry.except.len() as u64);
    entry.except.iter().for_each(|excluded| writer.excluded(excluded));
    writer.number(entry.destinations.len() as u64);
    entry.destinations.iter().for_each(|destination| writer.target(&destination.target));
    writer.0
}

/// Reads an entry, with the positions that the backend gave it in the order of its destinations.
pub(crate) fn decode(text: &str, positions: Vec<Position>) -> Result<PublishedEvent, Unreadable> {
    let entry = match text.strip_prefix(VERSION) {
        Some(text) => Reader(text).entry(positions),
        None => serde_json::from_str::<Json>(text).ok().and_then(|json| json.entry(positions)),
    };
    entry.ok_or(Unreadable)
}

struct Writer(String);

impl Writer {
    fn number(&mut self, mut number: u64) {
        while number >= BASE {
            self.0.push(digit(MORE, number % BASE));
            number /= BASE;
        }
        self.0.push(digit(LAST, number));
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.push_str(text);
    }

    fn excluded(&mut self, excluded: &Excluded) {
        self.text(&excluded.socket);
        self.number(excluded.client.is_some().into());
        if let Some(Alias(alias)) = excluded.client {
            self.number(alias);
        }
    }

    fn target(&mut self, target: &Target) {
        let Target { channel, stream, history, shape } = target;
        let part = |is_there, part| if is_there { part } else { 0 };
        self.text(channel);
        let parts =
            [part(stream != channel, OWN_STREAM), part(history.age.is_some(), AGE), part(shape.is_some(), SHAPE)];
        self.number(parts.iter().sum());
        if stream != channel {
            self.text(stream);
        }
        self.number(history.entries as u64);
        self.number(history.bytes as u64);
        if let Some(age) = history.age {
            self.number(millis(age));
        }
        if let Some(Shape(shape)) = shape {
            self.number((*shape).into());
        }
    }
}

struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    /// What follows the last part that this version knows is skipped.
    fn entry(&mut self, positions: Vec<Position>) -> Option<PublishedEvent> {
        let id = Id { node: Node(self.number()?), number: self.number()? };
        let at = time(self.number()?);
        let name = self.text()?.to_owned();
        let arguments = self.list(|reader| RawValue::from_string(reader.text()?.to_owned()).ok())?;
        let except = self.list(Self::excluded)?;
        let mut positions = positions.into_iter();
        let destinations =
            self.list(|reader| Some(Destination { target: reader.target()?, position: Some(positions.next()?) }))?;
        positions.next().is_none().then_some(PublishedEvent {
            id,
            message: EncodedEvent { name, arguments },
            except,
            destinations,
            at,
        })
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        // Each part takes a byte at least.
        let count = self.length()?;
        let mut list = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            list.push(read(self)?);
        }
        Some(list)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for (destination, byte) in self.0.bytes().enumerate() {
            let (first, is_last) = if byte < MORE { (LAST, true) } else { (MORE, false) };
            let digit = u64::from(byte.checked_sub(first)?);
            let shift = u32::try_from(5 * destination).ok()?;
            let shifted = digit.checked_shl(shift)?;
            if digit >= BASE || shifted >> shift != digit {
                return None;
            }
            number |= shifted;
            if is_last {
                self.0 = &self.0[destination + 1..];
                return Some(number);
            }
        }
        None
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    fn excluded(&mut self) -> Option<Excluded> {
        let socket = self.text()?.to_owned();
        let client = if self.number()? == 0 { None } else { Some(Alias(self.number()?)) };
        Some(Excluded { socket, client })
    }

    fn target(&mut self) -> Option<Target> {
        let channel: Arc<str> = self.text()?.into();
        let parts = self.number()?;
        let has = |part| parts & part != 0;
        let stream = if has(OWN_STREAM) { self.text()?.into() } else { channel.clone() };
        let (entries, bytes) = (self.length()?, self.length()?);
        let age = if has(AGE) { Some(Duration::from_millis(self.number()?)) } else { None };
        let shape = if has(SHAPE) { Some(Shape(u32::try_from(self.number()?).ok()?)) } else { None };
        let history = History { entries, bytes, age, since_subscribe: false };
        Some(Target { channel, stream, history, shape })
    }
}

/// An entry of the version before.
#[derive(Deserialize)]
struct Json {
    node: u64,
    number: u64,
    event: String,
    data: Vec<Box<RawValue>>,
    /// The id of each socket, and the alias of its client.
    #[serde(default)]
    except: Vec<(String, Option<u64>)>,
    to: Vec<To>,
    /// Milliseconds since 1970.
    at: u64,
}

#[derive(Deserialize)]
struct To {
    channel: String,
    stream: String,
    entries: usize,
    bytes: usize,
    /// Milliseconds.
    age: Option<u64>,
    #[serde(default)]
    shape: Option<Shape>,
}

impl Json {
    fn entry(self, positions: Vec<Position>) -> Option<PublishedEvent> {
        if self.to.len() != positions.len() {
            return None;
        }
        let excluded = |(socket, alias): (_, Option<_>)| Excluded { socket, client: alias.map(Alias) };
        let destination = |(to, position): (To, _)| Destination { target: to.target(), position: Some(position) };
        Some(PublishedEvent {
            id: Id { node: Node(self.node), number: self.number },
            message: EncodedEvent { name: self.event, arguments: self.data },
            except: self.except.into_iter().map(excluded).collect(),
            destinations: self.to.into_iter().zip(positions).map(destination).collect(),
            at: time(self.at),
        })
    }
}

impl To {
    fn target(self) -> Target {
        let age = self.age.map(Duration::from_millis);
        let history = History { entries: self.entries, bytes: self.bytes, age, since_subscribe: false };
        Target { channel: self.channel.into(), stream: self.stream.into(), history, shape: self.shape }
    }
}

fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

fn digit(first: u8, digit: u64) -> char {
    char::from(first + u8::try_from(digit).unwrap_or_default())
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

    fn entry() -> PublishedEvent {
        let target = |channel: &str, stream: &str, history| {
            let shape = (channel != stream).then_some(Shape(7));
            Target { channel: channel.into(), stream: stream.into(), history, shape }
        };
        let destination = |target| Destination { target, position: None };
        PublishedEvent {
            id: Id { node: Node(u64::MAX), number: 7 },
            message: EncodedEvent {
                name: "said \"it\"".into(),
                arguments: vec![serde_json::value::to_raw_value(&["hi", "\u{1F600}"]).unwrap()],
            },
            except: vec![Excluded { socket: "s1".into(), client: Some(Alias(3)) }],
            destinations: vec![
                destination(target("room:7", "room:7", History::of(9).bytes(90).seconds(5))),
                destination(target("pet:1", "stream:pet", History::NONE)),
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
        for (read, (written, offset)) in read.destinations.iter().zip(entry.destinations.iter().zip([1, 5])) {
            assert_eq!(read.position, Some(position(offset)));
            assert_eq!((&read.target.channel, &read.target.stream), (&written.target.channel, &written.target.stream));
            assert_eq!((read.target.history, read.target.shape), (written.target.history, written.target.shape));
        }
    }

    #[test]
    fn a_number_of_any_size_comes_back() {
        for number in [0, 31, 32, 1023, 1024, u64::MAX - 1, u64::MAX] {
            let mut writer = Writer(String::new());
            writer.number(number);
            let mut reader = Reader(&writer.0);
            assert_eq!((reader.number(), reader.0), (Some(number), ""));
        }
        let too_large = ["o".repeat(12) + "@", "P".repeat(13) + "1"];
        for text in ["", "P", "/", "p0", "\u{e9}"].map(str::to_owned).iter().chain(&too_large) {
            assert_eq!(Reader(text).number(), None, "{text:?}");
        }
    }

    #[test]
    fn text_that_is_cut_short_is_an_error() {
        let encoded = encode(&entry());
        let positions = vec![position(1), position(5)];
        for (length, _) in encoded.char_indices() {
            assert!(decode(&encoded[..length], positions.clone()).is_err(), "{length}");
        }
        assert!(decode(&format!("{encoded}more"), positions).is_ok());
    }

    #[test]
    fn entry_of_the_version_before_is_read() {
        let json = r#"{"node":18446744073709551615,"number":7,"event":"said \"it\"","data":[["hi","😀"]],"except":[["s1",3]],
            "to":[{"channel":"room:7","stream":"room:7","entries":9,"bytes":90,"age":5000},
            {"channel":"pet:1","stream":"stream:pet","entries":0,"bytes":1048576,"age":null,"shape":5}],"at":1700000000123}"#;
        let (read, entry) = (decode(json, vec![position(1), position(5)]).unwrap(), entry());
        assert_eq!((read.id, read.at, &read.except), (entry.id, entry.at, &entry.except));
        assert_eq!(read.message.to_string(), entry.message.to_string());
        let targets = |entry: &PublishedEvent| {
            let targets = entry
                .destinations
                .iter()
                .map(|destination| (destination.target.channel.clone(), destination.target.history));
            targets.collect::<Vec<_>>()
        };
        assert_eq!(targets(&read), targets(&entry));
        assert_eq!((read.destinations[0].target.shape, read.destinations[1].target.shape), (None, Some(Shape(5))));
        assert!(decode(json, vec![position(1)]).is_err());
    }

    #[test]
    fn entry_of_another_version_is_an_error() {
        let json = r#"{"node":1,"number":1,"event":"e","data":[],"to":[{"channel":"a","stream":"a"}],"at":1}"#;
        let later = encode(&entry()).replacen(VERSION, "3", 1);
        for text in ["", "{}", json, &later] {
            assert!(decode(text, vec![position(1)]).is_err(), "{text}");
        }
        for positions in [vec![position(1)], vec![position(1); 3]] {
            assert!(decode(&encode(&entry()), positions).is_err());
        }
    }
}
