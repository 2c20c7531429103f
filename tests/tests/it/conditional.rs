//! Answers that depend on headers of the request: entity tags, ranges and encodings, over HTTP and over a socket.

use axum::{
    Json, Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get as on_get,
};
use catamaran::App;
use serde_json::json;
use tower_http::compression::CompressionLayer;

use crate::support::{Answer, Body, Client, Eio, Server, get};

const TAG: &str = "\"v1\"";
/// Starts like gzip, and is no text.
const PACKED: [u8; 6] = [0x1f, 0x8b, 0x08, 0x00, 0xff, 0x00];
/// Bytes of an encoding that happen to be text, and JSON.
const PACKED_TEXT: &str = "[1]";

async fn tagged(headers: HeaderMap) -> Response {
    let is = |name| headers.get(name).map(|tag| tag == TAG);
    let tag = [(header::ETAG, TAG)];
    match (is(header::IF_MATCH), is(header::IF_NONE_MATCH)) {
        (Some(false), _) => StatusCode::PRECONDITION_FAILED.into_response(),
        (_, Some(true)) => (StatusCode::NOT_MODIFIED, tag, "dropped").into_response(),
        _ => (tag, Json(json!({ "version": 1 }))).into_response(),
    }
}

async fn ranged(headers: HeaderMap) -> Response {
    if headers.contains_key(header::RANGE) {
        return (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, "bytes 0-1/5")], "he").into_response();
    }
    ([(header::ACCEPT_RANGES, "bytes")], "hello").into_response()
}

fn packed(content_type: &'static str, encoding: &'static str, body: impl Into<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CONTENT_ENCODING, encoding)], body.into()).into_response()
}

async fn server() -> Server {
    let router = Router::new()
        .route("/tagged", on_get(tagged))
        .route("/ranged", on_get(ranged))
        .route("/part", on_get(async || (StatusCode::PARTIAL_CONTENT, [("content-range", "bytes 0-1/5")], "he")))
        .route("/long", on_get(async || "long ".repeat(1000)))
        .route("/json", on_get(async || Json(vec!["hello"; 1000])))
        .route("/packed", on_get(async || packed("application/json", "gzip", PACKED.to_vec())))
        .route("/packed/text", on_get(async || packed("text/plain", "br", PACKED_TEXT)))
        .route("/packed/json", on_get(async || packed("application/json", "br", PACKED_TEXT)))
        .route("/unpacked", on_get(async || packed("application/json", "identity", PACKED_TEXT)));
    Server::start(App::new(()).merge(router).layer(CompressionLayer::new())).await
}

/// A client of each version of Engine.IO, whose handshake asks for everything that an answer may depend on.
async fn clients(server: &Server) -> [Client; 2] {
    let handshake =
        [("accept-encoding", "gzip"), ("range", "bytes=0-1"), ("if-none-match", TAG), ("if-match", "\"v2\"")];
    [Client::with(server, Eio::V3, &handshake).await, Client::with(server, Eio::V4, &handshake).await]
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(String::as_str)
}

#[tokio::test]
async fn entity_tags_are_asked_for_on_both_transports() {
    let server = server().await;
    let mut clients = clients(&server).await;
    for (name, tag, status) in [
        ("x-none", TAG, 200),
        ("if-none-match", TAG, 304),
        ("if-none-match", "\"v2\"", 200),
        ("if-match", TAG, 200),
        ("if-match", "\"v2\"", 412),
    ] {
        let ask = get("/tagged").header(name, tag);
        let over_http = server.http(&ask).await;
        assert_eq!(over_http.status, status, "{name}: {tag}");
        assert_eq!(over_http.body == Body::None, status != 200, "{name}: {tag}");
        for client in &mut clients {
            let answer = client.ask(&ask).await;
            assert_eq!((answer.status, &answer.body), (status, &over_http.body), "{name}: {tag}");
            assert_eq!(header(&answer, "etag"), header(&over_http, "etag"), "{name}: {tag}");
        }
    }
}

#[tokio::test]
async fn ranges_are_for_http_and_parts_for_both() {
    let server = server().await;
    let ask = get("/ranged").header("range", "bytes=0-1");
    let over_http = server.http(&ask).await;
    assert_eq!((over_http.status, header(&over_http, "content-range")), (206, Some("bytes 0-1/5")));
    for client in &mut clients(&server).await {
        // docs/wire.md: neither a packet nor the handshake sets `range`, so no client is given half an answer unasked.
        let whole = client.ask(&ask).await;
        assert_eq!((whole.status, whole.body), (200, Body::text("hello")));
        let part = client.ask(&get("/part")).await;
        assert_eq!((part.status, header(&part, "content-range")), (206, Some("bytes 0-1/5")));
        assert_eq!(part.body, Body::text("he"));
    }
}

#[tokio::test]
async fn layer_compresses_for_http_alone() {
    let server = server().await;
    for url in ["/long", "/json"] {
        let plain = server.http(&get(url)).await;
        let ask = get(url).header("accept-encoding", "gzip, br");
        let over_http = server.http(&ask).await;
        assert_eq!(header(&over_http, "content-encoding"), Some("gzip"), "{url}");
        for client in &mut clients(&server).await {
            for ask in [&ask, &get(url)] {
                let answer = client.ask(ask).await;
                assert_eq!((answer.status, &answer.body), (200, &plain.body), "{url}");
                assert_eq!(header(&answer, "content-encoding"), None, "{url}");
            }
        }
    }
}

#[tokio::test]
async fn encoded_body_is_bytes_on_a_socket() {
    let server = server().await;
    for client in &mut clients(&server).await {
        for (url, content_type, encoding, bytes) in [
            ("/packed", "application/json", "gzip", &PACKED[..]),
            ("/packed/text", "text/plain", "br", PACKED_TEXT.as_bytes()),
            ("/packed/json", "application/json", "br", PACKED_TEXT.as_bytes()),
        ] {
            let answer = client.ask(&get(url)).await;
            assert_eq!((answer.status, &answer.body), (200, &Body::Bytes(bytes.to_vec())), "{url}");
            let headers = (header(&answer, "content-type"), header(&answer, "content-encoding"));
            assert_eq!(headers, (Some(content_type), Some(encoding)), "{url}");
        }
        assert_eq!(client.ask(&get("/unpacked")).await.body, Body::Json(PACKED_TEXT.into()));
    }
}
