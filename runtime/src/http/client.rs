//! Our client for browsers, served from the crate itself, so a page needs one script tag and no build step.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

const SCRIPT: &str = include_str!("../../client/catamaran.io.js");
const SOURCE_MAP: &str = include_str!("../../client/catamaran.io.js.map");

const NAME: &str = "catamaran.io.js";

/// A file of the client. Its tag changes with its text, so a browser that asks again mostly gets a 304.
struct File {
    text: Cow<'static, str>,
    content_type: &'static str,
    tag: HeaderValue,
}

impl File {
    fn new(text: impl Into<Cow<'static, str>>, content_type: &'static str) -> Arc<Self> {
        let text = text.into();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let tag =
            HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish())).expect("digits in quotes are a header");
        Arc::new(Self { text, content_type, tag })
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let cache = [(header::ETAG, self.tag.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|tags| {
            tags.to_str().is_ok_and(|tags| {
                tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == self.tag || tag.trim() == "*")
            })
        });
        if known {
            return (StatusCode::NOT_MODIFIED, cache).into_response();
        }
        let kind = [(header::CONTENT_TYPE, self.content_type), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
        (cache, kind, self.text.clone()).into_response()
    }
}

/// Adds the routes of the client and of its source map, `PATH.map`, which developer tools ask for. They stand beside the
/// application's router, so no socket request reaches them.
pub(crate) fn serve_at(router: Router, path: &str) -> Router {
    // The script names its map by a file beside it.
    let file = path.rsplit('/').next().unwrap_or(NAME);
    let script = if file == NAME {
        Cow::Borrowed(SCRIPT)
    } else {
        SCRIPT.replace(&format!("sourceMappingURL={NAME}"), &format!("sourceMappingURL={file}")).into()
    };
    let script = File::new(script, "text/javascript; charset=utf-8");
    let map = File::new(SOURCE_MAP, "application/json");
    router
        .route(path, get(async move |headers: HeaderMap| script.answer(&headers)))
        .route(&map_path(path), get(async move |headers: HeaderMap| map.answer(&headers)))
}

/// Where the source map of the client is served.
pub(crate) fn map_path(path: &str) -> String {
    format!("{path}.map")
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower_service::Service;

    use super::*;

    async fn ask(path: &str, tag: Option<&str>) -> Response {
        let mut request = Request::get(path);
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        let mut router = serve_at(Router::new(), "/js/sails.io.js");
        router.call(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn known_tag_is_answered_with_304() {
        for (path, content_type) in
            [("/js/sails.io.js", "text/javascript; charset=utf-8"), ("/js/sails.io.js.map", "application/json")]
        {
            let first = ask(path, None).await;
            assert_eq!(first.status(), 200);
            assert_eq!(first.headers()["content-type"], content_type);
            assert_eq!(first.headers()["x-content-type-options"], "nosniff");
            let tag = first.headers()["etag"].to_str().unwrap().to_owned();
            for known in [tag.clone(), format!("W/{tag}"), format!("\"old\", {tag}"), "*".into()] {
                assert_eq!(ask(path, Some(&known)).await.status(), 304, "{known}");
            }
            assert_eq!(ask(path, Some("\"old\"")).await.status(), 200);
        }
    }

    #[tokio::test]
    async fn script_names_its_map_where_it_is_served() {
        let script = text(ask("/js/sails.io.js", None).await).await;
        assert!(script.ends_with("//# sourceMappingURL=sails.io.js.map\n"), "{}", &script[script.len() - 80..]);
        assert_eq!(text(ask("/js/sails.io.js.map", None).await).await, SOURCE_MAP);
    }
}
