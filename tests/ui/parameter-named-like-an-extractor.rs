use axum::{extract::FromRequestParts, http::request::Parts};
use catamaran::{action, controller};

pub struct CurrentUser;

impl<S: Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = ();

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, ()> {
        Ok(Self)
    }
}

#[controller("/users")]
mod users {
    use super::*;

    #[action(get "/{user}")]
    pub async fn show(user: CurrentUser) {
        let _ = user;
    }
}

fn main() {}
