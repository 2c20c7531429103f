//! Rooms that people talk in: who enters one hears what is said there, and sees who is there, until they leave.
//!
//! `cargo run -p chat`, then open <http://127.0.0.1:1337> in two windows; `PORT` sets another port, and with `REDIS_URL` or
//! `DATABASE_URL` any number of servers are one chat. README.md says what else to try.

mod room;
mod store;

use std::{collections::HashSet, env};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::Html,
    routing::get,
};
use catamaran::{EncodeError, Hub, Postgres, Redis, RequestSocket, prelude::*};
use room::{Content, Line, Words};
use serde::{Deserialize, Serialize};
use store::{Store, Summary};
use tokio::net::TcpListener;

/// Everybody in a room. The last events are kept, so that nobody misses one by a short loss of the network.
#[channel("room:{id}", event = RoomEvent, history = 256)]
pub struct Room {
    pub id: u64,
}

/// Each says its room, since a page may hear two while it goes from one to the other.
#[derive(Clone, Debug, Event, PartialEq, Serialize)]
pub enum RoomEvent {
    Said(Line),
    Joined { room: u64, name: String },
    Left { room: u64, name: String },
}

/// Everybody who looks at the list of rooms.
#[channel("lobby", event = LobbyEvent)]
pub struct Lobby;

#[derive(Event, Serialize)]
pub enum LobbyEvent {
    Counted(Summary),
}

#[controller("/chat")]
pub mod chat {
    use super::*;

    /// Who enters: listed by name, or, without one, only listening.
    #[derive(Deserialize)]
    pub struct Visitor {
        pub name: Option<String>,
    }

    /// What somebody finds who enters.
    #[derive(Serialize)]
    pub struct View {
        pub lines: Vec<Line>,
        pub here: Vec<String>,
    }

    /// The rooms, and how many are in each; a socket is told when that changes.
    #[action(get "/rooms")]
    pub async fn rooms(ctx: Ctx, State(store): State<Store>) -> catamaran::Result<Json<Vec<Summary>>> {
        if let Some(socket) = ctx.socket() {
            socket.subscribe(&Lobby).await?;
        }
        Ok(Json(store.summaries().await?))
    }

    /// Enters a room. It subscribes first and reads then, so that nothing falls between.
    #[action(get "/rooms/{id}")]
    pub async fn enter(
        ctx: Ctx<Socket>,
        id: u64,
        Query(Visitor { name }): Query<Visitor>,
        State(store): State<Store>,
    ) -> catamaran::Result<Json<View>> {
        let (socket, hub) = (ctx.socket(), ctx.hub());
        ctx.subscribe(&Room { id }).await?;
        // Not all servers may answer: then nobody is taken away yet.
        let members: Option<HashSet<String>> =
            hub.members(&Room { id }).await.ok().map(|ids| ids.into_iter().collect());
        let name = name.map(|name| room::name(&name)).transpose()?;
        if name.is_some() {
            store.visit(socket.id(), id, true);
        }
        let (changes, room) = store
            .change(id, |room| {
                let left = members.iter().flat_map(|members| room.forget_all_but(id, members)).collect::<Vec<_>>();
                let joined = name.iter().flat_map(|name| room.enter(id, socket.id(), name)).collect();
                [left, joined].concat()
            })
            .await?;
        announce(hub, id, &room, changes).await?;
        // It may have gone before it was noted where it is.
        if hub.socket(socket.id()).is_none() {
            gone(socket.clone(), hub.clone(), State(store)).await?;
        }
        Ok(Json(View { lines: room.lines(), here: room.here().into_iter().collect() }))
    }

    /// Says something in a room; nobody needs to be there for that.
    #[action(post "/rooms/{id}")]
    pub async fn say(
        ctx: Ctx,
        id: u64,
        State(store): State<Store>,
        Json(words): Json<Words>,
    ) -> catamaran::Result<StatusCode> {
        let words = words.checked()?;
        let (line, _) = store.change(id, |room| room.say(id, &words)).await?;
        if let Some(line) = line {
            ctx.publish(&Room { id }, RoomEvent::Said(line)).await?;
        }
        Ok(StatusCode::CREATED)
    }

    #[action(delete "/rooms/{id}")]
    pub async fn leave(ctx: Ctx<Socket>, id: u64, State(store): State<Store>) -> catamaran::Result<StatusCode> {
        let socket = ctx.socket();
        socket.unsubscribe(&Room { id }).await;
        store.visit(socket.id(), id, false);
        let (changes, room) = store.change(id, |room| room.leave(id, socket.id())).await?;
        announce(ctx.hub(), id, &room, changes).await?;
        Ok(StatusCode::NO_CONTENT)
    }
}

/// A socket is gone, so nobody is here by it any more.
async fn gone(socket: RequestSocket, hub: Hub, State(store): State<Store>) -> catamaran::Result {
    for id in store.end_visits(socket.id()) {
        let (changes, room) = store.change(id, |room| room.leave(id, socket.id())).await?;
        announce(&hub, id, &room, changes).await?;
    }
    Ok(())
}

/// Tells who came and who went: to the room, and to those who look at the list.
async fn announce(hub: &Hub, id: u64, room: &Content, changes: Vec<RoomEvent>) -> Result<(), EncodeError> {
    if changes.is_empty() {
        return Ok(());
    }
    for change in changes {
        hub.publish(&Room { id }, change).await?;
    }
    hub.publish(&Lobby, LobbyEvent::Counted(Summary { room: id, here: room.here().len() })).await?;
    Ok(())
}

/// The page, which talks to the controller by our own client, `/catamaran.io.js`.
fn page() -> Router {
    let style = ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../page/chat.css"));
    let script = ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../page/chat.js"));
    Router::new()
        .route("/", get(Html(include_str!("../page/chat.html"))))
        .route("/chat.css", get(style))
        .route("/chat.js", get(script))
}

/// An application on a store of its own, or one of several servers on a store that they share.
async fn application() -> catamaran::Result<App<Store>> {
    if let Ok(url) = env::var("REDIS_URL") {
        return Ok(App::new(Store::in_redis(&url).await?).bus(Redis::connect(url)));
    }
    if let Ok(url) = env::var("DATABASE_URL") {
        return Ok(App::new(Store::in_postgres(&url).await?).bus(Postgres::connect(url)));
    }
    Ok(App::new(Store::in_memory()))
}

#[tokio::main]
async fn main() -> catamaran::Result {
    let app = application().await?.mount(routes![chat]).merge(page()).on_disconnect(gone).health();
    for route in app.routes() {
        println!("{route}");
    }

    let port = env::var("PORT").unwrap_or_else(|_| "1337".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    app.serve_on(listener).await?;
    Ok(())
}
