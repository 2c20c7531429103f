//! Requests that a page of another site makes in its user's name, over both transports: a layer that looks at their
//! origin, and a token as Sails has it.

use axum::{
    Json,
    body::{Body as HttpBody, to_bytes},
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::Response,
};
use axum_csrf::{CsrfConfig, CsrfToken};
use catamaran::{App, Ctx, Http, Origins, action, routes};
use serde_json::{Value, json};
use tower_http::csrf::CsrfLayer;

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

const NAMED: &str = "https://app.example.com";

/// The statuses of a GET and of a POST, which must be the same over both transports.
async fn statuses(server: &Server, headers: &[(&str, &str)]) -> (u16, u16) {
    let mut client = Client::with(server, Eio::V4, headers).await;
    let mut seen = Vec::new();
    for ask in [get("/notes"), post("/notes", "1")] {
        let over_http = headers.iter().fold(ask.clone(), |ask, (name, value)| ask.header(name, value));
        let over_http = server.http(&over_http).await.status;
        assert_eq!(client.ask(&ask).await.status, over_http, "{ask:?} {headers:?}");
        // A packet cannot claim to be from elsewhere.
        let claims = ask.header("origin", "http://evil.example").header("sec-fetch-site", "same-origin");
        assert_eq!(client.ask(&claims).await.status, over_http, "{claims:?} {headers:?}");
        seen.push(over_http);
    }
    (seen[0], seen[1])
}

#[tokio::test]
async fn a_layer_that_looks_at_the_origin_guards_both_transports() {
    let app =
        |layer: CsrfLayer| App::new(()).mount(routes![list, add]).origins(Origins::same().and(NAMED)).layer(layer);
    let strict = Server::start(app(CsrfLayer::new())).await;
    let trusting = Server::start(app(CsrfLayer::new().add_trusted_origin(NAMED).unwrap())).await;
    for server in [&strict, &trusting] {
        let own = format!("http://{}", server.address);
        for headers in [
            &[] as &[_],
            &[("origin", &*own)],
            &[("origin", &*own), ("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "websocket")],
        ] {
            assert_eq!(statuses(server, headers).await, (200, 200), "{headers:?}");
        }
    }
    for headers in [&[("origin", NAMED)] as &[_], &[("origin", NAMED), ("sec-fetch-site", "cross-site")]] {
        assert_eq!(statuses(&strict, headers).await, (200, 403), "{headers:?}");
        assert_eq!(statuses(&trusting, headers).await, (200, 200), "{headers:?}");
    }
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
