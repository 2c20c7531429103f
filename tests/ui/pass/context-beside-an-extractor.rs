#![deny(warnings)]

use axum::{extract::FromRequestParts, http::request::Parts};
use catamaran::{Ctx, Transports, Socket, action, controller, routes};

pub struct CurrentUser;

impl<S: Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = ();

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, ()> {
        Ok(Self)
    }
}

#[controller("/x")]
mod x {
    use super::*;

    #[action(get "/one/{id}")]
    pub async fn one(_: CurrentUser, _: Ctx<Socket>, id: u64) -> String {
        id.to_string()
    }
}

#[action(get "/two")]
async fn two(_: CurrentUser, ctx: Ctx<Socket>, _: CurrentUser) {
    let _ = ctx.socket();
}

pub(crate) fn main() {
    let table: catamaran::Table<()> = routes![x, two];
    assert!(table.routes.iter().all(|route| route.transports == Transports::Socket));
}
