//! The promise of the project: whatever a request is, both transports answer it alike.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Extension, Form, Json, Router,
    body::{Body as HttpBody, Bytes},
    extract::{MatchedPath, OriginalUri, Path, Query, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{AppendHeaders, Html, NoContent, Redirect, Response},
    routing::{any, get as on_get, post as on_post},
};
use catamaran::{App, Error, Origins, Params, Result, action, controller, routes};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower_http::{
    compression::CompressionLayer, cors::CorsLayer, set_header::SetResponseHeaderLayer, timeout::TimeoutLayer,
    trace::TraceLayer,
};

use crate::support::{Answer, Ask, Body, Client, Eio, Server, get, post};

/// The headers in which the transports may differ, and why; all others must be equal.
const DECLARED: [(&str, &str); 6] = [
    ("connection", "is about the connection"),
    ("content-length", "an ack has no length"),
    ("date", "the server adds it to HTTP"),
    ("set-cookie", "must not reach a script; the socket keeps the cookie itself"),
    ("transfer-encoding", "is about the connection"),
    ("upgrade", "is about the connection"),
];

/// The content types that the kind of an ack's body already says.
const IMPLIED: [&str; 3] = ["application/json", "text/plain; charset=utf-8", "application/octet-stream"];

const LIMIT: usize = 4096;

/// Statuses without a body, and those that are no answer.
const BARE_STATUSES: [(u16, u16); 8] =
    [(204, 204), (205, 205), (304, 304), (100, 500), (101, 500), (102, 500), (103, 500), (199, 500)];

/// What the action answers beside the status.
const STATUS_BODIES: [&str; 4] = ["", "/bare", "/text", "/error"];

#[derive(Deserialize, Serialize)]
pub(crate) struct Item {
    name: String,
    count: Option<u8>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Page {
    page: u32,
    size: Option<u32>,
}

#[derive(Clone)]
pub(crate) struct Shared(&'static str);

fn echoes() -> Router {
    Router::new()
        .route("/hello", on_get(async || "hello"))
        .route("/json", on_post(async |Json(item): Json<Item>| Json(item)))
        .route("/maybe-json", on_post(async |item: Option<Json<Item>>| Json(item.map(|Json(item)| item))))
        .route("/value", on_post(async |Json(value): Json<Value>| Json(value)))
        .route("/form", on_post(async |Form(item): Form<Item>| Json(item)))
        .route("/text", on_post(async |text: String| text))
        .route("/bytes", on_post(async |bytes: Bytes| bytes))
        .route("/length", on_post(async |bytes: Bytes| bytes.len().to_string()))
        .route("/unread", on_post(async || "not read"))
        .route("/query", on_get(async |Query(page): Query<Page>| Json(page)))
        .route("/pairs", any(async |Query(pairs): Query<Vec<(String, String)>>| Json(pairs)))
        .route("/path/{text}", on_get(async |Path(text): Path<String>| text))
        .route("/path/{a}/{b}", on_get(async |Path((a, b)): Path<(u8, u8)>| Json(a + b)))
        .route("/rest/{*rest}", on_get(async |Path(rest): Path<String>| rest))
        .route("/params/{id}", any(async |Params(all): Params<BTreeMap<String, Value>>| Json(all)))
        .route("/typed/{id}", any(async |Params(page): Params<Page>| Json(page)))
        .route("/state", on_get(async |State(Shared(text)): State<Shared>| text))
        .route("/extension", on_get(async |Extension(Shared(text)): Extension<Shared>| text))
        .route("/no-extension", on_get(async |_: Extension<u8>| "never"))
        .route("/header", on_get(async |headers: HeaderMap| seen(&headers)))
        .route(
            "/target",
            any(async |method: Method, uri: Uri, OriginalUri(whole): OriginalUri, path: MatchedPath| {
                Json(json!([method.as_str(), uri.to_string(), whole.to_string(), path.as_str()]))
            }),
        )
        .with_state(Shared("state"))
        .layer(Extension(Shared("extension")))
}

/// Everything that both transports let an action see of the request's headers.
fn seen(headers: &HeaderMap) -> Json<Value> {
    let shown = ["host", "origin", "cookie", "authorization", "x-own", "user-agent", "accept", "content-type"];
    let all = shown.map(|name| (name, headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()))));
    Json(json!(BTreeMap::from(all)))
}

fn answers() -> Router {
    Router::new()
        .route("/created", on_post(async || (StatusCode::CREATED, [("x-id", "7"), ("location", "/item/7")], Json(7))))
        .route("/twice", on_get(async || (AppendHeaders([("x-a", "1"), ("x-a", "2"), ("link", "</a>")]), "twice")))
        .route("/cookie", on_get(async || ([("set-cookie", "a=1")], "cookie")))
        .route("/teapot", on_get(async || StatusCode::IM_A_TEAPOT))
        .route("/no-content", any(async || NoContent))
        .route("/empty", on_get(async || ()))
        .route("/empty-text", on_get(async || ""))
        .route("/null", on_get(async || Json(Value::Null)))
        .route("/zero", on_get(async || Json(0)))
        .route("/false", on_get(async || Json(false)))
        .route("/json-text", on_get(async || Json("text")))
        .route("/nothing", on_get(async || Json(json!({"a": [], "b": {}, "c": ""}))))
        .route("/exact", on_get(async || ([(header::CONTENT_TYPE, "application/json")], "{ \"n\" : 1.50e3 }")))
        .route("/html", on_get(async || Html("<p>é</p>")))
        .route("/latin", on_get(async || ([(header::CONTENT_TYPE, "text/plain; charset=us-ascii")], "plain")))
        .route("/image", on_get(async || ([(header::CONTENT_TYPE, "image/png")], Bytes::from_static(&[0x89, 0, 0xff]))))
        .route("/octets", on_get(async || Bytes::from_static(b"octets")))
        .route("/streamed", on_get(async || ([(header::CONTENT_TYPE, "text/csv")], in_pieces())))
        .route("/to", on_get(async || Redirect::to("/hello")))
        .route("/moved", on_post(async || Redirect::permanent("/hello?a=b")))
        .route("/large", on_get(async || "x".repeat(300_000)))
        .route("/refused", on_get(async || -> Result<&'static str> { Err(Error::new(StatusCode::CONFLICT, "taken")) }))
        .route("/failed", on_get(failed))
        .route("/panic", on_get(panics))
        .route("/late", on_get(async || std::future::pending::<&'static str>().await))
        .route("/status/{code}", any(async |Path(code): Path<u16>| (status(code), Json(json!({ "code": code })))))
        .route("/status/{code}/bare", any(async |Path(code): Path<u16>| status(code)))
        .route("/status/{code}/text", any(async |Path(code): Path<u16>| (status(code), [("etag", "\"1\"")], "text")))
        .route("/status/{code}/error", any(async |Path(code): Path<u16>| Error::new(status(code), "an error")))
        .route(
            "/status/{code}/events",
            any(async |Path(code): Path<u16>| (status(code), [EVENTS], pieces_without_end())),
        )
}

const EVENTS: (header::HeaderName, &str) = (header::CONTENT_TYPE, "text/event-stream");

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).expect("a status")
}

fn pieces_without_end() -> HttpBody {
    HttpBody::from_stream(stream::pending::<std::result::Result<Bytes, std::io::Error>>())
}

/// A body without a known length, as a file or a proxy has.
fn in_pieces() -> HttpBody {
    HttpBody::from_stream(stream::iter(["a,b\n", "", "1,2\n"].map(Ok::<_, std::io::Error>)))
}

async fn failed() -> Result<String> {
    Ok(std::env::var("A VARIABLE THAT NOBODY SETS")?)
}

async fn panics() -> Response {
    panic!("the secret of the panic")
}

#[controller("/act")]
pub(crate) mod acts {
    use super::*;

    #[action(get "/hello")]
    pub(crate) async fn hello() -> &'static str {
        "hello"
    }

    #[action(get "/sum/{a}/{b}")]
    pub(crate) async fn sum(a: u8, b: i16) -> Json<i16> {
        Json(i16::from(a) + b)
    }

    #[action(get "/name/{name}")]
    pub(crate) async fn name(name: String) -> String {
        name
    }

    #[action(put "/items/{id}")]
    pub(crate) async fn replace(id: u64, headers: HeaderMap, Json(item): Json<Item>) -> Json<Value> {
        Json(json!([id, headers.get("x-own").is_some(), item]))
    }

    #[action(post "/items/{id}")]
    pub(crate) async fn merge(Params(all): Params<BTreeMap<String, Value>>) -> Json<BTreeMap<String, Value>> {
        Json(all)
    }

    #[action(delete "/items/{id}")]
    pub(crate) async fn delete(id: u64) -> Result<StatusCode> {
        if id == 7 { Ok(StatusCode::NO_CONTENT) } else { Err(Error::new(StatusCode::NOT_FOUND, "no such item")) }
    }

    #[action(post "/optional")]
    pub(crate) async fn optional(there: Option<Extension<u8>>, item: Option<Json<Item>>) -> Json<Value> {
        Json(json!([there.is_some(), item.map(|Json(item)| item)]))
    }

    #[action(get "/größe/{größe}")]
    pub(crate) async fn size(größe: String) -> String {
        größe
    }

    #[action(get "/u/<id>s/\"`")]
    pub(crate) async fn marks() -> &'static str {
        "marks"
    }

    #[action(get "/failed")]
    pub(crate) async fn failed() -> Result<String> {
        Ok(std::env::var("A VARIABLE THAT NOBODY SETS")?)
    }

    #[action(get "/panic")]
    pub(crate) async fn panic() -> &'static str {
        panic!("the secret of the panic")
    }

    #[action(get "/late")]
    pub(crate) async fn late() -> &'static str {
        std::future::pending().await
    }
}

fn application() -> App<()> {
    let cors = CorsLayer::new()
        .allow_origin("http://page.example".parse::<HeaderValue>().unwrap())
        .expose_headers([header::LOCATION])
        .allow_credentials(true);
    App::new(())
        .mount(routes![acts])
        .merge(echoes())
        .merge(answers())
        .max_request_bytes(LIMIT)
        .packet_headers(["x-own"])
        .origins(Origins::same().and("http://page.example"))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_millis(100)))
        .layer(CompressionLayer::new())
        .layer(SetResponseHeaderLayer::if_not_present(header::SERVER, HeaderValue::from_static("catamaran")))
        .layer(cors)
        .layer(TraceLayer::new_for_http())
}

/// A JSON string, so that the body has this many bytes in all.
fn of_length(length: usize) -> String {
    format!("\"{}\"", "x".repeat(length - 2))
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// The one table: each line is asked over HTTP and over a socket, and its status is known.
fn table() -> Vec<(u16, Ask)> {
    let form = |url: &str| post(url, "null").header("content-type", "application/x-www-form-urlencoded");
    let mut asks = vec![
        // Extractors, and what they refuse.
        (200, get("/hello")),
        (200, post("/json", r#"{"name":"a","count":3}"#)),
        (200, post("/json", r#"{"name":"é\u0000\ud83d\ude00","count":null,"other":[1]}"#)),
        (422, post("/json", r#"{"name":"a","count":300}"#)),
        (422, post("/json", r#"{"name":5}"#)),
        (422, post("/json", "{}")),
        (422, post("/json", "null")),
        (422, post("/json", "[]")),
        (422, post("/json", r#"{"name":"a","name":"b"}"#)),
        (415, post("/json", r#"{"name":"a"}"#).header("content-type", "text/plain")),
        (200, post("/json", r#"{"name":"a"}"#).header("content-type", "application/vnd.api+json")),
        (415, Ask::new("post", "/json")),
        (200, Ask::new("post", "/maybe-json")),
        (200, post("/maybe-json", r#"{"name":"a"}"#)),
        (422, post("/maybe-json", r#"{"name":5}"#)),
        (422, form("/form")),
        (415, post("/form", r#"{"name":"a"}"#)),
        (200, post("/text", r#"{ "as": "it is" }"#)),
        (200, Ask::new("post", "/text")),
        (200, post("/bytes", "[1, 2]")),
        (200, get("/query?page=2&size=10")),
        (200, get("/query?page=2")),
        (400, get("/query?page=x")),
        (400, get("/query")),
        (400, get("/query?page=1&page=2")),
        (200, get("/pairs?a=1&a=2&b=&c&d=%20+%26%C3%A9&=e")),
        (200, get("/pairs?")),
        (200, get("/path/a")),
        (200, get("/path/a%20b%2Fc%25d")),
        (200, get("/path/%C3%A9%F0%9F%98%80")),
        (400, get("/path/%E0%A4%A")),
        (400, get("/path/%ff")),
        (200, get("/path/%00")),
        (200, get("/path/1/2")),
        (400, get("/path/1/x")),
        (400, get("/path/1/256")),
        (200, get("/rest/a/b/c")),
        (200, get("/rest/a//b/../c/%2e%2e/d")),
        (200, get("/state")),
        (200, get("/extension")),
        (500, get("/no-extension")),
        (200, get("/header").header("x-own", "1").header("authorization", "Bearer t").header("accept", "text/x")),
        (200, get("/target?a=%41&b")),
        (200, Ask::new("put", "/target")),
        (200, Ask::new("delete", "/target").data("{}")),
        (200, get("/params/7?id=1&a=1&a=2")),
        (200, post("/params/7?a=1&b=2", r#"{"id":3,"a":true,"c":{"d":1e3}}"#)),
        (400, post("/params/7", "[]")),
        (200, get("/typed/7?page=3&size=")),
        (400, get("/typed/7?page=x")),
        (200, post("/typed/7?page=1", r#"{"size":2}"#)),
        (400, post("/typed/7?page=1", r#"{"size":"2"}"#)),
        // No route, and the wrong method.
        (404, get("/")),
        (404, get("/missing")),
        (404, get("/hello/")),
        (404, get("/HELLO")),
        (404, get("/hello%2F")),
        (404, get("/%68ello")),
        (404, get("/../hello")),
        (404, get("/./hello")),
        (404, post("/missing", "{}")),
        (405, post("/hello", "{}")),
        (405, get("/json")),
        (405, Ask::new("put", "/hello")),
        (405, Ask::new("patch", "/hello").data("{}")),
        (405, Ask::new("delete", "/hello")),
        (200, Ask::new("options", "/hello")),
        (200, Ask::new("options", "/missing")),
        (200, Ask::new("head", "/hello")),
        (405, Ask::new("head", "/json")),
        (404, Ask::new("head", "/missing")),
        (200, Ask::new("head", "/target")),
        // Answers.
        (201, post("/created", "{}")),
        (200, get("/twice")),
        (200, get("/cookie")),
        (418, get("/teapot")),
        (204, get("/no-content")),
        (204, Ask::new("delete", "/no-content")),
        (200, get("/empty")),
        (200, get("/empty-text")),
        (200, get("/null")),
        (200, get("/zero")),
        (200, get("/false")),
        (200, get("/json-text")),
        (200, get("/nothing")),
        (200, get("/exact")),
        (200, get("/html")),
        (200, get("/latin")),
        (200, get("/image")),
        (200, get("/octets")),
        (200, get("/streamed")),
        (303, get("/to")),
        (308, post("/moved", "{}")),
        (200, get("/large")),
        (409, get("/refused")),
        (500, get("/failed")),
        (500, get("/panic")),
        (408, get("/late")),
        // Actions.
        (200, get("/act/hello")),
        (405, post("/act/hello", "{}")),
        (200, Ask::new("head", "/act/hello")),
        (200, get("/act/sum/1/-2")),
        (400, get("/act/sum/256/2")),
        (400, get("/act/sum/1/x")),
        (404, get("/act/sum/1")),
        (200, get("/act/name/a%20b%2Fc%25d")),
        (400, get("/act/name/%ff")),
        (200, Ask::new("put", "/act/items/7").data(r#"{"name":"a"}"#).header("x-own", "1")),
        (422, Ask::new("put", "/act/items/7").data(r#"{"name":1}"#)),
        (400, Ask::new("put", "/act/items/x").data(r#"{"name":"a"}"#)),
        (200, post("/act/items/7?a=1", r#"{"b":2}"#)),
        (204, Ask::new("delete", "/act/items/7")),
        (404, Ask::new("delete", "/act/items/8")),
        (200, Ask::new("post", "/act/optional")),
        (200, post("/act/optional", r#"{"name":"a"}"#)),
        (500, get("/act/failed")),
        (500, get("/act/panic")),
        (408, get("/act/late")),
        (200, get("/act/gr%C3%B6%C3%9Fe/%C3%A9")),
        (404, get("/act/gr%c3%b6%c3%9fe/1")),
        (200, get("/act/u/%3Cid%3Es/%22%60")),
        // Other JSON.
        (200, post("/value", "0")),
        (200, post("/value", "\"\"")),
        (400, post("/value", "[null,true,-0.0,1e308,12345678901234567890,\"\\ud800\"]")),
        (400, post("/value", "1e400")),
        (200, post("/value", "{\"a\" : \n 1}")),
    ];
    asks.extend(
        [(200, 1), (200, 100), (200, 127), (400, 128), (400, 129), (400, 1000), (400, 2000)]
            .map(|(status, depth)| (status, post("/value", nested(depth)))),
    );
    for (code, status) in BARE_STATUSES {
        for method in ["get", "post", "delete", "head"] {
            asks.extend(STATUS_BODIES.map(|body| (status, Ask::new(method, format!("/status/{code}{body}")))));
        }
        // With 200 it has no end, which HTTP can carry and an ack cannot.
        let (get, head) = (get(format!("/status/{code}/events")), Ask::new("head", format!("/status/{code}/events")));
        asks.extend([(status, get), (status, head)]);
    }
    asks.extend(STATUS_BODIES.map(|body| (200, Ask::new("head", format!("/status/200{body}")))));
    asks.push((200, Ask::new("head", "/status/200/events")));
    for (status, length) in [(200, LIMIT - 1), (200, LIMIT), (413, LIMIT + 1), (413, 2 * LIMIT)] {
        asks.extend(["/length", "/text", "/value"].map(|url| (status, post(url, of_length(length)))));
        asks.push((200, post("/unread", of_length(length))));
    }
    asks
}

/// What is left to compare of an answer.
fn comparable(mut answer: Answer) -> Answer {
    answer.set_cookies.clear();
    answer.headers.retain(|name, value| {
        let implied = name == "content-type" && IMPLIED.contains(&value.as_str());
        !implied && !DECLARED.iter().any(|(declared, _)| declared == name)
    });
    answer
}

#[tokio::test]
async fn both_transports_answer_alike() {
    let server = Server::start(application()).await;
    let origin = [("origin", "http://page.example"), ("cookie", "session=1"), ("user-agent", "test")];
    let mut clients = [Client::with(&server, Eio::V3, &origin).await, Client::with(&server, Eio::V4, &origin).await];
    let mut differences = Vec::new();
    for (status, ask) in table() {
        let with_origin = origin.iter().fold(ask.clone(), |ask, (name, value)| ask.header(name, value));
        let over_http = comparable(server.http(&with_origin).await);
        if over_http.status != status {
            differences.push(format!("{ask:?}\n  expected {status}, got {over_http:?}"));
        }
        for client in &mut clients {
            let over_socket = comparable(client.ask(&ask).await);
            if over_http != over_socket {
                differences.push(format!("{ask:?}\n  http   {over_http:.300?}\n  socket {over_socket:.300?}"));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{}",
        differences.iter().map(|line| line.chars().take(2000).collect::<String>() + "\n").collect::<String>()
    );
}

#[tokio::test]
async fn the_data_of_a_get_is_its_query() {
    let server = Server::start(application()).await;
    let mut client = Client::connect(&server).await;
    for (url, data, query) in [
        ("/pairs", "{}", ""),
        ("/pairs?a=1", "{}", "?a=1"),
        ("/pairs?a=1", r#"{"b":"c d","n":1.50,"t":true,"z":null}"#, "?a=1&b=c+d&n=1.50&t=true&z="),
        ("/pairs", r#"{"é&=":"\u00e9&="}"#, "?%C3%A9%26%3D=%C3%A9%26%3D"),
        ("/typed/7", r#"{"page":3,"size":null}"#, "?page=3&size="),
        ("/typed/7", r#"{"page":[3]}"#, "?page=3"),
        ("/typed/7", r#"{"page":[3,4]}"#, "?page=3&page=4"),
        ("/params/7", r#"{"where":{"name":["x"]}}"#, "?where=%7B%22name%22%3A%5B%22x%22%5D%7D"),
    ] {
        let path = url.split('?').next().unwrap();
        let over_http = comparable(server.http(&get(format!("{path}{query}"))).await);
        assert_eq!(comparable(client.ask(&get(url).data(data)).await), over_http, "{url} {data}");
    }
}

#[tokio::test]
async fn an_ack_is_never_compressed() {
    let server = Server::start(application()).await;
    let gzip = get("/large").header("accept-encoding", "gzip");
    let over_http = server.http(&gzip).await;
    assert_eq!(over_http.headers["content-encoding"], "gzip");
    let mut client = Client::with(&server, Eio::V4, &[("accept-encoding", "gzip")]).await;
    let over_socket = client.ask(&gzip).await;
    assert_eq!(over_socket.headers.get("content-encoding"), None);
    assert_eq!(over_socket.body, Body::text(&"x".repeat(300_000)));
}

#[tokio::test]
async fn a_socket_keeps_the_cookie_it_is_given() {
    let server = Server::start(application()).await;
    let mut client = Client::connect(&server).await;
    assert_eq!(client.ask(&get("/header")).await.json()["cookie"], Value::Null);
    let given = client.ask(&get("/cookie")).await;
    assert_eq!((given.status, given.headers.get("set-cookie")), (200, None));
    assert_eq!(client.ask(&get("/header")).await.json()["cookie"], "a=1");
    let mut other = Client::connect(&server).await;
    assert_eq!(other.ask(&get("/header")).await.json()["cookie"], Value::Null);
}

#[tokio::test]
async fn non_ascii_cookie_is_kept_on_set_cookie() {
    let server = Server::start(application()).await;
    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::with(&server, eio, &[("cookie", "auth=token; name=José; auth=old")]).await;
        let mut cookie = async |url: &str| {
            assert_eq!(client.ask(&get(url)).await.status, 200);
            client.ask(&get("/header")).await.json()["cookie"].clone()
        };
        assert_eq!(cookie("/hello").await, "auth=token; name=José; auth=old");
        assert_eq!(cookie("/cookie").await, "auth=token; name=José; auth=old; a=1");
    }
}

/// A 1xx of the application would leave the client waiting for the answer.
#[tokio::test]
async fn informational_status_is_an_error_in_words() {
    let server = Server::start(application()).await;
    let mut client = Client::connect(&server).await;
    for ask in [get("/status/101"), get("/status/103/bare")] {
        for answer in [server.http(&ask).await, client.ask(&ask).await] {
            assert_eq!((answer.status, &answer.json()["code"]), (500, &json!("informational_status")), "{answer:?}");
            assert!(answer.message().contains("1xx") && answer.message().contains("use 200"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_timeout_passes_through_the_layers() {
    let marked = SetResponseHeaderLayer::overriding(header::SERVER, HeaderValue::from_static("catamaran"));
    let app = App::new(()).mount(routes![acts]).timeout(Duration::from_millis(50)).layer(marked);
    let server = Server::start(app).await;
    let mut client = Client::connect(&server).await;
    let over_http = comparable(server.http(&get("/act/late")).await);
    assert_eq!((over_http.status, &*over_http.headers["server"]), (503, "catamaran"));
    assert_eq!(over_http.message(), "the action did not answer within 0.05 s");
    for _ in 0..10 {
        assert_eq!(comparable(client.ask(&get("/act/late")).await), over_http);
    }
}

/// A generator of requests, the same ones in each run (xorshift64).
struct Requests(u64);

impl Requests {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below a usize")
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn url(&mut self) -> String {
        const FIRST: &[&str] =
            &["hello", "path", "rest", "params", "typed", "query", "pairs", "target", "act", "%61ct"];
        const NEXT: &[&str] = &[
            "hello",
            "items",
            "name",
            "sum",
            "größe",
            "u",
            "<id>",
            "\"`",
            "7",
            "256",
            "-1",
            "1e3",
            "a b",
            "é",
            "%C3%A9",
            "%E0%A4%A",
            "%",
            "%zz",
            "%2F",
            "%00",
            "%2e%2e",
            "..",
            ".",
            "",
            "a+b",
            "a;b=c",
            "{id}",
            "\u{202e}",
            "'",
            "\"",
            "<x>",
            "|",
            "^",
            "`",
            "~!$&()*,=:@",
            "%25",
        ];
        const QUERY: &[&str] = &[
            "page=1",
            "page=x",
            "page=",
            "page",
            "size=2",
            "a[]=1",
            "a=%",
            "a=%zz",
            "=",
            "&",
            "?",
            "a=b=c",
            "a=é",
            "a=\"x\"",
            "page=1&page=2",
            "a=+%20",
            "a=%00",
            "a='",
            "/../",
            "a=|^`{}",
            "#part",
        ];
        let mut url = format!("/{}", self.one(FIRST));
        for _ in 0..self.below(4) {
            url = format!("{url}/{}", self.one(NEXT));
        }
        for nth in 0..self.below(4) {
            url = format!("{url}{}{}", if nth == 0 { "?" } else { "&" }, self.one(QUERY));
        }
        url
    }

    fn json(&mut self, depth: usize) -> String {
        const SCALARS: &[&str] = &[
            "null",
            "true",
            "0",
            "-0",
            "1e400",
            "12345678901234567890",
            "0.1",
            "1E-7",
            "\"\"",
            "\"a\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "\"é😀\"",
            "\"7\"",
            "3",
            "[]",
            "{}",
            "\"\\/\"",
            "[ 1 ]",
        ];
        const NAMES: &[&str] = &["name", "count", "page", "size", "id", "", "é", "__proto__", "a.b", "na\\u006de"];
        match if depth == 0 { 0 } else { self.below(4) } {
            2 => {
                let items: Vec<_> = (0..self.below(4)).map(|_| self.json(depth - 1)).collect();
                format!("[{}]", items.join(","))
            }
            3 => {
                let fields: Vec<_> =
                    (0..self.below(4)).map(|_| format!("\"{}\":{}", self.one(NAMES), self.json(depth - 1))).collect();
                format!("{{{}}}", fields.join(" , "))
            }
            _ => self.one(SCALARS).to_owned(),
        }
    }

    fn next(&mut self) -> Ask {
        const METHODS: [&str; 7] = ["get", "post", "put", "patch", "delete", "head", "options"];
        const BODIES: [&str; 6] = ["/json", "/value", "/maybe-json", "/text", "/params/7", "/act/items/7"];
        let method = METHODS[self.below(7)];
        if self.below(8) == 0 {
            let code = self.one(&["100", "101", "103", "199", "200", "204", "205", "206", "304", "404", "599", "999"]);
            return Ask::new(method, format!("/status/{code}{}", self.one(&STATUS_BODIES)));
        }
        if !["post", "put", "patch", "delete"].contains(&method) || self.below(4) == 0 {
            return Ask::new(method, self.url());
        }
        let url = if self.below(3) == 0 { self.url() } else { self.one(&BODIES).to_owned() };
        let ask = Ask::new(method, url).data(self.json(3));
        match self.below(6) {
            0 => ask.header("content-type", "application/x-www-form-urlencoded"),
            1 => ask.header("content-type", "application/problem+json; charset=utf-8"),
            2 => ask.header("content-type", "text/plain"),
            _ => ask,
        }
    }
}

/// A URL as an HTTP client encodes it.
fn as_sent(url: &str) -> String {
    let encode = |byte: u8| {
        let kept = byte.is_ascii_graphic() && !b"\"<>`\\^|".contains(&byte);
        if kept { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    url.split('#').next().unwrap().bytes().map(encode).collect()
}

#[tokio::test]
async fn generated_requests_are_answered_alike() {
    let server = Server::start(application()).await;
    let mut client = Client::connect(&server).await;
    let mut requests = Requests(20_261_122);
    let mut statuses = BTreeMap::<u16, usize>::new();
    for _ in 0..5000 {
        let ask = requests.next();
        let over_socket = comparable(client.ask(&ask).await);
        let sent = Ask { url: as_sent(&ask.url), ..ask.clone() };
        let over_http = comparable(server.http(&sent).await);
        *statuses.entry(over_http.status).or_default() += 1;
        assert_eq!(over_socket, over_http, "{ask:?}");
    }
    for status in [200, 204, 205, 304, 400, 404, 405, 415, 422, 500, 999] {
        assert!(statuses.contains_key(&status), "{statuses:?}");
    }
}
