//! What the macros write, seen from a user's crate.

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{FromRef, FromRequestParts, Query, State},
    http::{Request, StatusCode, request::Parts},
};
use catamaran::{App, Ctx, Http, Method, NoState, Reach, Route, Socket, action, actions, controller, routes};
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
        format!("{id} {type} {body}", type = r#type)
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

#[action(get "/id/{id}")]
async fn id(id: u64) -> String {
    id.to_string()
}

#[test]
fn routes_are_a_constant() {
    const ROUTES: &[Route] = chat::ROUTES;
    const HELLO: Route = ROUTES[0];
    assert_eq!(ROUTES.len(), 5);
    assert_eq!(HELLO.method, Method::Get);
    assert_eq!(HELLO.path, "/chat/hello");
    assert_eq!(HELLO.reach, Reach::Both);
    assert_eq!(HELLO.action, "hello");
    assert_eq!(HELLO.module, "dsl::chat");
    assert!(HELLO.file.ends_with("tests/dsl.rs"), "{}", HELLO.file);
    assert_eq!(HELLO.doc, "Greets the caller.\n\nTwice, if asked.");
    assert_eq!(HELLO.params, [""; 0]);
    assert_eq!(ROUTES[2].params, ["id", "type"]);
    assert_eq!(ROUTES[4].path, "/chat");
}
