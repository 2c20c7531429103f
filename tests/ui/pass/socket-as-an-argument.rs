use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};
use catamaran::{App, Ctx, Http, Transports, Socket, action, routes};

type Caller = Socket;
type Maybe = Option<Socket>;

#[action(get "/a")]
async fn alone(_: Socket) {}

#[action(get "/b")]
async fn by_alias(_: Caller) {}

#[action(get "/c")]
async fn beside_any(_: Ctx, _: Socket) {}

#[action(get "/d")]
async fn beside_a_socket(_: Caller, _: Ctx<Socket>) {}

#[action(get "/e/{id}")]
async fn optional(_: Option<Socket>, id: u64) -> String {
    id.to_string()
}

#[action(get "/f")]
async fn optional_by_alias(_: Ctx, _: Maybe) {}

#[action(get "/g")]
async fn guarded() {}

/// The name alone makes no socket.
pub mod own {
    pub struct Socket;
}

impl<S: Sync> FromRequestParts<S> for own::Socket {
    type Rejection = Infallible;
    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

#[action(get "/h")]
async fn own_type(_: Ctx<Http>, _: own::Socket) {}

pub(crate) fn main() {
    let table = routes![
        alone,
        by_alias,
        beside_any,
        beside_a_socket,
        guarded => Caller,
        optional,
        optional_by_alias => Maybe,
        own_type,
    ];
    let transports: Vec<Transports> = App::new(()).mount(table).routes().map(|route| route.transports).collect();
    assert_eq!(transports, [[Transports::Socket; 5].as_slice(), &[Transports::Both; 2], &[Transports::Http]].concat());
}
