//! The server with catamaran.

use axum::Json;
use catamaran::{Untyped, UntypedEvent, prelude::*};

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

fn room() -> Untyped {
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

pub(crate) fn app() -> App<()> {
    App::new(()).mount(routes![hello, number, echo, watch, publish])
}
