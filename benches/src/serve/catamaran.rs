//! The server with catamaran.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use catamaran::{Backend, Error, PublishOutcome, RawChannel, RawEvent, Recovery, TransportType, prelude::*};
use serde::Serialize;
use tokio::{net::TcpListener, time::sleep};

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

pub(crate) fn room() -> RawChannel {
    RawChannel::new("room")
}

#[action(get "/watch")]
async fn watch(ctx: Ctx<Socket>) -> catamaran::Result<Json<Greeting>> {
    ctx.subscribe(&room()).await?;
    Ok(Json(Greeting { message: "hello" }))
}

#[action(post "/publish")]
async fn publish(hub: Hub, Json(note): Json<Note>) -> catamaran::Result<Json<Greeting>> {
    match hub.publish(&room(), RawEvent::new("said", &note)?).await? {
        PublishOutcome::Delivered => Ok(Json(Greeting { message: "hello" })),
        other => Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, format!("{other:?}"))),
    }
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
        Recovery::Recovered => StatusCode::NO_CONTENT.into_response(),
        Recovery::Fresh | Recovery::Gap => Json(lines.as_ref().clone()).into_response(),
    })
}

/// The sockets that are closed by `revoke`.
const USER: &str = "user:7";

#[action(post "/tag")]
async fn tag(ctx: Ctx<Socket>) -> catamaran::Result {
    Ok(ctx.socket().tag(USER)?)
}

#[action(post "/revoke")]
async fn revoke(hub: Hub) -> catamaran::Result<Json<usize>> {
    Ok(Json(hub.close_tagged(USER, "revoked").await?))
}

pub(crate) fn app() -> App<Arc<Vec<Note>>> {
    // Counted as by default, with a limit that no bench reaches.
    App::new(Arc::new(vec![Note::of(100); 100]))
        .mount(routes![hello, number, echo, watch, publish, lines, tag, revoke])
        .max_messages_per_second(1_000_000)
}

/// Serves with the others that share a backend, once it reaches them.
pub(crate) async fn serve_joined(listener: TcpListener, backend: impl Into<Backend>) {
    let app = app().broker(backend);
    let (hub, ready) = (app.hub(), RawChannel::new("ready"));
    while published(&hub, &ready).await != PublishOutcome::Delivered {
        sleep(Duration::from_millis(10)).await;
    }
    app.serve_on(listener).await.expect("an application without mistakes");
}

async fn published(hub: &Hub, to: &RawChannel) -> PublishOutcome {
    let event = RawEvent::new("ready", &()).expect("nothing is JSON");
    hub.publish(to, event).await.expect("nothing is JSON")
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
