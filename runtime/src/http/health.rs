//! What a supervisor and a load balancer ask: whether the process lives, and whether to send it requests.

use std::future::ready;

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};

use super::Drain;
use crate::Hub;

pub(crate) const LIVE: &str = "/health/live";
pub(crate) const READY: &str = "/health/ready";

/// Adds the two routes. They stand beside the application's router, so that no layer of it, such as one that asks for a
/// login, answers in their place.
pub(crate) fn add_to(router: Router, drain: Drain, hub: Hub) -> Router {
    let live = || ready(answer(StatusCode::OK, "live"));
    let is_ready = move || {
        let (status, word) = if drain.has_begun() {
            (StatusCode::SERVICE_UNAVAILABLE, "draining")
        } else if hub.registry().is_down() {
            (StatusCode::SERVICE_UNAVAILABLE, "without the bus")
        } else {
            (StatusCode::OK, "ready")
        };
        ready(answer(status, word))
    };
    router.route(LIVE, get(live)).route(READY, get(is_ready))
}

fn answer(status: StatusCode, word: &'static str) -> impl IntoResponse {
    (status, [(header::CACHE_CONTROL, "no-store")], word)
}
