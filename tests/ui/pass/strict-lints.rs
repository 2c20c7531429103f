//! Generated code passes the lints that a strict crate turns on.

#![deny(warnings, missing_docs, missing_debug_implementations, missing_copy_implementations, unreachable_pub)]
#![deny(rust_2018_idioms, single_use_lifetimes, trivial_casts, unused_qualifications, unused_lifetimes, let_underscore)]

use axum::{extract::State, response::IntoResponse};
use catamaran::{Ctx, Event, Socket, action, channel, controller, routes};
use serde::Serialize;

/// A state.
#[derive(Clone, Copy, Debug)]
pub struct Db;

/// An event.
#[derive(Clone, Copy, Debug, Event, Serialize)]
pub enum RoomEvent {
    /// It is over.
    Closed,
}

/// A channel.
#[channel("room:{id}", event = RoomEvent)]
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Its number.
    pub id: u64,
}

/// A controller.
#[controller("/rooms")]
pub mod rooms {
    use super::*;

    /// Answers with something.
    #[action(get "/{id}")]
    pub async fn show(ctx: Ctx<Socket>, id: u64, _: State<Db>) -> Result<impl IntoResponse, catamaran::Error> {
        ctx.subscribe(&Room { id }).await?;
        Ok("text")
    }
}

mod users {
    use catamaran::{Ctx, action, actions};

    type Everywhere = Ctx;

    actions! { "/users" => list, show }

    #[action(get "/")]
    async fn list() -> &'static str {
        "list"
    }

    #[action(get "/{name}")]
    async fn show(_ctx: Everywhere, name: String) -> String {
        name
    }
}

pub(crate) fn main() {
    let table: catamaran::Table<Db> = routes![rooms, users];
    assert_eq!(table.routes.len(), 3);
}
