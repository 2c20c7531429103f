//! The rooms in Postgres: a table with a row for each.

use std::collections::BTreeMap;

use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls};

use super::{Failure, read, write};
use crate::room::{Content, Presence};

/// The lock is for two servers that start at once.
const TABLE: &str = "
begin;
select pg_advisory_xact_lock(1667785076);
create table if not exists chat_room (id bigint primary key, presence text not null, lines text not null);
commit";

const LOCK: &str = "
insert into chat_room values ($1, '', '') on conflict (id) do update set id = excluded.id
returning presence, lines";

pub struct Postgres {
    url: String,
    /// Taken while it is used, so that one on which something failed, or was not waited for, is not used again.
    client: Mutex<Option<Client>>,
}

impl Postgres {
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), client: Mutex::default() }
    }

    /// The connection that there is, or a new one.
    async fn connected(&self, client: Option<Client>) -> Result<Client, Failure> {
        if let Some(client) = client.filter(|client| !client.is_closed()) {
            return Ok(client);
        }
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        // It ends with the client, or when the server is gone; then the next statement says so.
        tokio::spawn(connection);
        client.batch_execute(TABLE).await?;
        Ok(client)
    }

    pub async fn rooms(&self) -> Result<BTreeMap<u64, Presence>, Failure> {
        let mut slot = self.client.lock().await;
        let client = self.connected(slot.take()).await?;
        let rows = client.query("select id, presence from chat_room", &[]).await?;
        *slot = Some(client);
        rows.iter().map(|row| Ok((row.get::<_, i64>(0) as u64, serde_json::from_str(row.get(1))?))).collect()
    }

    pub async fn change<T>(&self, room: u64, change: impl Fn(&mut Content) -> T) -> Result<(T, Content), Failure> {
        let id = room as i64;
        let mut slot = self.client.lock().await;
        let mut client = self.connected(slot.take()).await?;
        let transaction = client.transaction().await?;
        // The row is there and locked from here on, so that nobody else changes the room.
        let row = transaction.query_one(LOCK, &[&id]).await?;
        let before: &str = row.get(0);
        let mut content = read(before, row.get(1))?;
        let result = change(&mut content);
        let (presence, lines) = write(&content)?;
        if presence.is_empty() {
            transaction.execute("delete from chat_room where id = $1", &[&id]).await?;
        } else if presence != before {
            let update = "update chat_room set presence = $2, lines = $3 where id = $1";
            transaction.execute(update, &[&id, &presence, &lines]).await?;
        }
        transaction.commit().await?;
        *slot = Some(client);
        Ok((result, content))
    }
}
