//! Authorizations that end at a certain time, and the subscriptions that end with them.

use std::time::SystemTime;

use axum::{extract::FromRequestParts, http::request::Parts};
use tokio::time::Instant;

use crate::{Error, Hub, Socket};

/// Until when a request is authorized, as far as its subscriptions go: an extractor for whoever knows, be it a layer, a
/// policy or the action.
///
/// When that time comes, the socket leaves the channels that the request subscribed to. Our client is told, and renews
/// by repeating the request, which loses nothing if it succeeds; if it is refused, the page hears `lost`. Other clients
/// are sent nothing more.
///
/// Over HTTP it does nothing, so a layer says it once for both transports:
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use axum::{extract::Request, middleware::{Next, from_fn}, response::Response};
/// use catamaran::{App, AuthExpiry};
///
/// /// Inside the layer of the session, which says when it ends: here in an hour.
/// async fn until_the_session_ends(expiry: AuthExpiry, request: Request, next: Next) -> Response {
///     expiry.at(SystemTime::now() + Duration::from_secs(3600));
///     next.run(request).await
/// }
///
/// let app = App::new(()).layer(from_fn(until_the_session_ends));
/// ```
///
/// A channel to which several requests subscribed is left when the last of their authorizations ends.
#[derive(Clone, Debug)]
pub struct AuthExpiry(Option<Socket>);

impl AuthExpiry {
    /// The authorization ends then. Of several times in one request the first counts. A time that has passed already
    /// leaves the request without the subscriptions that it made.
    pub fn at(&self, time: SystemTime) {
        let Some(socket) = &self.0 else { return };
        let left = time.duration_since(SystemTime::now()).unwrap_or_default();
        // A time that the clock cannot tell never comes.
        if let Some(at) = Instant::now().checked_add(left) {
            socket.subscriptions().expire_at(at);
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AuthExpiry {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Hub::of_request(parts, "AuthExpiry")?;
        Ok(Self(parts.extensions.get().cloned()))
    }
}
