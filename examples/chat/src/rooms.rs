//! A room, what is said in it, and who hears that.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use axum::{Json, extract::State, http::StatusCode};
use catamaran::{Error, prelude::*};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

actions! { "/rooms", state = Store => watch, say, leave }

/// How many lines a room remembers.
const REMEMBERED: usize = 100;

/// Everybody in the room. The last events are kept, so that nobody misses one by a short loss of the network.
#[channel("room:{name}", event = RoomEvent, history = 256)]
pub struct Room {
    pub name: String,
}

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Said(Line),
}

/// What somebody wants to say.
#[derive(Deserialize)]
pub struct Words {
    from: String,
    text: String,
}

/// What was said. Its number tells a page which lines it has: one that is said while the page asks comes twice, in the
/// answer and as an event.
#[derive(Clone, Serialize)]
pub struct Line {
    number: u64,
    from: String,
    text: String,
}

/// What was said in each room, newest last.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<HashMap<String, VecDeque<Line>>>>);

/// Subscribes first and reads then, so that no line falls between.
#[action(get "/{name}")]
pub async fn watch(
    ctx: Ctx<Socket>,
    name: String,
    State(store): State<Store>,
) -> catamaran::Result<Json<VecDeque<Line>>> {
    ctx.subscribe(&Room { name: name.clone() }).await?;
    let rooms = store.0.lock().await;
    Ok(Json(rooms.get(&name).cloned().unwrap_or_default()))
}

#[action(post "/{name}")]
pub async fn say(
    ctx: Ctx,
    name: String,
    State(store): State<Store>,
    Json(Words { from, text }): Json<Words>,
) -> catamaran::Result<StatusCode> {
    if text.trim().is_empty() {
        return Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, "say something"));
    }
    // The lock is held while publishing, so the lines are heard in the order in which they are stored.
    let mut rooms = store.0.lock().await;
    let lines = rooms.entry(name.clone()).or_default();
    let number = lines.back().map_or(1, |last| last.number + 1);
    let line = Line { number, from, text };
    lines.push_back(line.clone());
    if lines.len() > REMEMBERED {
        lines.pop_front();
    }
    ctx.publish(&Room { name }, RoomEvent::Said(line)).await?;
    Ok(StatusCode::CREATED)
}

#[action(delete "/{name}")]
pub async fn leave(ctx: Ctx<Socket>, name: String) -> StatusCode {
    ctx.socket().unsubscribe(&Room { name }).await;
    StatusCode::NO_CONTENT
}
