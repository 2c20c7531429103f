//! The application under test, and everything that a request to it can change.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{FromRequestParts, MatchedPath, Path, Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, NoContent, Redirect, Response},
    routing::any,
};
use catamaran::{Any, App, Error, Result, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    bugs::{Bug, PACKET_COOKIE},
    requests::SECRET,
};

/// What the application knows. Two copies that were asked the same are equal.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    pub(crate) items: BTreeMap<u64, Item>,
    pub(crate) sessions: BTreeMap<String, Session>,
    /// Which actions ran, and with what.
    pub(crate) audit: Vec<String>,
    pub(crate) made: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) count: Option<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    pub(crate) user: String,
    pub(crate) visits: u32,
    pub(crate) expired: bool,
}

/// One copy of the memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct World(Arc<Mutex<Memory>>);

impl World {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Memory> {
        // A panicking action leaves what it had done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: impl Into<String>) {
        self.lock().audit.push(what.into());
    }

    fn next(&self) -> u64 {
        let mut memory = self.lock();
        memory.made += 1;
        memory.made
    }
}

/// The id in the cookie, whether or not it is one of a session.
#[derive(Clone)]
struct SessionId(Option<String>);

/// Reads the cookie, as any session layer does.
async fn session(mut request: Request, next: Next) -> Response {
    let cookies = request.headers().get(header::COOKIE).map_or(&[][..], |value| value.as_bytes());
    let cookies = String::from_utf8_lossy(cookies);
    let id = cookies.split("; ").find_map(|cookie| cookie.strip_prefix("sid=")).map(str::to_owned);
    request.extensions_mut().insert(SessionId(id));
    next.run(request).await
}

/// A policy: who has a session that is still good.
struct User(String);

impl FromRequestParts<World> for User {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, world: &World) -> Result<Self> {
        let unknown = || Error::new(StatusCode::UNAUTHORIZED, "log in first");
        let SessionId(id) = parts.extensions.get().cloned().ok_or_else(unknown)?;
        let mut memory = world.lock();
        let session = id.and_then(|id| memory.sessions.get_mut(&id)).filter(|session| !session.expired);
        let session = session.ok_or_else(unknown)?;
        session.visits += 1;
        Ok(Self(session.user.clone()))
    }
}

#[channel("feed", event = News)]
struct Feed;

#[derive(Event, Serialize)]
enum News {
    Said { text: String },
    Created(Item),
    Destroyed(u64),
}

#[controller("/items", state = World)]
mod items {
    use super::*;

    #[action(get "/")]
    pub(crate) async fn list(State(world): State<World>) -> Json<BTreeMap<u64, Item>> {
        Json(world.lock().items.clone())
    }

    #[action(get "/{id}")]
    pub(crate) async fn show(id: u64, State(world): State<World>) -> Result<Json<Item>> {
        let item = world.lock().items.get(&id).cloned();
        item.map(Json).ok_or_else(|| Error::new(StatusCode::NOT_FOUND, "no such item"))
    }

    #[action(post "/")]
    pub(crate) async fn create(ctx: Ctx, State(world): State<World>, Json(item): Json<Item>) -> Result<Response> {
        let id = world.next();
        world.note(format!("create {id}"));
        world.lock().items.insert(id, item.clone());
        ctx.publish(&Feed, News::Created(item)).await?;
        Ok((StatusCode::CREATED, [("location", format!("/items/{id}"))], Json(id)).into_response())
    }

    #[action(put "/{id}")]
    pub(crate) async fn replace(id: u64, State(world): State<World>, Json(item): Json<Item>) -> StatusCode {
        world.note(format!("replace {id}"));
        world.lock().items.insert(id, item);
        StatusCode::NO_CONTENT
    }

    #[action(delete "/{id}")]
    pub(crate) async fn destroy(ctx: Ctx, id: u64, State(world): State<World>) -> Result<StatusCode> {
        world.note(format!("destroy {id}"));
        if world.lock().items.remove(&id).is_none() {
            return Err(Error::new(StatusCode::NOT_FOUND, "no such item"));
        }
        ctx.publish(&Feed, News::Destroyed(id)).await?;
        Ok(StatusCode::NO_CONTENT)
    }
}

#[controller("/", state = World)]
mod login {
    use super::*;

    #[derive(Deserialize)]
    pub(crate) struct Who {
        user: String,
    }

    /// A login renews the id, so that nobody can plant one.
    #[action(post "/login")]
    pub(crate) async fn enter(
        Extension(SessionId(old)): Extension<SessionId>,
        State(world): State<World>,
        Json(Who { user }): Json<Who>,
    ) -> Response {
        let id = format!("made-{SECRET}-{}", world.next());
        let mut memory = world.lock();
        old.and_then(|old| memory.sessions.remove(&old));
        memory.sessions.insert(id.clone(), Session { user, visits: 0, expired: false });
        let made = memory.made;
        drop(memory);
        let mut answer = "welcome".into_response();
        for cookie in [format!("sid={id}; Path=/; HttpOnly"), format!("größe={made}é; Path=/; Max-Age=3600")] {
            let value = header::HeaderValue::from_bytes(cookie.as_bytes()).expect("a cookie");
            answer.headers_mut().append(header::SET_COOKIE, value);
        }
        answer
    }

    #[action(post "/logout")]
    pub(crate) async fn leave(
        Extension(SessionId(id)): Extension<SessionId>,
        State(world): State<World>,
    ) -> impl IntoResponse {
        id.and_then(|id| world.lock().sessions.remove(&id));
        ([(header::SET_COOKIE, "sid=; Path=/; Max-Age=0")], NoContent)
    }

    #[action(get "/me")]
    pub(crate) async fn me(User(user): User) -> String {
        user
    }
}

#[controller("/admin", state = World)]
mod admin {
    use super::*;

    #[action(delete "/items")]
    pub(crate) async fn wipe(State(world): State<World>) -> StatusCode {
        world.note("wipe");
        world.lock().items.clear();
        StatusCode::NO_CONTENT
    }
}

#[controller("/feed", state = World)]
mod feed {
    use super::*;

    #[action(get "/")]
    pub(crate) async fn watch(ctx: Ctx) -> Result<&'static str> {
        if let Some(socket) = ctx.socket() {
            socket.subscribe(&Feed).await?;
        }
        Ok("watching")
    }

    #[action(post "/{text}")]
    pub(crate) async fn say(ctx: Ctx, text: String, State(world): State<World>) -> Result<StatusCode> {
        world.note(format!("say {text}"));
        ctx.publish(&Feed, News::Said { text }).await?;
        Ok(StatusCode::ACCEPTED)
    }
}

#[controller("/", state = World)]
mod odd {
    use super::*;

    #[action(get "/panic/{secret}")]
    pub(crate) async fn panics(secret: String, State(world): State<World>) -> StatusCode {
        world.note("panic");
        panic!("{PLANNED} {secret}")
    }

    #[action(get "/late")]
    pub(crate) async fn late(State(world): State<World>) -> StatusCode {
        world.note("late");
        std::future::pending().await
    }

    #[action(get "/fails/{status}")]
    pub(crate) async fn fails(status: u16) -> Result {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        Err(Error::new(status, "as asked for"))
    }

    #[action(get "/breaks")]
    pub(crate) async fn breaks() -> Result<Json<u8>> {
        Ok(Json("no number".parse()?))
    }

    #[action(get "/größe/{x}/<id>s")]
    pub(crate) async fn size(x: String) -> String {
        x
    }

    #[action(get "/sum/{a}/{b}")]
    pub(crate) async fn sum(a: u8, b: i16) -> Json<i16> {
        Json(i16::from(a) + b)
    }

    #[action(post "/params/{id}")]
    pub(crate) async fn params(Params(all): Params<BTreeMap<String, Value>>) -> Json<BTreeMap<String, Value>> {
        Json(all)
    }

    #[action(get "/large/{length}")]
    pub(crate) async fn large(length: u16) -> String {
        "é".repeat(length.into())
    }
}

/// How the panics of the test begin, which nobody needs to read.
pub(crate) const PLANNED: &str = "a planned panic:";

/// All that an action can learn of a request.
async fn echo(
    State(world): State<World>,
    method: Method,
    uri: Uri,
    path: MatchedPath,
    Path(rest): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Json<Value> {
    world.note(format!("echo {method} {uri}"));
    let body = String::from_utf8_lossy(&body);
    Json(json!([method.as_str(), uri.to_string(), path.as_str(), rest, seen(&headers), body]))
}

/// The headers, but for the one that only serves to plant a bug.
fn seen(headers: &HeaderMap) -> BTreeMap<&str, Vec<String>> {
    let text = |name: &HeaderName| {
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    headers.keys().filter(|name| *name != PACKET_COOKIE).map(|name| (name.as_str(), text(name))).collect()
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST)
}

fn plain(world: &World) -> Router {
    Router::new()
        .route("/echo/{*rest}", any(echo))
        .route("/value", any(async |Json(value): Json<Value>| Json(value)))
        .route("/html", any(async || Html("<p>")))
        .route("/to", any(async || Redirect::to("/items")))
        .route("/empty", any(async || ()))
        .route("/status/{code}", any(async |Path(code): Path<u16>| (status(code), Json(code))))
        .route("/bare/{code}", any(async |Path(code): Path<u16>| status(code)))
        .route("/null", any(async || Json(Value::Null)))
        .route("/bytes", any(async || Bytes::from_static(&[0, 0x89, 0xff])))
        .with_state(world.clone())
}

/// The application, right or with a bug.
pub(crate) fn application(world: &World, bug: Option<Bug>) -> Router {
    let app = App::new(world.clone());
    let app = match bug {
        Some(Bug::PolicySkipped) => app.mount(routes![items, login, admin, feed, odd]),
        _ => app.mount(routes![items, login, admin => User, feed, odd]),
    };
    let app = app.merge(plain(world)).map_router(|ours| ours.layer(axum::middleware::from_fn(session)));
    let app = match bug {
        Some(bug) => app.map_router(move |ours| {
            // A layer runs after routing; some bugs are in what is routed.
            Router::new().fallback_service(ours).layer(from_fn_with_state(bug, Bug::plant))
        }),
        None => app,
    };
    let hour = std::time::Duration::from_secs(3600);
    app.packet_headers(Any)
        .timeout(std::time::Duration::from_secs(1))
        .max_request_bytes(4096)
        .heartbeat(hour, hour)
        .into_router()
        .expect("a sound application")
}
