use axum::{extract::FromRequestParts, http::request::Parts};
use catamaran::{action, controller};

#[derive(Clone)]
pub struct AppState;

pub struct CurrentUser;

impl FromRequestParts<AppState> for CurrentUser {
    type Rejection = ();

    async fn from_request_parts(_: &mut Parts, _: &AppState) -> Result<Self, ()> {
        Ok(Self)
    }
}

#[controller("/x")]
mod x {
    use super::*;

    #[action(get "/me")]
    pub async fn me(_: CurrentUser) {}
}

fn main() {}
