//! Rooms that people talk in: who enters one hears what is said there, and sees who is there, until they leave.
//!
//! `cargo run -p chat`, then open <http://127.0.0.1:1337> in two windows; `PORT` sets another port. README.md says
//! what else to try.

mod store;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::Html,
    routing::get,
};
use catamaran::{EncodeError, Hub, RequestSocket, prelude::*};
use serde::{Deserialize, Serialize};
use store::{Line, Rooms, Store, Summary, Words};
use tokio::net::TcpListener;

/// Everybody in a room. The last events are kept, so that nobody misses one by a short loss of the network.
#[channel("room:{id}", event = RoomEvent, history = 256)]
pub struct Room {
    pub id: u64,
}

/// Each says its room, since a page may hear two while it goes from one to the other.
#[derive(Debug, Event, PartialEq, Serialize)]
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
        Ok(Json(store.lock().await.summaries()))
    }

    /// Enters a room. It subscribes first and reads then, so that nothing falls between.
    #[action(get "/rooms/{id}")]
    pub async fn enter(
        ctx: Ctx<Socket>,
        id: u64,
        Query(Visitor { name }): Query<Visitor>,
        State(store): State<Store>,
    ) -> catamaran::Result<Json<View>> {
        // A socket that is gone cannot subscribe, and one that goes while we hold the lock is taken off the list after.
        let mut rooms = store.lock().await;
        ctx.subscribe(&Room { id }).await?;
        if let Some(name) = name {
            let changes = rooms.enter(id, ctx.socket().id(), store::name(&name)?);
            announce(ctx.hub(), &rooms, id, changes).await?;
        }
        Ok(Json(View { lines: rooms.lines(id), here: rooms.here(id) }))
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
        // The lock is held while publishing, so the lines are heard in the order in which they are stored.
        let mut rooms = store.lock().await;
        if let Some(line) = rooms.say(id, words) {
            ctx.publish(&Room { id }, RoomEvent::Said(line)).await?;
        }
        Ok(StatusCode::CREATED)
    }

    #[action(delete "/rooms/{id}")]
    pub async fn leave(ctx: Ctx<Socket>, id: u64, State(store): State<Store>) -> catamaran::Result<StatusCode> {
        ctx.socket().unsubscribe(&Room { id }).await;
        let mut rooms = store.lock().await;
        let changes = rooms.leave(id, ctx.socket().id());
        announce(ctx.hub(), &rooms, id, changes).await?;
        Ok(StatusCode::NO_CONTENT)
    }
}

/// A socket is gone, so nobody is here by it any more.
async fn gone(socket: RequestSocket, hub: Hub, State(store): State<Store>) -> catamaran::Result {
    let mut rooms = store.lock().await;
    for id in rooms.of(socket.id()) {
        let changes = rooms.leave(id, socket.id());
        announce(&hub, &rooms, id, changes).await?;
    }
    Ok(())
}

/// Tells who came and who went: to the room, and to those who look at the list.
async fn announce(hub: &Hub, rooms: &Rooms, id: u64, changes: Vec<RoomEvent>) -> Result<(), EncodeError> {
    if changes.is_empty() {
        return Ok(());
    }
    for change in changes {
        hub.publish(&Room { id }, change).await?;
    }
    hub.publish(&Lobby, LobbyEvent::Counted(rooms.summary(id))).await?;
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

#[tokio::main]
async fn main() -> Result<(), catamaran::ServeError> {
    let app = App::new(Store::default()).mount(routes![chat]).merge(page()).on_disconnect(gone);
    for route in app.routes() {
        println!("{route}");
    }

    let port = std::env::var("PORT").unwrap_or_else(|_| "1337".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    app.serve_on(listener).await
}
