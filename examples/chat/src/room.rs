//! What is known of a room, and how that changes; nothing of where it is stored.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::http::StatusCode;
use catamaran::Error;
use serde::{Deserialize, Serialize};

use crate::RoomEvent;

/// How many lines a room remembers.
const REMEMBERED: usize = 100;

#[derive(Clone, Default)]
pub struct Content {
    pub presence: Presence,
    /// Newest last.
    pub lines: VecDeque<Line>,
}

/// Who is in a room.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Presence {
    /// When something was said, or somebody came or went, in milliseconds since 1970. It is another time for each, so that it
    /// tells their order: two servers that change a room at once may publish that the other way round.
    pub at: u64,
    /// Names by the id of the socket: somebody may have the room open in two windows, or be back before the old socket
    /// is gone.
    pub here: BTreeMap<String, String>,
}

/// What somebody wants to say.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Words {
    /// Made by whoever says it, so that it is safe to say again if no answer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub from: String,
    pub text: String,
}

/// What was said.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Line {
    pub room: u64,
    /// When, as [`Presence::at`] has it. No two lines of a room have the same, so a page knows by it which ones it has: one
    /// that is said while the page asks comes twice, in the answer and as an event.
    pub at: u64,
    #[serde(flatten)]
    pub words: Words,
}

impl Words {
    pub fn checked(self) -> Result<Self, Error> {
        let id = self.id.map(|id| bounded("an id", &id, 64)).transpose()?;
        Ok(Self { id, from: name(&self.from)?, text: bounded("what you say", &self.text, 2000)? })
    }
}

pub fn name(name: &str) -> Result<String, Error> {
    bounded("a name", name, 40)
}

fn bounded(what: &str, text: &str, most: usize) -> Result<String, Error> {
    match text.trim() {
        "" => Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{what} cannot be empty"))),
        text if text.chars().count() > most => {
            Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{what} has at most {most} characters")))
        }
        text => Ok(text.to_owned()),
    }
}

impl Presence {
    /// Everybody who is here, by name.
    pub fn names(&self) -> BTreeSet<String> {
        self.here.values().cloned().collect()
    }
}

impl Content {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.presence.here.is_empty() && self.lines.is_empty()
    }

    pub fn enter(&mut self, room: u64, socket: &str, name: &str) -> Vec<RoomEvent> {
        self.change(room, |here| here.insert(socket.to_owned(), name.to_owned()))
    }

    pub fn leave(&mut self, room: u64, socket: &str) -> Vec<RoomEvent> {
        self.change(room, |here| here.remove(socket))
    }

    /// Changes who is here, and says which names that brought and took away.
    fn change<T>(&mut self, room: u64, change: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> Vec<RoomEvent> {
        let before = self.presence.names();
        change(&mut self.presence.here);
        let after = self.presence.names();
        if before == after {
            return Vec::new();
        }
        let at = self.next();
        let left = before.difference(&after).map(|name| RoomEvent::Left { room, at, name: name.clone() });
        let joined = after.difference(&before).map(|name| RoomEvent::Joined { room, at, name: name.clone() });
        left.chain(joined).collect()
    }

    /// Keeps what is said, or finds it if it is there already.
    pub fn say(&mut self, room: u64, words: &Words) -> Line {
        let again = |line: &&Line| words.id.is_some() && line.words.id == words.id;
        if let Some(line) = self.lines.iter().find(again) {
            return line.clone();
        }
        let line = Line { room, at: self.next(), words: words.clone() };
        self.lines.push_back(line.clone());
        if self.lines.len() > REMEMBERED {
            self.lines.pop_front();
        }
        line
    }

    /// The time of what happens now.
    fn next(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
        self.presence.at = now.max(self.presence.at + 1);
        self.presence.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that came, and those that went.
    fn moves(events: Vec<RoomEvent>) -> (Vec<String>, Vec<String>) {
        let (mut came, mut went) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                RoomEvent::Joined { name, .. } => came.push(name),
                RoomEvent::Left { name, .. } => went.push(name),
                RoomEvent::Said(line) => panic!("{line:?}"),
            }
        }
        (came, went)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn words(id: Option<&str>, text: &str) -> Words {
        Words { id: id.map(Into::into), from: "Ada".into(), text: text.into() }
    }

    #[test]
    fn somebody_is_here_once_and_for_as_long_as_one_of_their_sockets_is() {
        let mut room = Content::default();
        assert_eq!(moves(room.enter(7, "a", "Ada")), (names(&["Ada"]), vec![]));
        assert_eq!(room.enter(7, "a", "Ada"), []);
        assert_eq!(room.enter(7, "b", "Ada"), []);
        assert_eq!(room.presence.names(), ["Ada".to_owned()].into());
        assert_eq!(room.leave(7, "a"), []);
        assert_eq!(moves(room.leave(7, "b")), (vec![], names(&["Ada"])));
        assert!(room.is_empty());
    }

    #[test]
    fn a_new_name_takes_the_place_of_the_old_one() {
        let mut room = Content::default();
        room.enter(7, "a", "Ada");
        assert_eq!(moves(room.enter(7, "a", "Bob")), (names(&["Bob"]), names(&["Ada"])));
    }

    #[test]
    fn whatever_happens_has_a_time_of_its_own() {
        let mut room = Content::default();
        let mut times = Vec::new();
        for number in 0..3 {
            let mut events = room.enter(7, "a", "Ada");
            events.push(RoomEvent::Said(room.say(7, &words(None, &number.to_string()))));
            events.extend(room.leave(7, "a"));
            times.extend(events.into_iter().map(|event| match event {
                RoomEvent::Said(Line { at, .. }) | RoomEvent::Joined { at, .. } | RoomEvent::Left { at, .. } => at,
            }));
        }
        assert!(times.len() == 9 && times.is_sorted_by(|one, next| one < next), "{times:?}");
        assert_eq!(room.presence.at, times[8]);
    }

    #[test]
    fn what_is_said_again_with_its_id_is_kept_once() {
        let mut room = Content::default();
        let line = room.say(7, &words(Some("1"), "hi"));
        assert_eq!(room.say(7, &words(Some("1"), "hi")), line);
        let second = room.say(7, &words(None, "hi"));
        let third = room.say(7, &words(None, "hi"));
        assert_eq!(room.lines, [line, second, third]);
    }

    #[test]
    fn a_room_remembers_the_newest_lines() {
        let mut room = Content::default();
        for number in 0..=REMEMBERED {
            room.say(7, &words(None, &number.to_string()));
        }
        assert_eq!((room.lines.len(), &*room.lines[0].words.text), (REMEMBERED, "1"));
    }

    #[test]
    fn words_are_trimmed_and_bounded() {
        assert_eq!(words(None, " hi\n").checked().unwrap().text, "hi");
        assert_eq!(words(None, " \n").checked().unwrap_err().message(), "what you say cannot be empty");
        assert!(words(None, &"é".repeat(2000)).checked().is_ok());
        assert!(words(None, &"é".repeat(2001)).checked().is_err());
    }
}
