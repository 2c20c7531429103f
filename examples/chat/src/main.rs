//! Rooms that people talk in: who enters one hears what is said there, and sees who is there, until they leave.
//!
//! `cargo run -p chat`, then open <http://127.0.0.1:1337> in two windows; `PORT` sets another port, and with `REDIS_URL` or
//! `DATABASE_URL` any number of servers are one chat. README.md says what else to try.

mod room;
mod store;

use std::{collections::HashSet, env, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::Html,
    routing::get,
};
use catamaran::{Error, Hub, Postgres, PublishOutcome, Redis, prelude::*};
use room::{Content, Line, Presence, Words};
use serde::{Deserialize, Serialize};
use store::Store;
use tokio::{net::TcpListener, time::interval};

/// Everybody in a room. The last events are kept, so that nobody misses one by a short loss of the network.
#[channel("room:{id}", event = RoomEvent, history = 256)]
pub struct Room {
    pub id: u64,
}

/// Each says its room, since a page may hear two while it goes from one to the other, and when it was, since two servers may
/// tell it in another order.
#[derive(Clone, Debug, Event, PartialEq, Serialize)]
pub enum RoomEvent {
    Said(Line),
    Joined { room: u64, at: u64, name: String },
    Left { room: u64, at: u64, name: String },
}

/// Everybody who looks at the list of rooms.
#[channel("lobby", event = LobbyEvent)]
pub struct Lobby;

#[derive(Event, Serialize)]
pub enum LobbyEvent {
    Counted(Summary),
}

/// A room in the list of rooms, and as of when.
#[derive(Serialize)]
pub struct Summary {
    pub room: u64,
    pub at: u64,
    pub here: usize,
}

impl Summary {
    fn of(room: u64, presence: &Presence) -> Self {
        Self { room, at: presence.at, here: presence.names().len() }
    }
}

#[controller("/chat")]
pub mod chat {
    use super::*;

    /// Who enters: listed by name, or, without one, only listening.
    #[derive(Deserialize)]
    pub struct Visitor {
        pub name: Option<String>,
    }

    /// What somebody finds who enters, and as of when.
    #[derive(Serialize)]
    pub struct View {
        pub at: u64,
        pub lines: Vec<Line>,
        pub here: Vec<String>,
    }

    /// The rooms, and how many are in each; a socket is told when that changes.
    #[action(get "/rooms")]
    pub async fn rooms(ctx: Ctx, State(store): State<Store>) -> catamaran::Result<Json<Vec<Summary>>> {
        if let Some(socket) = ctx.socket() {
            socket.subscribe(&Lobby).await?;
        }
        Ok(Json(store.rooms().await?.iter().map(|(room, presence)| Summary::of(*room, presence)).collect()))
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
        let name = name.map(|name| room::name(&name)).transpose()?;
        if name.is_some() {
            store.visit(socket.id(), id, true);
        }
        let enter = |room: &mut Content| name.iter().flat_map(|name| room.enter(id, socket.id(), name)).collect();
        let (changes, room) = store.change(id, enter).await?;
        announce(hub, id, &room, changes).await?;
        // It may have gone before it was noted where it is.
        if hub.socket(socket.id()).is_none() {
            gone(socket.clone(), hub.clone(), State(store)).await?;
        }
        let here = room.presence.names().into_iter().collect();
        Ok(Json(View { at: room.presence.at, lines: room.lines.into(), here }))
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
        // One that is said again is published again: the server that stored it may have died, or been alone, when it did.
        let (line, _) = store.change(id, |room| room.say(id, &words)).await?;
        match ctx.publish(&Room { id }, RoomEvent::Said(line)).await? {
            PublishOutcome::Delivered => Ok(StatusCode::CREATED),
            _ => Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, "not everybody may have heard it, so say it again")),
        }
    }

    #[action(delete "/rooms/{id}")]
    pub async fn leave(ctx: Ctx<Socket>, id: u64, State(store): State<Store>) -> catamaran::Result<StatusCode> {
        let socket = ctx.socket();
        socket.unsubscribe(&Room { id }).await;
        store.visit(socket.id(), id, false);
        take_off(ctx.hub(), &store, id, socket.id()).await?;
        Ok(StatusCode::NO_CONTENT)
    }
}

/// A socket is gone, so nobody is here by it any more.
async fn gone(socket: Socket, hub: Hub, State(store): State<Store>) -> catamaran::Result {
    for id in store.end_visits(socket.id()) {
        take_off(&hub, &store, id, socket.id()).await?;
    }
    Ok(())
}

/// Looks now and then for sockets whose server died, and could not say that they are gone.
async fn look_after(hub: Hub, store: Store) {
    let mut missing = HashSet::new();
    let mut now_and_then = interval(Duration::from_secs(5));
    loop {
        now_and_then.tick().await;
        // Not all servers may answer, or the store may not: then nobody is known to be missing.
        missing = look(&hub, &store, &missing).await.unwrap_or_default();
    }
}

/// Who is listed in a room and not subscribed to it. Who was `missing` before, too, is taken off the list; before that they may
/// just be entering.
async fn look(hub: &Hub, store: &Store, missing: &HashSet<(u64, String)>) -> catamaran::Result<HashSet<(u64, String)>> {
    let mut still = HashSet::new();
    for (id, presence) in store.rooms().await? {
        if presence.here.is_empty() {
            continue;
        }
        let members: HashSet<_> = hub.members(&Room { id }).await?.into_iter().collect();
        for socket in presence.here.into_keys().filter(|socket| !members.contains(socket)) {
            let one = (id, socket);
            if missing.contains(&one) {
                take_off(hub, store, id, &one.1).await?;
            }
            still.insert(one);
        }
    }
    Ok(still)
}

async fn take_off(hub: &Hub, store: &Store, id: u64, socket: &str) -> catamaran::Result {
    let (changes, room) = store.change(id, |room| room.leave(id, socket)).await?;
    announce(hub, id, &room, changes).await
}

/// Tells who came and who went: to the room, and to those who look at the list.
async fn announce(hub: &Hub, id: u64, room: &Content, changes: Vec<RoomEvent>) -> catamaran::Result {
    if changes.is_empty() {
        return Ok(());
    }
    for change in changes {
        hub.publish(&Room { id }, change).await?;
    }
    hub.publish(&Lobby, LobbyEvent::Counted(Summary::of(id, &room.presence))).await?;
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
fn application() -> catamaran::Result<(App<Store>, Store)> {
    if let Ok(url) = env::var("REDIS_URL") {
        let store = Store::in_redis(&url)?;
        return Ok((App::new(store.clone()).broker(Redis::connect(url)), store));
    }
    if let Ok(url) = env::var("DATABASE_URL") {
        let store = Store::in_postgres(&url);
        return Ok((App::new(store.clone()).broker(Postgres::connect(url)), store));
    }
    let store = Store::in_memory();
    Ok((App::new(store.clone()), store))
}

#[tokio::main]
async fn main() -> catamaran::Result {
    let (app, store) = application()?;
    let app = app.mount(routes![chat]).merge(page()).on_disconnect(gone).health();
    for route in app.routes() {
        println!("{route}");
    }

    let port = env::var("PORT").unwrap_or_else(|_| "1337".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    tokio::spawn(look_after(app.hub(), store));
    app.serve_on(listener).await?;
    Ok(())
}
