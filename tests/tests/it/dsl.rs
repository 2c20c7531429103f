//! What the macros write, seen from a user's crate.

// A user writes `pub`.
#![allow(unreachable_pub)]

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{FromRef, FromRequestParts, Query, State, rejection::JsonRejection},
    http::{Request, StatusCode, request::Parts},
};
use catamaran::{App, Ctx, Http, Method, NoState, Route, Socket, Transports, action, actions, controller, routes};
use catamaran_tests::elsewhere;
use tower::ServiceExt;

#[derive(Clone)]
pub struct Greeting(&'static str);

#[derive(Clone)]
pub struct AppState {
    greeting: Greeting,
}

impl FromRef<AppState> for Greeting {
    fn from_ref(app: &AppState) -> Self {
        app.greeting.clone()
    }
}

fn app() -> App<AppState> {
    App::new(AppState { greeting: Greeting("moin") })
}

async fn ask(router: Router, request: Request<Body>) -> (StatusCode, String) {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(router: Router, path: &str) -> (StatusCode, String) {
    ask(router, Request::get(path).body(Body::empty()).unwrap()).await
}

fn ok(text: &str) -> (StatusCode, String) {
    (StatusCode::OK, text.to_owned())
}

type Everywhere = Ctx;
type OnlySocket = Ctx<Socket>;

#[controller("/chat")]
pub mod chat {
    use super::*;

    /// Greets the caller.
    ///
    /// Twice, if asked.
    #[action(get "/hello")]
    pub async fn hello(ctx: Everywhere, State(greeting): State<Greeting>) -> String {
        let _ = ctx;
        greeting.0.to_owned()
    }

    #[action(get "/rooms/{id}/feed")]
    pub async fn feed(id: u64, _ctx: OnlySocket) -> Json<u64> {
        Json(id)
    }

    #[action(post "/rooms/{id}/{type}")]
    pub async fn say(body: String, r#type: String, id: u64) -> String {
        format!("{id} {type} {body}")
    }

    #[action(get "/export")]
    pub async fn export(_: Ctx<Http>, Query(_): Query<Vec<(String, String)>>) {}

    #[action(get "/")]
    async fn secret() -> &'static str {
        "private"
    }

    #[cfg(any())]
    #[action(get "/gone")]
    pub async fn gone() {}

    #[action(get "/gone-too")]
    #[cfg(any())]
    pub async fn gone_too() {}
}

/// A controller as it stands in a file of its own; two of its actions ask for less than its state.
pub mod users {
    use super::*;

    actions! { "/users", state = AppState => list, show, greet, ban, #[cfg(any())] gone }

    #[action(get "/")]
    pub async fn list() -> &'static str {
        "all"
    }

    #[action(get "/{name}")]
    pub async fn show(State(app): State<AppState>, name: String) -> String {
        format!("{} {name}", app.greeting.0)
    }

    #[action(post "/{name}/greet")]
    pub async fn greet(name: String, State(greeting): State<Greeting>) -> String {
        format!("{} {name}!", greeting.0)
    }

    #[action(delete "/{name}")]
    pub async fn ban(_: Admin, name: String, State(greeting): State<Greeting>) -> String {
        format!("no {} {name}", greeting.0)
    }

    #[cfg(any())]
    #[action(get "/gone")]
    pub async fn gone() {}
}

/// An extractor of the application's own, which is also a policy.
pub struct Admin;

impl FromRequestParts<AppState> for Admin {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, StatusCode> {
        parts.headers.get("x-admin").map(|_| Self).ok_or(StatusCode::FORBIDDEN)
    }
}

/// Stands alone, and its extractor reads the application's state.
#[action(get "/whoami")]
async fn whoami(State(greeting): State<Greeting>, _: Admin) -> &'static str {
    greeting.0
}

#[controller("/admin", state = AppState)]
pub mod admin {
    use super::*;

    #[action(delete "/users/{id}")]
    pub async fn remove(id: u64, _: Admin) -> StatusCode {
        assert_eq!(id, 7);
        StatusCode::NO_CONTENT
    }
}

/// Its prefix has a parameter, which every action reads.
#[controller("/rooms/{room}")]
pub mod rooms {
    use super::*;

    #[action(get "/")]
    pub async fn show(room: String) -> String {
        room
    }

    #[action(get "/posts/{post}")]
    pub async fn post(post: u64, room: String) -> String {
        format!("{post} in {room}")
    }
}

/// Has the name of its own argument.
#[action(get "/id/{id}")]
async fn id(id: u64) -> String {
    id.to_string()
}

#[action(get "/files/{*path}")]
async fn file(path: String) -> impl axum::response::IntoResponse {
    path
}

/// Takes extractors that may fail.
#[action(post "/maybe")]
async fn maybe(socket: Option<Socket>, body: Result<Json<u8>, JsonRejection>) -> String {
    format!("{} {}", socket.is_some(), body.is_ok())
}

/// Its last argument may or may not read the body, which only the type tells.
#[action(get "/perhaps")]
async fn perhaps(socket: Option<Socket>) -> String {
    socket.is_some().to_string()
}

#[test]
fn routes_are_a_constant() {
    const ROUTES: &[Route] = chat::ROUTES;
    const HELLO: Route = ROUTES[0];
    assert_eq!(ROUTES.len(), 5);
    assert_eq!(HELLO.method, Method::Get);
    assert_eq!(HELLO.path, "/chat/hello");
    assert_eq!(HELLO.transports, Transports::Both);
    assert_eq!(HELLO.action, "hello");
    assert_eq!(HELLO.module, "it::dsl::chat");
    assert!(HELLO.file.ends_with("tests/it/dsl.rs"), "{}", HELLO.file);
    assert_eq!(HELLO.doc, "Greets the caller.\n\nTwice, if asked.");
    assert_eq!(HELLO.params, [""; 0]);
    assert_eq!(ROUTES[2].params, ["id", "type"]);
    assert_eq!(ROUTES[4].path, "/chat");
}

#[test]
fn the_context_declares_the_reach_also_through_an_alias() {
    let transports: Vec<_> = chat::ROUTES.iter().map(|route| (route.action, route.transports)).collect();
    let expected = [
        ("hello", Transports::Both),
        ("feed", Transports::Socket),
        ("say", Transports::Both),
        ("export", Transports::Http),
        ("secret", Transports::Both),
    ];
    assert_eq!(transports, expected);
}

#[test]
fn the_line_is_that_of_the_name() {
    let line = include_str!("dsl.rs").lines().position(|line| line.contains("pub async fn hello")).unwrap() + 1;
    assert_eq!(chat::hello::ACTION.route.line as usize, line);
}

#[tokio::test]
async fn the_function_stays_callable() {
    let greeting = State(Greeting("hi"));
    assert_eq!(chat::say("body".into(), "type".into(), 7).await, "7 type body");
    assert_eq!(users::greet("ada".into(), greeting).await, "hi ada!");
}

#[tokio::test]
async fn arguments_are_read_by_name_in_any_order() {
    let router = app().mount(routes![chat, id, rooms, file]).into_router().unwrap();
    let request = Request::post("/chat/rooms/7/note").body(Body::from("hello")).unwrap();
    assert_eq!(ask(router.clone(), request).await, ok("7 note hello"));
    assert_eq!(get(router.clone(), "/chat/hello").await, ok("moin"));
    assert_eq!(get(router.clone(), "/chat").await, ok("private"));
    assert_eq!(get(router.clone(), "/id/3").await, ok("3"));
    assert_eq!(get(router.clone(), "/rooms/a%20b").await, ok("a b"));
    assert_eq!(get(router.clone(), "/rooms/hall/posts/3").await, ok("3 in hall"));
    assert_eq!(get(router.clone(), "/files/a/b.txt").await, ok("a/b.txt"));
    let (status, body) = get(router, "/id/x").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("which is not a valid u64"), "{body}");
}

#[tokio::test]
async fn a_nested_controller_still_reads_its_own_parameters() {
    let inner = app().mount(routes![chat, rooms, id]).into_router().unwrap();
    let router = Router::new().nest("/tenants/{tenant}", inner.clone()).nest("/of/{id}", inner);
    assert_eq!(get(router.clone(), "/tenants/acme/id/7").await, ok("7"));
    assert_eq!(get(router.clone(), "/of/acme/rooms/hall/posts/9").await, ok("9 in hall"));
    assert_eq!(get(router, "/of/acme/id/7").await, ok("7"), "the innermost parameter of a name");
}

#[test]
fn the_state_is_inferred_or_said() {
    let _: catamaran::Controller<Greeting> = chat::CONTROLLER;
    let _: catamaran::Controller<NoState> = rooms::CONTROLLER;
    let _: catamaran::Controller<AppState> = users::CONTROLLER;
    let _: catamaran::Controller<NoState> = id::CONTROLLER;
}

#[test]
fn a_stateless_controller_mounts_anywhere() {
    let table: catamaran::Table<u8> = routes![rooms, id, elsewhere];
    assert_eq!(table.routes.len(), 5);
}

#[tokio::test]
async fn actions_puts_each_action_under_the_prefix_and_on_the_state() {
    let paths: Vec<_> = users::ROUTES.iter().map(|route| route.path).collect();
    assert_eq!(paths, ["/users", "/users/{name}", "/users/{name}/greet", "/users/{name}"]);
    let router = app().mount(routes![users]).into_router().unwrap();
    assert_eq!(get(router.clone(), "/users").await, ok("all"));
    assert_eq!(get(router.clone(), "/users/ada").await, ok("moin ada"));
    let request = Request::post("/users/ada/greet").body(Body::empty()).unwrap();
    assert_eq!(ask(router.clone(), request).await, ok("moin ada!"));
    let request = Request::delete("/users/ada").header("x-admin", "yes").body(Body::empty()).unwrap();
    assert_eq!(ask(router, request).await, ok("no moin ada"));
}

#[tokio::test]
async fn a_controller_of_another_crate_mounts_by_its_path() {
    let router = app().mount(routes![catamaran_tests::elsewhere, self::users]).into_router().unwrap();
    assert_eq!(get(router.clone(), "/elsewhere").await, ok("everything"));
    assert_eq!(get(router, "/elsewhere/one").await, ok("one"));
    assert_eq!(elsewhere::ROUTES[0].module, "catamaran_tests::elsewhere");
}

#[tokio::test]
async fn a_policy_guards_its_controller_and_no_other() {
    let router = app().mount(routes![rooms => Admin, users, id => Admin,]).into_router().unwrap();
    assert_eq!(get(router.clone(), "/rooms/hall").await.0, StatusCode::FORBIDDEN);
    assert_eq!(get(router.clone(), "/id/3").await.0, StatusCode::FORBIDDEN);
    assert_eq!(get(router.clone(), "/users").await, ok("all"));
    let request = Request::get("/rooms/hall").header("x-admin", "yes").body(Body::empty()).unwrap();
    assert_eq!(ask(router, request).await, ok("hall"));
}

#[tokio::test]
async fn an_extractor_of_the_application_reads_its_state() {
    let router = app().mount(routes![admin]).into_router().unwrap();
    let request = |admin: &str| Request::delete("/admin/users/7").header(admin, "yes").body(Body::empty()).unwrap();
    assert_eq!(ask(router.clone(), request("x-nobody")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(router, request("x-admin")).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn extractors_that_may_fail_are_extractors() {
    let router = app().mount(routes![maybe, perhaps]).into_router().unwrap();
    let request = Request::post("/maybe").header("content-type", "application/json").body(Body::from("7")).unwrap();
    assert_eq!(ask(router.clone(), request).await, ok("false true"));
    assert_eq!(get(router, "/perhaps").await, ok("false"));
}

#[tokio::test]
async fn an_action_alone_needs_no_state_said_for_an_extractor_of_the_application() {
    let request = || Request::get("/whoami").header("x-admin", "yes").body(Body::empty()).unwrap();
    for table in [routes![whoami], routes![whoami => Admin]] {
        let router = app().mount(table).into_router().unwrap();
        assert_eq!(ask(router.clone(), request()).await, ok("moin"));
        assert_eq!(get(router, "/whoami").await.0, StatusCode::FORBIDDEN);
    }
}

#[test]
fn a_table_may_be_empty() {
    let table: catamaran::Table<()> = routes![];
    assert!(table.routes.is_empty());
}
