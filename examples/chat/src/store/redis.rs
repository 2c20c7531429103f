//! The rooms in Redis: two hashes, by the number of the room.

use std::collections::BTreeMap;

use redis::{AsyncCommands, Client, Script, aio::ConnectionManager};
use tokio::sync::Mutex;

use super::{Failure, read, write};
use crate::room::{Content, Presence};

const PRESENCE: &str = "chat:presence";
const LINES: &str = "chat:lines";

/// Puts a room in place of the one that was read, or takes it away, unless it was changed meanwhile.
const SWAP: &str = r"
local room, before, presence, lines = unpack(ARGV)
if (redis.call('HGET', KEYS[1], room) or '') ~= before then return 0 end
if presence == '' then
    redis.call('HDEL', KEYS[1], room)
    redis.call('HDEL', KEYS[2], room)
else
    redis.call('HSET', KEYS[1], room, presence)
    redis.call('HSET', KEYS[2], room, lines)
end
return 1";

pub struct Redis {
    /// It connects when it is first used, and again when the connection was lost.
    connection: ConnectionManager,
    swap: Script,
    /// The changes of this server are made one after the other, so that only those of others come between.
    turn: Mutex<()>,
}

impl Redis {
    pub fn new(url: &str) -> redis::RedisResult<Self> {
        let connection = ConnectionManager::new_lazy_with_config(Client::open(url)?, Default::default())?;
        Ok(Self { connection, swap: Script::new(SWAP), turn: Mutex::default() })
    }

    pub async fn rooms(&self) -> Result<BTreeMap<u64, Presence>, Failure> {
        let rooms: BTreeMap<u64, String> = self.connection.clone().hgetall(PRESENCE).await?;
        rooms.into_iter().map(|(room, presence)| Ok((room, serde_json::from_str(&presence)?))).collect()
    }

    pub async fn change<T>(&self, room: u64, change: impl Fn(&mut Content) -> T) -> Result<(T, Content), Failure> {
        let mut connection = self.connection.clone();
        let _turn = self.turn.lock().await;
        loop {
            let mut both = redis::pipe();
            both.atomic().hget(PRESENCE, room).hget(LINES, room);
            let (before, lines): (Option<String>, Option<String>) = both.query_async(&mut connection).await?;
            let before = before.unwrap_or_default();
            let mut content = read(&before, &lines.unwrap_or_default())?;
            let result = change(&mut content);
            let (presence, lines) = write(&content)?;
            let mut swap = self.swap.prepare_invoke();
            swap.key(PRESENCE).key(LINES).arg(room).arg(&before).arg(&presence).arg(lines);
            // Whatever happens in a room changes its `at`.
            if presence == before || swap.invoke_async(&mut connection).await? {
                return Ok((result, content));
            }
        }
    }
}
