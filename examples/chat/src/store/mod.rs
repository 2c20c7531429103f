//! Where the rooms are: in memory, which a restart forgets, or in Redis or Postgres, where several servers share them.

mod postgres;
mod redis;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use catamaran::{Error, Result};

use self::{postgres::Postgres, redis::Redis};
use crate::room::{Content, Presence};

/// How long Redis and Postgres have for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why Redis or Postgres did not do it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    place: Place,
    /// Which rooms each socket of this server is in.
    visits: Mutex<HashMap<String, BTreeSet<u64>>>,
}

enum Place {
    Memory(Mutex<BTreeMap<u64, Content>>),
    Redis(Redis),
    Postgres(Postgres),
}

impl Store {
    pub fn in_memory() -> Self {
        Self::at(Place::Memory(Mutex::default()))
    }

    pub fn in_redis(url: &str) -> Result<Self> {
        Ok(Self::at(Place::Redis(Redis::new(url)?)))
    }

    pub fn in_postgres(url: &str) -> Self {
        Self::at(Place::Postgres(Postgres::new(url)))
    }

    fn at(place: Place) -> Self {
        Self(Arc::new(Shared { place, visits: Mutex::default() }))
    }

    /// The rooms in which there is anything, and who is there.
    pub async fn rooms(&self) -> Result<BTreeMap<u64, Presence>> {
        match &self.0.place {
            Place::Memory(rooms) => {
                Ok(lock(rooms).iter().map(|(room, content)| (*room, content.presence.clone())).collect())
            }
            Place::Redis(redis) => answer(redis.rooms()).await,
            Place::Postgres(postgres) => answer(postgres.rooms()).await,
        }
    }

    /// Changes a room, and says what came of it, and what the room is then. If another server changes it meanwhile, the
    /// change is made once more, on top of that.
    pub async fn change<T>(&self, room: u64, change: impl Fn(&mut Content) -> T) -> Result<(T, Content)> {
        match &self.0.place {
            Place::Memory(rooms) => {
                let mut rooms = lock(rooms);
                let mut content = rooms.remove(&room).unwrap_or_default();
                let result = change(&mut content);
                if !content.is_empty() {
                    rooms.insert(room, content.clone());
                }
                Ok((result, content))
            }
            Place::Redis(redis) => answer(redis.change(room, change)).await,
            Place::Postgres(postgres) => answer(postgres.change(room, change)).await,
        }
    }

    /// A socket of this server is in a room, or no longer.
    pub fn visit(&self, socket: &str, room: u64, here: bool) {
        let mut visits = lock(&self.0.visits);
        let rooms = visits.entry(socket.to_owned()).or_default();
        if here {
            rooms.insert(room)
        } else {
            rooms.remove(&room)
        };
        if rooms.is_empty() {
            visits.remove(socket);
        }
    }

    /// The rooms that a socket was in, which is gone.
    pub fn end_visits(&self, socket: &str) -> BTreeSet<u64> {
        lock(&self.0.visits).remove(socket).unwrap_or_default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What Redis or Postgres answers, or a 503, after which a page asks again.
async fn answer<T>(asked: impl Future<Output = Result<T, Failure>>) -> Result<T> {
    let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|late| Err(late.into()));
    answer.map_err(|failure| {
        Error::new(StatusCode::SERVICE_UNAVAILABLE, "the rooms cannot be reached").with_source(failure)
    })
}

/// The two parts of a room as they are stored; one that is not there is empty.
fn read(presence: &str, lines: &str) -> Result<Content, Failure> {
    if presence.is_empty() {
        return Ok(Content::default());
    }
    Ok(Content { presence: serde_json::from_str(presence)?, lines: serde_json::from_str(lines)? })
}

/// The two parts of a room as they are to be stored; without text if there is nothing to remember.
fn write(content: &Content) -> Result<(String, String), Failure> {
    if content.is_empty() {
        return Ok(Default::default());
    }
    Ok((serde_json::to_string(&content.presence)?, serde_json::to_string(&content.lines)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Words;

    #[tokio::test]
    async fn a_room_is_there_as_long_as_there_is_something_in_it() {
        let store = Store::in_memory();
        store.change(7, |room| room.enter(7, "a", "Ada")).await.unwrap();
        let rooms = store.rooms().await.unwrap();
        assert_eq!(rooms[&7].names(), ["Ada".to_owned()].into());
        store.change(7, |room| room.leave(7, "a")).await.unwrap();
        assert_eq!(store.rooms().await.unwrap(), BTreeMap::new());
    }

    #[test]
    fn a_room_comes_back_from_where_it_is_stored_as_it_was() {
        let mut room = Content::default();
        assert_eq!(write(&room).unwrap(), Default::default());
        room.enter(7, "a", "Ada");
        room.say(7, &Words { id: Some("1".into()), from: "Ada".into(), text: "h\0i".into() });
        let (presence, lines) = write(&room).unwrap();
        // Postgres takes no such character.
        assert!(!lines.contains('\0'));
        let again = read(&presence, &lines).unwrap();
        assert_eq!((again.presence, again.lines), (room.presence, room.lines));
    }

    #[test]
    fn a_socket_is_in_the_rooms_that_it_entered_and_did_not_leave() {
        let store = Store::in_memory();
        for (room, here) in [(7, true), (8, true), (7, false)] {
            store.visit("a", room, here);
        }
        assert_eq!(store.end_visits("a"), [8].into());
        assert_eq!(store.end_visits("a"), [].into());
    }
}
