//! Who asks, over both transports alike.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};

/// Who asks: the header `x-user` says so and is believed, since this example has no logins.
///
/// In its place a real application reads a session, or verifies a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CurrentUser {
    /// None of a visitor.
    pub id: Option<i64>,
}

impl CurrentUser {
    /// Whether this is the user with the id.
    pub fn is(&self, id: i64) -> bool {
        self.id == Some(id)
    }
}

impl<S: Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let header = parts.headers.get("x-user").and_then(|value| value.to_str().ok());
        Ok(Self { id: header.and_then(|text| text.parse().ok()) })
    }
}
