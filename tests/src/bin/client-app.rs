//! The server that the JavaScript clients in `tests/third-party-clients` drive.
//!
//! `client-app [TRANSPORT]...` takes Engine.IO transports (`websocket`, `polling`); without any it leaves the default.
//! It prints `listening on http://127.0.0.1:PORT`, a free port, and stops on SIGTERM.

use std::{collections::HashSet, error::Error, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Redirect, Response},
    routing::{any, get},
};
use catamaran::prelude::*;
use catamaran::{Origins, TransportType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use tokio::{net::TcpListener, sync::watch};

/// Answers of each kind.
#[controller("/answers")]
mod answers {
    use super::*;

    #[action(get "/object")]
    async fn object() -> Json<Value> {
        Json(json!({ "hello": "world" }))
    }

    #[action(get "/array")]
    async fn array() -> Json<[u8; 3]> {
        Json([1, 2, 3])
    }

    #[action(get "/number")]
    async fn number() -> Json<u8> {
        Json(42)
    }

    #[action(get "/zero")]
    async fn zero() -> Json<u8> {
        Json(0)
    }

    #[action(get "/true")]
    async fn yes() -> Json<bool> {
        Json(true)
    }

    #[action(get "/null")]
    async fn null() -> Json<()> {
        Json(())
    }

    #[action(get "/json-string")]
    async fn json_string() -> Json<&'static str> {
        Json("a string")
    }

    #[action(get "/text")]
    async fn text() -> &'static str {
        "a string"
    }

    #[action(get "/html")]
    async fn html() -> axum::response::Html<&'static str> {
        axum::response::Html("<p>a page</p>")
    }

    #[action(get "/nothing")]
    async fn nothing() {}

    #[action(get "/no-content")]
    async fn no_content() -> StatusCode {
        StatusCode::NO_CONTENT
    }

    /// Bytes that are not text in any encoding a client would guess.
    /// A body with a status that has none, or that is none.
    #[action(get "/status/{status}")]
    async fn status(status: u16) -> catamaran::Result<Response> {
        Ok((StatusCode::from_u16(status)?, Json(json!({ "never": "sent" }))).into_response())
    }

    #[action(get "/größe/{size}")]
    async fn size(size: String) -> String {
        size
    }

    #[action(get "/bytes")]
    async fn bytes() -> Bytes {
        (0..=255).collect::<Vec<u8>>().into()
    }

    /// More than one network packet, and more than a 16-bit length.
    #[action(get "/large")]
    async fn large() -> Json<Vec<String>> {
        Json((0..25_000).map(|n| format!("item {n:>6}")).collect())
    }

    #[action(get "/headers")]
    async fn headers() -> impl IntoResponse {
        let headers = [("x-custom", "yes"), ("X-Mixed-Case", "yes"), ("vary", "accept"), ("vary", "cookie")];
        let headers: HeaderMap =
            headers.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        (headers, Json(json!({ "ok": true })))
    }

    #[action(get "/moved")]
    async fn moved() -> Redirect {
        Redirect::to("/answers/object")
    }

    #[action(get "/found")]
    async fn found() -> impl IntoResponse {
        (StatusCode::FOUND, [(header::LOCATION, "/answers/object")])
    }

    #[action(get "/failure")]
    async fn failure() -> catamaran::Result<String> {
        Ok(String::from_utf8(vec![0xff])?)
    }

    #[action(get "/panic")]
    async fn panic() -> String {
        panic!("the action /answers/panic panics")
    }
}

#[derive(Deserialize, Serialize)]
struct User {
    name: String,
    age: u8,
}

/// A REST resource without a store.
#[controller("/users")]
mod users {
    use super::*;

    #[action(get "/{id}")]
    async fn show(id: u64) -> Json<Value> {
        Json(json!({ "id": id }))
    }

    #[action(post "/")]
    async fn create(Json(user): Json<User>) -> impl IntoResponse {
        (StatusCode::CREATED, [("x-created", "yes")], Json(user))
    }

    #[action(put "/{id}")]
    async fn replace(id: u64, Json(user): Json<User>) -> Json<Value> {
        Json(json!({ "id": id, "name": user.name, "age": user.age }))
    }

    #[action(patch "/{id}")]
    async fn update(id: u64, Json(change): Json<Value>) -> Json<Value> {
        Json(json!({ "id": id, "change": change }))
    }

    #[action(delete "/{id}")]
    async fn remove(id: u64) -> StatusCode {
        assert_ne!(id, 0);
        StatusCode::NO_CONTENT
    }
}

/// Bodies that come back as they were sent.
#[controller("/mirror")]
mod mirror {
    use super::*;

    #[action(post "/json")]
    async fn json(Json(body): Json<Box<RawValue>>) -> Json<Box<RawValue>> {
        Json(body)
    }

    #[action(post "/text")]
    async fn text(Json(text): Json<Vec<String>>) -> String {
        text.concat()
    }

    #[action(post "/bytes")]
    async fn bytes(Json(text): Json<Vec<String>>) -> Bytes {
        text.concat().into()
    }
}

/// A login by cookie, as session layers do it.
#[controller("/session")]
mod session {
    use super::*;

    #[action(post "/{id}")]
    async fn start(id: String) -> impl IntoResponse {
        ([(header::SET_COOKIE, format!("sid={id}; Path=/; HttpOnly"))], "welcome")
    }

    #[action(get "/")]
    async fn show(headers: HeaderMap) -> Json<Option<String>> {
        Json(headers.get(header::COOKIE).and_then(|cookie| cookie.to_str().ok()).map(str::to_owned))
    }
}

/// A text with a character for each byte, so that JSON carries any bytes.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The cookies of a request, byte by byte.
async fn show_cookies(headers: HeaderMap) -> Json<Vec<String>> {
    Json(headers.get_all(header::COOKIE).iter().map(|cookie| latin1(cookie.as_bytes())).collect())
}

/// Sets cookies, whose lines have a character for each byte.
async fn set_cookies(Json(lines): Json<Vec<String>>) -> catamaran::Result<HeaderMap> {
    let bytes = |line: &str| line.chars().map(u8::try_from).collect::<Result<Vec<_>, _>>();
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(header::SET_COOKIE, HeaderValue::from_bytes(&bytes(&line)?)?);
    }
    Ok(headers)
}

/// The origin of a page that `browser.test.js` makes up.
const PAGE: &str = "http://127.0.0.1:4000";

/// Stands for a session layer, on the one route by which pages of other origins ask for its cookie.
async fn grant(request: Request, next: Next) -> Response {
    let asked = request.uri().path() == "/__getcookie";
    let mut response = next.run(request).await;
    if asked {
        response.headers_mut().insert(header::SET_COOKIE, HeaderValue::from_static("sid=granted; Path=/; HttpOnly"));
    }
    response
}

/// The gates that are open.
#[derive(Clone)]
struct Gates(Arc<watch::Sender<HashSet<String>>>);

/// Requests that wait until another request lets them go on.
#[controller("/gates")]
mod gates {
    use super::*;

    #[action(get "/{gate}")]
    async fn pass(gate: String, State(Gates(gates)): State<Gates>) -> catamaran::Result<String> {
        gates.subscribe().wait_for(|open| open.contains(&gate)).await?;
        Ok(gate)
    }

    #[action(post "/{gate}")]
    async fn open(gate: String, State(Gates(gates)): State<Gates>) {
        gates.send_modify(|open| {
            open.insert(gate);
        });
    }
}

/// The socket that asked.
#[action(get "/me")]
async fn me(ctx: Ctx<Socket>) -> Json<Value> {
    let socket = ctx.socket();
    Json(json!({ "id": socket.id(), "query": socket.handshake().uri.query() }))
}

/// What of a request reached its handler: an axum route, since an action has one method.
async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: String) -> Json<Value> {
    let own =
        |name: &str| name.starts_with("x-") || matches!(name, "content-type" | "origin" | "host" | "authorization");
    let headers: serde_json::Map<_, _> = headers
        .iter()
        .filter(|(name, _)| own(name.as_str()))
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    Json(
        json!({ "method": method.as_str(), "path": uri.path(), "query": uri.query(), "headers": headers, "body": body }),
    )
}

/// What a client may ask for when connecting, in its query or its payload.
#[derive(Deserialize, Default)]
struct Wish {
    /// To be refused with this status.
    refuse: Option<u16>,
    /// To have its end printed, under this name.
    name: Option<String>,
}

impl Wish {
    fn of(query: Query<Self>, auth: Option<Json<Self>>) -> Self {
        auth.map_or(query.0, |Json(wish)| wish)
    }
}

async fn connected(query: Query<Wish>, auth: Option<Json<Wish>>) -> catamaran::Result {
    match Wish::of(query, auth).refuse {
        Some(status) => Err(catamaran::Error::new(StatusCode::from_u16(status)?, "as you wish")),
        None => Ok(()),
    }
}

async fn disconnected(query: Query<Wish>, auth: Option<Json<Wish>>) {
    if let Some(name) = Wish::of(query, auth).name {
        println!("{name} is gone");
    }
}

fn transport(name: &str) -> Result<TransportType, String> {
    match name {
        "websocket" => Ok(TransportType::Websocket),
        "polling" => Ok(TransportType::Polling),
        _ => Err(format!("`{name}` is not a transport: use `websocket` or `polling`")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let transports: Vec<_> = std::env::args().skip(1).map(|name| transport(&name)).collect::<Result<_, _>>()?;
    let app = App::new(Gates(Arc::default()))
        .mount(routes![answers, users, mirror, session, gates, me])
        .on_connect(connected)
        .on_disconnect(disconnected)
        .merge(Router::new().route("/echo", any(echo)).route("/jar/{*path}", get(show_cookies).post(set_cookies)))
        .layer(from_fn(grant))
        // The clients' tests send these; the browser's page needs no more.
        .packet_headers(["x-own", "x-all", "x-both", "x-one", "x-text", "x-number", "x-yes", "x-none", "x-a"])
        .origins(Origins::same().and(PAGE));
    let app = if transports.is_empty() { app } else { app.transports(transports) };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    app.serve_on(listener).await?;
    Ok(())
}
