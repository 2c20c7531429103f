//! Our client for browsers, served from the crate itself, so a page needs one script tag and no build step.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::LazyLock,
};

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

const SOURCE: &str = include_str!("../client/catamaran.io.js");

/// Changes with the file, so that a browser that asks again mostly gets a 304.
static ETAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    SOURCE.hash(&mut hasher);
    HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish())).expect("digits in quotes are a header")
});

/// Adds the route of the client. It stands beside the application's router, so no socket request reaches it.
pub(crate) fn serve_at(router: Router, path: &str) -> Router {
    router.route(path, get(answer))
}

async fn answer(headers: HeaderMap) -> Response {
    let cache = [(header::ETAG, ETAG.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|tags| {
        tags.to_str().is_ok_and(|tags| {
            tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == *ETAG || tag.trim() == "*")
        })
    });
    if known {
        return (StatusCode::NOT_MODIFIED, cache).into_response();
    }
    let kind = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (cache, kind, SOURCE).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower_service::Service;

    use super::*;

    async fn ask(tag: Option<&str>) -> Response {
        let mut request = Request::get("/js/sails.io.js");
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        let mut router = serve_at(Router::new(), "/js/sails.io.js");
        router.call(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_browser_that_has_the_client_is_told_so() {
        let first = ask(None).await;
        assert_eq!(first.status(), 200);
        assert_eq!(first.headers()["content-type"], "text/javascript; charset=utf-8");
        assert_eq!(first.headers()["x-content-type-options"], "nosniff");
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(axum::body::to_bytes(first.into_body(), usize::MAX).await.unwrap(), SOURCE);
        for known in [tag.clone(), format!("W/{tag}"), format!("\"old\", {tag}"), "*".into()] {
            assert_eq!(ask(Some(&known)).await.status(), 304, "{known}");
        }
        assert_eq!(ask(Some("\"old\"")).await.status(), 200);
    }
}
