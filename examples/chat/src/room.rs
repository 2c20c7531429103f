//! What is known of a room, and how that changes; nothing of where it is stored.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::http::StatusCode;
use catamaran::Error;
use serde::{Deserialize, Serialize};

use crate::RoomEvent;

/// How many lines a room remembers.
const REMEMBERED: usize = 100;

/// After how many milliseconds somebody who entered must be subscribed to the room, or is gone with their server.
const ENTERING: u64 = 60_000;

#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Content {
    /// Newest last.
    lines: VecDeque<Line>,
    /// By the id of the socket: somebody may have the room open in two windows, or be back before the old socket is gone.
    here: HashMap<String, Guest>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Guest {
    name: String,
    /// When they entered, in milliseconds since 1970.
    since: u64,
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
    /// When, in milliseconds since 1970. No two lines of a room have the same, so a page knows by it which ones it has, and
    /// in which order they are: one that is said while the page asks comes twice, in the answer and as an event, and two
    /// that are said on two servers at once may come the other way round.
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

impl Content {
    pub fn lines(&self) -> Vec<Line> {
        self.lines.iter().cloned().collect()
    }

    /// Everybody who is here, by name.
    pub fn here(&self) -> BTreeSet<String> {
        self.here.values().map(|guest| guest.name.clone()).collect()
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.here.is_empty() && self.lines.is_empty()
    }

    pub fn enter(&mut self, room: u64, socket: &str, name: &str) -> Vec<RoomEvent> {
        let guest = Guest { name: name.to_owned(), since: now() };
        self.change(room, |here| {
            here.insert(socket.to_owned(), guest);
        })
    }

    pub fn leave(&mut self, room: u64, socket: &str) -> Vec<RoomEvent> {
        self.change(room, |here| {
            here.remove(socket);
        })
    }

    /// Takes those away who are not subscribed any more, since their server died.
    pub fn forget_all_but(&mut self, room: u64, members: &HashSet<String>) -> Vec<RoomEvent> {
        let now = now();
        self.change(room, |here| here.retain(|socket, guest| members.contains(socket) || guest.since + ENTERING > now))
    }

    /// Changes who is here, and says which names that brought and took away.
    fn change(&mut self, room: u64, change: impl FnOnce(&mut HashMap<String, Guest>)) -> Vec<RoomEvent> {
        let before = self.here();
        change(&mut self.here);
        let after = self.here();
        let left = before.difference(&after).map(|name| RoomEvent::Left { room, name: name.clone() });
        let joined = after.difference(&before).map(|name| RoomEvent::Joined { room, name: name.clone() });
        left.chain(joined).collect()
    }

    /// Keeps what is said; `None` if it is there already.
    pub fn say(&mut self, room: u64, words: &Words) -> Option<Line> {
        if words.id.is_some() && self.lines.iter().any(|line| line.words.id == words.id) {
            return None;
        }
        let at = self.lines.back().map_or(now(), |newest| now().max(newest.at + 1));
        let line = Line { room, at, words: words.clone() };
        self.lines.push_back(line.clone());
        if self.lines.len() > REMEMBERED {
            self.lines.pop_front();
        }
        Some(line)
    }
}

/// In milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
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
        let mut room = Content::default();
        assert_eq!(room.enter(7, "a", "Ada"), [joined("Ada")]);
        assert_eq!(room.enter(7, "a", "Ada"), []);
        assert_eq!(room.enter(7, "b", "Ada"), []);
        assert_eq!(room.here().into_iter().collect::<Vec<_>>(), ["Ada"]);
        assert_eq!(room.leave(7, "a"), []);
        assert_eq!(room.leave(7, "b"), [left("Ada")]);
        assert!(room.is_empty());
    }

    #[test]
    fn a_new_name_takes_the_place_of_the_old_one() {
        let mut room = Content::default();
        room.enter(7, "a", "Ada");
        assert_eq!(room.enter(7, "a", "Bob"), [left("Ada"), joined("Bob")]);
    }

    #[test]
    fn whose_server_died_is_forgotten_but_not_who_is_just_entering() {
        let mut room = Content::default();
        for (socket, name) in [("a", "Ada"), ("b", "Bob"), ("e", "Eve")] {
            room.enter(7, socket, name);
        }
        for socket in ["a", "b"] {
            room.here.get_mut(socket).unwrap().since -= ENTERING;
        }
        assert_eq!(room.forget_all_but(7, &["a".to_owned()].into()), [left("Bob")]);
        assert_eq!(room.here().into_iter().collect::<Vec<_>>(), ["Ada", "Eve"]);
    }

    #[test]
    fn what_is_said_again_with_its_id_is_kept_once() {
        let mut room = Content::default();
        let line = room.say(7, &words(Some("1"), "hi")).unwrap();
        assert_eq!(room.say(7, &words(Some("1"), "hi")), None);
        let second = room.say(7, &words(None, "hi")).unwrap();
        let third = room.say(7, &words(None, "hi")).unwrap();
        assert!(line.at < second.at && second.at < third.at);
        assert_eq!(room.lines(), [line, second, third]);
    }

    #[test]
    fn a_room_remembers_the_newest_lines() {
        let mut room = Content::default();
        for number in 0..=REMEMBERED {
            room.say(7, &words(None, &number.to_string()));
        }
        let lines = room.lines();
        assert_eq!((lines.len(), &*lines[0].words.text), (REMEMBERED, "1"));
    }

    #[test]
    fn words_are_trimmed_and_bounded() {
        assert_eq!(words(None, " hi\n").checked().unwrap().text, "hi");
        assert_eq!(words(None, " \n").checked().unwrap_err().message(), "what you say cannot be empty");
        assert!(words(None, &"é".repeat(2000)).checked().is_ok());
        assert!(words(None, &"é".repeat(2001)).checked().is_err());
    }

    #[test]
    fn a_room_comes_back_from_where_it_was_stored_as_it_was() {
        let mut room = Content::default();
        room.enter(7, "a", "Ada");
        let line = room.say(7, &words(Some("1"), "hi")).unwrap();
        let read: Content = serde_json::from_str(&serde_json::to_string(&room).unwrap()).unwrap();
        assert_eq!((read.lines(), read.here()), (vec![line], room.here()));
    }
}
