//! Where the rooms are: in memory, which a restart forgets, or in Redis or Postgres, where the servers of a cluster share them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use catamaran::Result;
use redis::{AsyncCommands, Script, aio::ConnectionManager};
use serde::Serialize;
use tokio_postgres::{Client, NoTls};

use crate::room::Content;

/// A room in the list of rooms.
#[derive(Debug, PartialEq, Serialize)]
pub struct Summary {
    pub room: u64,
    pub here: usize,
}

#[derive(Clone)]
pub struct Store {
    place: Place,
    /// Which rooms each socket of this server is in.
    visits: Arc<Mutex<HashMap<String, BTreeSet<u64>>>>,
}

#[derive(Clone)]
enum Place {
    Memory(Arc<Mutex<BTreeMap<u64, Content>>>),
    Redis(ConnectionManager),
    Postgres(Arc<Database>),
}

impl Store {
    pub fn in_memory() -> Self {
        Self::at(Place::Memory(Arc::default()))
    }

    pub async fn in_redis(url: &str) -> Result<Self> {
        Ok(Self::at(Place::Redis(redis::Client::open(url)?.get_connection_manager().await?)))
    }

    pub async fn in_postgres(url: &str) -> Result<Self> {
        Ok(Self::at(Place::Postgres(Arc::new(Database::connect(url).await?))))
    }

    fn at(place: Place) -> Self {
        Self { place, visits: Arc::default() }
    }

    /// The rooms in which there is anything, and how many are in each.
    pub async fn summaries(&self) -> Result<Vec<Summary>> {
        let rooms = match &self.place {
            Place::Memory(rooms) => lock(rooms).clone(),
            Place::Redis(connection) => read_redis(connection.clone()).await?,
            Place::Postgres(database) => database.read().await?,
        };
        Ok(rooms.into_iter().map(|(room, content)| Summary { room, here: content.here().len() }).collect())
    }

    /// Changes a room, and says what came of it, and what the room is then. If another server changes it meanwhile, the
    /// change is made once more, on top of that.
    pub async fn change<T>(&self, room: u64, change: impl Fn(&mut Content) -> T) -> Result<(T, Content)> {
        match &self.place {
            Place::Memory(rooms) => {
                let mut rooms = lock(rooms);
                let mut content = rooms.remove(&room).unwrap_or_default();
                let result = change(&mut content);
                if !content.is_empty() {
                    rooms.insert(room, content.clone());
                }
                Ok((result, content))
            }
            Place::Redis(connection) => change_in_redis(connection.clone(), room, change).await,
            Place::Postgres(database) => database.change(room, change).await,
        }
    }

    /// A socket of this server is in a room, or no longer.
    pub fn visit(&self, socket: &str, room: u64, here: bool) {
        let mut visits = lock(&self.visits);
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
        lock(&self.visits).remove(socket).unwrap_or_default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All rooms, by number.
const ROOMS: &str = "chat:rooms";

/// Puts a room in place of the one that was read, or takes it away, unless another was put there meanwhile.
const SWAP: &str = r"
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1";

async fn read_redis(mut connection: ConnectionManager) -> Result<BTreeMap<u64, Content>> {
    let rooms: BTreeMap<u64, String> = connection.hgetall(ROOMS).await?;
    rooms.into_iter().map(|(room, content)| Ok((room, serde_json::from_str(&content)?))).collect()
}

async fn change_in_redis<T>(
    mut connection: ConnectionManager,
    room: u64,
    change: impl Fn(&mut Content) -> T,
) -> Result<(T, Content)> {
    let swap = Script::new(SWAP);
    loop {
        let before: Option<String> = connection.hget(ROOMS, room).await?;
        let before = before.unwrap_or_default();
        let mut content = read(&before)?;
        let result = change(&mut content);
        let after = write(&content)?;
        let swapped: bool = swap.key(ROOMS).arg(room).arg(before).arg(after).invoke_async(&mut connection).await?;
        if swapped {
            return Ok((result, content));
        }
    }
}

/// A connection to Postgres, which is made anew when it was lost.
struct Database {
    url: String,
    client: tokio::sync::Mutex<Client>,
}

/// The lock is for two servers that start at once.
const TABLE: &str = "
begin;
select pg_advisory_xact_lock(1667785076);
create table if not exists chat_room (id bigint primary key, content text not null);
commit";

impl Database {
    async fn connect(url: &str) -> Result<Self> {
        let client = Self::open(url).await?;
        client.batch_execute(TABLE).await?;
        Ok(Self { url: url.to_owned(), client: client.into() })
    }

    async fn open(url: &str) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        // It ends with the client, or when the server is gone; then the next statement says so.
        tokio::spawn(connection);
        Ok(client)
    }

    async fn client(&self) -> Result<tokio::sync::MutexGuard<'_, Client>> {
        let mut client = self.client.lock().await;
        if client.is_closed() {
            *client = Self::open(&self.url).await?;
        }
        Ok(client)
    }

    async fn read(&self) -> Result<BTreeMap<u64, Content>> {
        let rows = self.client().await?.query("select id, content from chat_room", &[]).await?;
        rows.iter().map(|row| Ok((row.get::<_, i64>(0) as u64, read(row.get(1))?))).collect()
    }

    async fn change<T>(&self, room: u64, change: impl Fn(&mut Content) -> T) -> Result<(T, Content)> {
        let id = room as i64;
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        // The row is there and locked from here on, so that nobody else changes the room.
        transaction.execute("insert into chat_room values ($1, '') on conflict do nothing", &[&id]).await?;
        let row = transaction.query_one("select content from chat_room where id = $1 for update", &[&id]).await?;
        let mut content = read(row.get(0))?;
        let result = change(&mut content);
        let after = write(&content)?;
        transaction.execute("update chat_room set content = $2 where id = $1", &[&id, &after]).await?;
        transaction.execute("delete from chat_room where id = $1 and content = ''", &[&id]).await?;
        transaction.commit().await?;
        Ok((result, content))
    }
}

/// A room as it was stored; one that was not is empty.
fn read(text: &str) -> Result<Content> {
    Ok(if text.is_empty() { Content::default() } else { serde_json::from_str(text)? })
}

/// A room as it is stored, which is no text if there is nothing to remember.
fn write(content: &Content) -> Result<String> {
    Ok(if content.is_empty() { String::new() } else { serde_json::to_string(content)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_room_is_there_as_long_as_there_is_something_in_it() {
        let store = Store::in_memory();
        store.change(7, |room| room.enter(7, "a", "Ada")).await.unwrap();
        assert_eq!(store.summaries().await.unwrap(), [Summary { room: 7, here: 1 }]);
        store.change(7, |room| room.leave(7, "a")).await.unwrap();
        assert_eq!(store.summaries().await.unwrap(), []);
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
