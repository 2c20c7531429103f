//! The layer of docs/securing.md that begins a session for a page of another origin; a test holds the two side by side.

use axum::{extract::Request, middleware::Next, response::Response};
use tower_sessions::Session;

/// Begins a session for a page of another origin, which loads `/__getcookie` before it connects: `tower-sessions` sets no
/// cookie for an empty session. A page that may not connect is refused, and gets no cookie.
pub(crate) async fn begin_session(session: Session, request: Request, next: Next) -> catamaran::Result<Response> {
    let wants_a_cookie = request.uri().path().ends_with("/__getcookie");
    let response = next.run(request).await;
    let succeeded = response.status().is_success();
    if wants_a_cookie && succeeded && session.get_value("begun").await?.is_none() && session.is_empty().await {
        session.insert("begun", true).await?;
    }
    Ok(response)
}
