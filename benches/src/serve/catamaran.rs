//! The server with catamaran.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use catamaran::{Outcome, TransportType, Untyped, UntypedEvent, prelude::*};
use serde::Serialize;

use super::{Greeting, Note};

#[action(get "/hello")]
async fn hello() -> Json<Greeting> {
    Json(Greeting { message: "hello" })
}

#[action(get "/numbers/{id}")]
async fn number(id: u64) -> Json<u64> {
    Json(id)
}

#[action(post "/echo")]
async fn echo(Json(note): Json<Note>) -> Json<Note> {
    Json(note)
}

pub(crate) fn room() -> Untyped {
    Untyped::new("room")
}

#[action(get "/watch")]
async fn watch(ctx: Ctx<Socket>) -> catamaran::Result<Json<Greeting>> {
    ctx.subscribe(&room()).await?;
    Ok(Json(Greeting { message: "hello" }))
}

#[action(post "/publish")]
async fn publish(hub: Hub, Json(note): Json<Note>) -> catamaran::Result<Json<Greeting>> {
    hub.publish(&room(), UntypedEvent::new("said", &note)?).await?;
    Ok(Json(Greeting { message: "hello" }))
}

/// A channel that keeps what was published.
#[channel("log", event = Said, history = 256)]
pub(crate) struct Log;

#[derive(Event, Serialize)]
#[event(name = "said")]
pub(crate) struct Said(pub(crate) Note);

/// What a client reads that missed something, and is spared otherwise: a hundred lines.
#[action(get "/lines")]
async fn lines(ctx: Ctx<Socket>, State(lines): State<Arc<Vec<Note>>>) -> catamaran::Result<Response> {
    Ok(match ctx.subscribe(&Log).await? {
        Outcome::Recovered => StatusCode::NO_CONTENT.into_response(),
        Outcome::Fresh | Outcome::Gap => Json(lines.as_ref().clone()).into_response(),
    })
}

pub(crate) fn app() -> App<Arc<Vec<Note>>> {
    App::new(Arc::new(vec![Note::of(100); 100])).mount(routes![hello, number, echo, watch, publish, lines])
}

/// How many are in the room.
#[action(get "/present")]
async fn present(hub: Hub) -> catamaran::Result<Json<usize>> {
    Ok(Json(hub.count(&room()).await?))
}

/// A server that soon cuts off who reads too slowly, over whichever transport.
pub(crate) fn crowd() -> App<Arc<Vec<Note>>> {
    let transports = [TransportType::Websocket, TransportType::Polling];
    app().mount(routes![present]).transports(transports).max_backlog_bytes(256 * 1024)
}
