//! The routes that supervisors and load balancers ask.

use axum::http::StatusCode;
use catamaran::prelude::*;
use tower_http::set_status::SetStatusLayer;

use crate::support::{Ask, Client, Server, get};

#[action(get "/health/ready")]
async fn own() -> &'static str {
    "the application's own"
}

#[tokio::test]
async fn a_process_says_that_it_lives_and_is_ready() {
    let server = Server::start(App::new(()).health()).await;
    for (url, word) in [("/health/live", "live"), ("/health/ready", "ready")] {
        let answer = server.http(&get(url)).await;
        assert_eq!((answer.status, answer.json()), (200, word.into()));
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(server.http(&Ask::new("head", url)).await.status, 200);
    }
}

#[tokio::test]
async fn no_layer_stands_before_them_and_no_socket_reaches_them() {
    let forbidden = SetStatusLayer::new(StatusCode::FORBIDDEN);
    let server = Server::start(App::new(()).health().layer(forbidden)).await;
    assert_eq!(server.http(&get("/hello")).await.status, 403);
    assert_eq!(server.http(&get("/health/ready")).await.status, 200);
    assert_eq!(Client::connect(&server).await.ask(&get("/health/ready")).await.status, 403);
}

#[tokio::test]
async fn they_are_there_only_if_asked_for() {
    let server = Server::start(App::new(()).mount(routes![own])).await;
    assert_eq!(server.http(&get("/health/live")).await.status, 404);
    assert_eq!(server.http(&get("/health/ready")).await.json(), "the application's own");
    let text = App::new(()).mount(routes![own]).health().into_router().expect_err("a clash").to_string();
    assert!(text.contains("health::own") && text.contains("/health/ready"), "{text}");
}
