//! Errors an action answers with.

use std::{error::Error as StdError, fmt};

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{Reach, Route};

/// What an action answers: a value, or an [`Error`] that becomes a response.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// A failure with a status and a message for the client; its source is for the log only.
pub struct Error {
    status: StatusCode,
    code: &'static str,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure with this status, and a message that the client will read.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: "", message: message.into(), source: None }
    }

    pub(crate) fn wrong_transport(reach: Reach, route: Option<&Route>) -> Self {
        let _ = (reach, route);
        Self::new(StatusCode::UPGRADE_REQUIRED, "")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.message)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let _ = (self.code, &self.source);
        (self.status, Json(Body { message: &self.message })).into_response()
    }
}
