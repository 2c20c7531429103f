//! What comes on a stream's channel, and what its history keeps.
//!
//! A history keeps the time and all positions of an entry, then the entry. On a channel come one or several of these, each
//! after its number of bytes; or a name alone.

use std::sync::Arc;

use crate::{Position, PublishedEvent, StreamEntry, broker::encoding};

/// What comes on a stream's channel.
#[derive(Debug)]
pub(super) enum Message<'a> {
    Entries(Vec<Arc<PublishedEvent>>),
    /// The stream has a new epoch, since this node attached it.
    Renewed(&'a str),
    /// Of another version.
    Unknown,
}

impl<'a> Message<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        if !text.contains(':') {
            return Self::Renewed(text);
        }
        entries(text).map_or(Self::Unknown, Self::Entries)
    }
}

fn entries(mut text: &str) -> Option<Vec<Arc<PublishedEvent>>> {
    let mut entries = Vec::new();
    while !text.is_empty() {
        let (length, rest) = text.split_once(':')?;
        let (first, rest) = rest.split_at_checked(length.parse().ok()?)?;
        entries.push(entry(first)?);
        text = rest;
    }
    Some(entries)
}

fn entry(text: &str) -> Option<Arc<PublishedEvent>> {
    let (head, entry) = text.split_once('\n')?;
    let (_, given) = head.split_once(' ')?;
    encoding::decode(entry, positions(given)?).ok().map(Arc::new)
}

/// The positions of pairs of an epoch and an offset.
pub(super) fn positions(text: &str) -> Option<Vec<Position>> {
    let mut words = text.split(' ');
    let mut positions = Vec::new();
    while let Some(epoch) = words.next() {
        positions.push(Position { epoch: epoch.into(), offset: words.next()?.parse().ok()? });
    }
    Some(positions)
}

/// The copies of an entry that are in one stream.
pub(super) fn copies<'a>(entry: &'a Arc<PublishedEvent>, stream: &'a str) -> impl Iterator<Item = StreamEntry> + 'a {
    let destinations =
        entry.destinations.iter().enumerate().filter(move |(_, destination)| *destination.target.stream == *stream);
    destinations.map(|(destination, _)| StreamEntry::of(entry.clone(), destination))
}

/// The copies that follow a position, from the texts of a history.
pub(super) fn history(texts: &[String], stream: &str, after: &Position) -> Option<Vec<StreamEntry>> {
    let copy = |(text, offset): (&String, u64)| {
        let entry = entry(text)?;
        let position = Position { epoch: after.epoch.clone(), offset };
        copies(&entry, stream).find(|copy| copy.position() == Some(&position))
    };
    texts.iter().zip(after.offset + 1..).map(copy).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{Destination, History, Id, Node, Target};

    fn encoded() -> String {
        let destination = |(channel, stream): (&str, &str)| {
            let target =
                Target { channel: channel.into(), stream: stream.into(), history: History::of(9), shape: None };
            Destination { target, position: None }
        };
        let destinations = [("pet:1", "pets"), ("room:7", "room:7"), ("pet:2", "pets")];
        encoding::encode(&PublishedEvent {
            id: Id { node: Node(1), number: 2 },
            message: crate::EncodedEvent { name: "said".into(), arguments: Vec::new() },
            except: Vec::new(),
            destinations: destinations.map(destination).into(),
            at: SystemTime::UNIX_EPOCH,
        })
    }

    fn text(first: u64) -> String {
        format!("1700000000000 aaaaaaaa {first} bbbbbbbb 1 aaaaaaaa {}\n{}", first + 1, encoded())
    }

    fn message(texts: &[String]) -> String {
        texts.iter().map(|text| format!("{}:{text}", text.len())).collect()
    }

    fn after(offset: u64) -> Position {
        Position { epoch: "aaaaaaaa".into(), offset }
    }

    #[test]
    fn an_entry_is_in_a_stream_as_often_as_it_has_places_there() {
        let message = message(&[text(5), text(7)]);
        let Message::Entries(entries) = Message::read(&message) else { panic!("{message}") };
        let of = |stream| {
            let copies = entries.iter().flat_map(|entry| copies(entry, stream));
            copies.map(|copy| (copy.channel().to_string(), copy.offset())).collect()
        };
        let [pets, room]: [Vec<_>; 2] = [of("pets"), of("room:7")];
        let named = |channel: &str, offset| (channel.to_owned(), offset);
        assert_eq!(pets, [named("pet:1", 5), named("pet:2", 6), named("pet:1", 7), named("pet:2", 8)]);
        assert_eq!(room, [named("room:7", 1), named("room:7", 1)]);
    }

    #[test]
    fn a_history_gives_each_offset_its_own_place() {
        let texts = [text(5), text(5), text(7), text(7)];
        let offsets =
            |texts, at| Some(history(texts, "pets", &at)?.iter().map(StreamEntry::offset).collect::<Vec<_>>());
        assert_eq!(offsets(&texts, after(4)), Some(vec![5, 6, 7, 8]));
        assert_eq!(offsets(&texts[1..], after(5)), Some(vec![6, 7, 8]));
        assert_eq!(offsets(&texts, after(3)), None);
    }

    #[test]
    fn what_is_no_entry_is_seen() {
        assert!(matches!(Message::read("00000000000000ff"), Message::Renewed("00000000000000ff")));
        let whole = message(&[text(5)]);
        let json = r#"1700000000000 aaaaaaaa 1
{"node":1,"number":2,"event":"said","data":[],"to":[{"channel":"a","stream":"a","entries":0,"bytes":0,"age":null}],"at":3}"#;
        for text in
            [json, "1:\n", ":", "99:short", "18446744073709551616:", &whole[..whole.len() - 1], &format!("{whole}x:")]
        {
            assert!(matches!(Message::read(text), Message::Unknown), "{text}");
        }
    }
}
