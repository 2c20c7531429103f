//! A token against cross-site requests, as Sails has it, over both transports. The check that is on by default has its tests in
//! `cross_site.rs`.

use axum::{
    Json,
    body::{Body as HttpBody, to_bytes},
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::Response,
};
use axum_csrf::{CsrfConfig, CsrfToken};
use catamaran::{App, Ctx, Http, action, routes};
use serde_json::{Value, json};

use crate::support::{Ask, Body, Client, Eio, Server, get, post};

#[action(get "/notes")]
async fn list() -> &'static str {
    "notes"
}

#[action(post "/notes")]
async fn add(note: String) -> String {
    note
}

#[action(get "/csrfToken")]
async fn grant(_: Ctx<Http>, token: CsrfToken) -> catamaran::Result<(CsrfToken, Json<Value>)> {
    let text = token.authenticity_token()?;
    Ok((token, Json(json!({ "_csrf": text }))))
}

/// Asks for the token that a page was given, in the places where Sails clients put it.
async fn check_token(token: CsrfToken, request: Request, next: Next) -> catamaran::Result<Response> {
    if request.method().is_safe() {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1024 * 1024).await?;
    let in_header = parts.headers.get("x-csrf-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let in_body = || serde_json::from_slice::<Value>(&body).ok()?["_csrf"].as_str().map(str::to_owned);
    let sent = in_header.or_else(in_body).unwrap_or_default();
    if token.verify(&sent).is_err() {
        return Err(catamaran::Error::new(StatusCode::FORBIDDEN, "the CSRF token is missing or wrong"));
    }
    Ok(next.run(Request::from_parts(parts, HttpBody::from(body))).await)
}

/// A page's token, and its cookie.
async fn granted(server: &Server) -> (String, String) {
    let answer = server.http(&get("/csrfToken")).await;
    let token = answer.json()["_csrf"].as_str().unwrap().to_owned();
    (token, answer.headers["set-cookie"].split(';').next().unwrap().to_owned())
}

#[tokio::test]
async fn a_token_is_spent_over_both_transports_and_given_over_http_alone() {
    let layers = (axum_csrf::CsrfLayer::new(CsrfConfig::default()), from_fn(check_token));
    let server = Server::start(App::new(()).mount(routes![list, add, grant]).layer(layers)).await;
    let (token, cookie) = granted(&server).await;
    let (foreign, _) = granted(&server).await;
    let mut client = Client::with(&server, Eio::V3, &[("cookie", &cookie)]).await;
    let mut nobody = Client::connect(&server).await;

    let with_header = |token: &str| post("/notes", r#"{"text":"hi"}"#).header("x-csrf-token", token);
    let with_data = |token: &str| post("/notes", json!({ "text": "hi", "_csrf": token }).to_string());
    for (ask, status) in [
        (get("/notes"), 200),
        (post("/notes", r#"{"text":"hi"}"#), 403),
        (with_header("wrong"), 403),
        (with_header(&foreign), 403),
        (with_header(&token), 200),
        (with_data(&foreign), 403),
        (with_data(&token), 200),
    ] {
        let over_http: Ask = ask.clone().header("cookie", &cookie);
        assert_eq!(server.http(&over_http).await.status, status, "{ask:?}");
        let over_socket = client.ask(&ask).await;
        assert_eq!(over_socket.status, status, "{ask:?}");
        if status == 200 && ask.method == "post" {
            assert_eq!(over_socket.body, Body::text(ask.data.as_deref().unwrap()), "the action reads the whole body");
        }
        let of_another = if ask.method == "get" { 200 } else { 403 };
        assert_eq!(nobody.ask(&ask).await.status, of_another, "{ask:?}");
    }
    assert_eq!(client.ask(&get("/csrfToken")).await.status, 400);
}
