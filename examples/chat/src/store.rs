//! What the server knows of its rooms. It is in memory, so a restart forgets it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::http::StatusCode;
use catamaran::Error;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::RoomEvent;

/// How many lines a room remembers.
const REMEMBERED: usize = 100;

pub type Store = Arc<Mutex<Rooms>>;

#[derive(Default)]
pub struct Rooms(BTreeMap<u64, Content>);

#[derive(Default)]
struct Content {
    /// Newest last.
    lines: VecDeque<Line>,
    /// Names by the id of the socket: somebody may have the room open in two windows, or be back before the old socket
    /// is gone.
    here: HashMap<String, String>,
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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub room: u64,
    /// When, in milliseconds since 1970. No two lines of a room have the same, so a page knows by it which ones it has: one
    /// that is said while the page asks comes twice, in the answer and as an event.
    pub at: u64,
    #[serde(flatten)]
    pub words: Words,
}

/// A room in the list of rooms.
#[derive(Debug, PartialEq, Serialize)]
pub struct Summary {
    pub room: u64,
    pub here: usize,
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

impl Rooms {
    pub fn lines(&self, room: u64) -> Vec<Line> {
        self.0.get(&room).into_iter().flat_map(|content| &content.lines).cloned().collect()
    }

    /// Everybody who is in a room, by name.
    pub fn here(&self, room: u64) -> Vec<String> {
        self.0.get(&room).map(Content::names).into_iter().flatten().collect()
    }

    pub fn summaries(&self) -> Vec<Summary> {
        self.0.keys().map(|room| self.summary(*room)).collect()
    }

    pub fn summary(&self, room: u64) -> Summary {
        Summary { room, here: self.here(room).len() }
    }

    /// The rooms that a socket is in.
    pub fn of(&self, socket: &str) -> Vec<u64> {
        self.0.iter().filter(|(_, content)| content.here.contains_key(socket)).map(|(room, _)| *room).collect()
    }

    pub fn enter(&mut self, room: u64, socket: &str, name: String) -> Vec<RoomEvent> {
        self.change(room, |here| here.insert(socket.to_owned(), name))
    }

    pub fn leave(&mut self, room: u64, socket: &str) -> Vec<RoomEvent> {
        self.change(room, |here| here.remove(socket))
    }

    /// Changes who is in a room, and says which names that brought and took away.
    fn change<T>(&mut self, room: u64, change: impl FnOnce(&mut HashMap<String, String>) -> T) -> Vec<RoomEvent> {
        let content = self.0.entry(room).or_default();
        let before = content.names();
        change(&mut content.here);
        let after = content.names();
        if content.here.is_empty() && content.lines.is_empty() {
            self.0.remove(&room);
        }
        let left = before.difference(&after).map(|name| RoomEvent::Left { room, name: name.clone() });
        let joined = after.difference(&before).map(|name| RoomEvent::Joined { room, name: name.clone() });
        left.chain(joined).collect()
    }

    /// Keeps what is said; `None` if it is there already.
    pub fn say(&mut self, room: u64, words: Words) -> Option<Line> {
        let lines = &mut self.0.entry(room).or_default().lines;
        if words.id.is_some() && lines.iter().any(|line| line.words.id == words.id) {
            return None;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
        let at = lines.back().map_or(now, |newest| now.max(newest.at + 1));
        let line = Line { room, at, words };
        lines.push_back(line.clone());
        if lines.len() > REMEMBERED {
            lines.pop_front();
        }
        Some(line)
    }
}

impl Content {
    fn names(&self) -> BTreeSet<String> {
        self.here.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(name: &str) -> RoomEvent {
        RoomEvent::Joined { room: 7, name: name.into() }
    }

    fn left(name: &str) -> RoomEvent {
        RoomEvent::Left { room: 7, name: name.into() }
    }

    fn words(id: Option<&str>, text: &str) -> Words {
        Words { id: id.map(Into::into), from: "Ada".into(), text: text.into() }
    }

    #[test]
    fn somebody_is_here_once_and_for_as_long_as_one_of_their_sockets_is() {
        let mut rooms = Rooms::default();
        assert_eq!(rooms.enter(7, "a", "Ada".into()), [joined("Ada")]);
        assert_eq!(rooms.enter(7, "a", "Ada".into()), []);
        assert_eq!(rooms.enter(7, "b", "Ada".into()), []);
        assert_eq!(rooms.here(7), ["Ada"]);
        assert_eq!(rooms.of("b"), [7]);
        assert_eq!(rooms.leave(7, "a"), []);
        assert_eq!(rooms.summaries(), [Summary { room: 7, here: 1 }]);
        assert_eq!(rooms.leave(7, "b"), [left("Ada")]);
        assert_eq!(rooms.summaries(), []);
    }

    #[test]
    fn a_new_name_takes_the_place_of_the_old_one() {
        let mut rooms = Rooms::default();
        rooms.enter(7, "a", "Ada".into());
        assert_eq!(rooms.enter(7, "a", "Bob".into()), [left("Ada"), joined("Bob")]);
    }

    #[test]
    fn what_is_said_again_with_its_id_is_kept_once() {
        let mut rooms = Rooms::default();
        let line = rooms.say(7, words(Some("1"), "hi")).unwrap();
        assert_eq!(rooms.say(7, words(Some("1"), "hi")), None);
        let second = rooms.say(7, words(None, "hi")).unwrap();
        let third = rooms.say(7, words(None, "hi")).unwrap();
        assert!(line.at < second.at && second.at < third.at);
        assert_eq!(rooms.lines(7), [line, second, third]);
    }

    #[test]
    fn a_room_remembers_the_newest_lines() {
        let mut rooms = Rooms::default();
        for number in 0..=REMEMBERED {
            rooms.say(7, words(None, &number.to_string()));
        }
        let lines = rooms.lines(7);
        assert_eq!((lines.len(), &*lines[0].words.text), (REMEMBERED, "1"));
    }

    #[test]
    fn words_are_trimmed_and_bounded() {
        assert_eq!(words(None, " hi\n").checked().unwrap().text, "hi");
        assert_eq!(words(None, " \n").checked().unwrap_err().message(), "what you say cannot be empty");
        assert!(words(None, &"é".repeat(2000)).checked().is_ok());
        assert!(words(None, &"é".repeat(2001)).checked().is_err());
    }
}
