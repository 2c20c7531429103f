//! The limit on how often a client may ask: one count for both transports.

use std::time::Duration;

use axum::{
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use catamaran::{ClientAddr, RateLimit, prelude::*};
use tokio::sync::mpsc;

use crate::support::{Answer, Client, Eio, Packet, Server, get, within};

const HOUR: Duration = Duration::from_secs(3600);

#[action(get "/hello")]
async fn hello() -> &'static str {
    "hello"
}

fn app() -> App<()> {
    App::new(()).mount(routes![hello])
}

#[track_caller]
fn assert_limited(answer: &Answer) {
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(answer.json()["code"], "rate_limited");
    let seconds: u64 = answer.headers["retry-after"].parse().expect("a number of seconds");
    assert!((1..=3600).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn requests_of_both_transports_are_one_count() {
    let server = Server::start(app().layer(RateLimit::new(4, HOUR))).await;
    let (mut socket, mut other) = (Client::connect(&server).await, Client::with(&server, Eio::V3, &[]).await);
    assert_eq!(server.http(&get("/hello")).await.status, 200);
    assert_eq!(socket.ask(&get("/hello")).await.status, 200);
    assert_eq!(other.ask(&get("/hello")).await.status, 200);
    assert_eq!(server.http(&get("/nothing/here")).await.status, 404);
    for answer in [server.http(&get("/hello")).await, socket.ask(&get("/hello")).await, other.ask(&get("/hello")).await]
    {
        assert_limited(&answer);
    }
}

#[tokio::test]
async fn there_is_room_again_when_the_answer_said() {
    let server = Server::start(app().layer(RateLimit::new(1, Duration::from_millis(100)))).await;
    let mut socket = Client::connect(&server).await;
    let (first, second) = (socket.buffer(&get("/hello")).await, socket.buffer(&get("/hello")).await);
    socket.flush().await;
    assert_eq!(socket.ack(first).await.status, 200);
    assert_limited(&socket.ack(second).await);
    within("room for another", async { while socket.ask(&get("/hello")).await.status != 200 {} }).await;
}

#[tokio::test]
async fn behind_a_proxy_each_client_has_a_count() {
    let server = Server::start(app().layer(RateLimit::new(2, HOUR)).trusted_proxies(["127.0.0.1"])).await;
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
        let mut socket = Client::with(&server, Eio::V4, &[("x-forwarded-for", client)]).await;
        let ask = get("/hello").header("x-forwarded-for", client);
        assert_eq!(server.http(&ask).await.status, 200);
        assert_eq!(socket.ask(&get("/hello")).await.status, 200);
        assert_limited(&server.http(&ask).await);
        assert_limited(&socket.ask(&get("/hello")).await);
    }
}

#[derive(Clone)]
struct User(String);

/// As a layer that knows the user of each request.
async fn with_user(mut request: Request, next: Next) -> Response {
    if let Some(user) = request.headers().get("x-user") {
        let user = user.to_str().expect("text").to_owned();
        request.extensions_mut().insert(User(user));
    }
    next.run(request).await
}

#[tokio::test]
async fn a_key_of_the_applications_own_is_what_counts() {
    let limit = RateLimit::new(1, HOUR).by(|request| request.extensions.get().map(|User(name)| name.clone()));
    let server = Server::start(app().packet_headers(["x-user"]).layer(limit).layer(from_fn(with_user))).await;
    let mut socket = Client::connect(&server).await;
    let ask = |user: &str| get("/hello").header("x-user", user);
    assert_eq!(socket.ask(&ask("ada")).await.status, 200);
    assert_eq!(socket.ask(&ask("bob")).await.status, 200);
    assert_limited(&server.http(&ask("ada")).await);
    assert_limited(&socket.ask(&ask("bob")).await);
    // Whoever has no key is not counted.
    for _ in 0..3 {
        assert_eq!(socket.ask(&get("/hello")).await.status, 200);
        assert_eq!(server.http(&get("/hello")).await.status, 200);
    }
}

/// A key that anybody would write.
fn by_address(request: &axum::http::request::Parts) -> Option<String> {
    request.extensions.get::<ClientAddr>().map(ToString::to_string)
}

#[tokio::test]
async fn client_address_is_in_the_extensions_of_both_transports() {
    let app = app().trusted_proxies(["127.0.0.1"]).on_connect(async || {});
    let server = Server::start(app.layer(RateLimit::new(3, HOUR).by(by_address))).await;
    for client in ["192.0.2.1", "2001:db8::1"] {
        // The hook of its connection is counted, too.
        let mut socket = Client::with(&server, Eio::V4, &[("x-forwarded-for", client)]).await;
        let ask = get("/hello").header("x-forwarded-for", client);
        assert_eq!(server.http(&ask).await.status, 200);
        assert_eq!(socket.ask(&get("/hello")).await.status, 200);
        assert_limited(&server.http(&ask).await);
        assert_limited(&socket.ask(&get("/hello")).await);
    }
}

#[action(post "/login/{name}")]
async fn log_in(name: String) -> String {
    name
}

#[tokio::test]
async fn every_spelling_of_a_parameter_is_one_count() {
    let spellings = ["ada", "%61da", "a%64a", "%61%64%61", "ad%61"];
    let limited = |route: &str| RateLimit::new(5, HOUR).by_param(route, "name");
    let plain = app().mount(routes![log_in]).layer(limited("/login/{name}"));
    let nested = app()
        .mount(routes![log_in])
        .layer(limited("/api/{tenant}/login/{name}"))
        .map_router(|ours| axum::Router::new().nest("/api/{tenant}", ours));
    for (app, prefix) in [(plain, ""), (nested, "/api/7")] {
        let server = Server::start(app).await;
        let mut socket = Client::connect(&server).await;
        let ask = |name: &str| crate::support::Ask::new("post", format!("{prefix}/login/{name}"));
        for (nth, spelling) in spellings.into_iter().enumerate() {
            let answer =
                if nth % 2 == 0 { socket.ask(&ask(spelling)).await } else { server.http(&ask(spelling)).await };
            assert_eq!((answer.status, answer.json()), (200, "ada".into()), "{spelling}");
        }
        for spelling in spellings {
            assert_limited(&socket.ask(&ask(spelling)).await);
            assert_limited(&server.http(&ask(&format!("{spelling}?x=1"))).await);
        }
        assert_eq!(socket.ask(&ask("bob")).await.status, 200);
        assert_eq!(socket.ask(&get(format!("{prefix}/hello"))).await.status, 200);
    }
}

#[tokio::test]
async fn sockets_that_want_in_are_counted_and_their_end_is_heard_anyway() {
    let (gone, mut ends) = mpsc::unbounded_channel();
    let app = app()
        .layer(RateLimit::new(2, HOUR))
        .on_connect(async || {})
        .on_disconnect(async move || gone.send(()).expect("the test listens"));
    let server = Server::start(app).await;
    let (first, second) = (Client::connect(&server).await, Client::connect(&server).await);
    let mut third = Client::open(server.address, "/socket.io", Eio::V4, &[]).await;
    third.send("40").await;
    let refused = "44{\"message\":\"429 Too Many Requests: too many requests: ask again later\"}";
    assert_eq!(third.receive().await, Packet::Other(refused.to_owned()));
    for client in [first, second] {
        client.drop_connection();
        within("the end of a socket", ends.recv()).await.expect("the server runs");
    }
}

#[tokio::test]
async fn a_server_that_knows_no_peers_says_so() {
    let router = app().layer(RateLimit::new(1, HOUR)).into_router().expect("it is well formed");
    let request = Request::builder().uri("/hello").body(axum::body::Body::empty()).expect("a request");
    let response = tower::ServiceExt::oneshot(router, request).await.expect("an answer");
    assert_eq!(response.status(), 500);
}
