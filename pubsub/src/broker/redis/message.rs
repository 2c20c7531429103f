//! What comes on a stream's channel, and what its history keeps: the time and all positions of an entry, then the entry.

use std::sync::Arc;

use crate::{Copy, Entry, Position, broker::encoding};

/// What comes on a stream's channel.
#[derive(Debug)]
pub(super) enum Message<'a> {
    Entry(Arc<Entry>),
    /// The stream has a new epoch, since this node attached it.
    Renewed(&'a str),
    /// Of another version.
    Unknown,
}

impl<'a> Message<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        let Some((head, entry)) = text.split_once('\n') else { return Self::Renewed(text) };
        let positions = positions(head.split(' ').skip(1));
        match positions.and_then(|positions| encoding::decode(entry, positions).ok()) {
            Some(entry) => Self::Entry(Arc::new(entry)),
            None => Self::Unknown,
        }
    }
}

/// The positions of pairs of an epoch and an offset.
pub(super) fn positions<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Vec<Position>> {
    let mut positions = Vec::new();
    while let Some(epoch) = words.next() {
        positions.push(Position { epoch: epoch.into(), offset: words.next()?.parse().ok()? });
    }
    Some(positions)
}

/// The copies of an entry that are in one stream.
pub(super) fn copies<'a>(entry: &'a Arc<Entry>, stream: &'a str) -> impl Iterator<Item = Copy> + 'a {
    let places = entry.places.iter().enumerate().filter(move |(_, place)| *place.target.stream == *stream);
    places.map(|(place, _)| Copy::of(entry.clone(), place))
}

/// The copies that follow a position, from the texts of a history.
pub(super) fn history(texts: &[String], stream: &str, after: &Position) -> Option<Vec<Copy>> {
    let copy = |(text, offset): (&String, u64)| {
        let Message::Entry(entry) = Message::read(text) else { return None };
        let position = Position { epoch: after.epoch.clone(), offset };
        copies(&entry, stream).find(|copy| copy.position() == Some(&position))
    };
    texts.iter().zip(after.offset + 1..).map(copy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"node":1,"number":2,"event":"said","data":[],"to":[
        {"channel":"pet:1","stream":"pets","entries":9,"bytes":9,"age":null},
        {"channel":"room:7","stream":"room:7","entries":9,"bytes":9,"age":null},
        {"channel":"pet:2","stream":"pets","entries":9,"bytes":9,"age":null}],"at":3}"#;

    fn text(first: u64) -> String {
        format!("1700000000000 aaaaaaaa {first} bbbbbbbb 1 aaaaaaaa {}\n{}", first + 1, ENTRY.replace('\n', ""))
    }

    fn after(offset: u64) -> Position {
        Position { epoch: "aaaaaaaa".into(), offset }
    }

    #[test]
    fn an_entry_is_in_a_stream_as_often_as_it_has_places_there() {
        let text = text(5);
        let Message::Entry(entry) = Message::read(&text) else { panic!("{text}") };
        let of = |stream| copies(&entry, stream).map(|copy| (copy.channel().to_string(), copy.offset())).collect();
        let [pets, room]: [Vec<_>; 2] = [of("pets"), of("room:7")];
        assert_eq!(pets, [("pet:1".to_owned(), 5), ("pet:2".to_owned(), 6)]);
        assert_eq!(room, [("room:7".to_owned(), 1)]);
    }

    #[test]
    fn a_history_gives_each_offset_its_own_place() {
        let texts = [text(5), text(5), text(7), text(7)];
        let offsets = |texts, at| Some(history(texts, "pets", &at)?.iter().map(Copy::offset).collect::<Vec<_>>());
        assert_eq!(offsets(&texts, after(4)), Some(vec![5, 6, 7, 8]));
        assert_eq!(offsets(&texts[1..], after(5)), Some(vec![6, 7, 8]));
        assert_eq!(offsets(&texts, after(3)), None);
    }

    #[test]
    fn what_is_no_entry_is_seen() {
        assert!(matches!(Message::read("00000000000000ff"), Message::Renewed("00000000000000ff")));
        for text in ["1 aaaaaaaa\n{}", "1 aaaaaaaa x\n{}", "1 aaaaaaaa 1\n{}", "\n"] {
            assert!(matches!(Message::read(text), Message::Unknown), "{text}");
        }
    }
}
