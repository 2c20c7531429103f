//! What an application builds around its controllers, and how both transports see it.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body as HttpBody,
    extract::{FromRequestParts, Path, Request, WebSocketUpgrade, ws},
    http::{StatusCode, request::Parts},
    middleware::{Next, from_fn},
    response::{
        Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::get as on_get,
};
use catamaran::{App, Ctx, Http, Socket, action, controller, routes};
use futures_util::{SinkExt, StreamExt, stream};
use http_body_util::BodyExt;
use socketioxide::extract::{Data, SocketRef};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Ask, Body, Client, Eio, Packet, Server, get, http, post, within};

#[controller("/pages")]
mod pages {
    use super::*;

    #[action(get "/hello")]
    pub(crate) async fn hello() -> &'static str {
        "hello"
    }

    #[action(get "/{id}")]
    pub(crate) async fn show(id: u32) -> String {
        format!("page {id}")
    }

    /// Needs the socket it came over.
    #[action(get "/live/{id}")]
    pub(crate) async fn live(ctx: Ctx<Socket>, id: u32) -> String {
        format!("{id} over {}", ctx.socket().id().len())
    }

    #[action(post "/form")]
    pub(crate) async fn form(_: Ctx<Http>) -> &'static str {
        "posted"
    }

    #[action(get "/via")]
    pub(crate) async fn via(ctx: Ctx) -> &'static str {
        if ctx.socket().is_some() { "socket" } else { "http" }
    }
}

/// Lets those in who say the word.
struct Guest;

impl<S: Sync> FromRequestParts<S> for Guest {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        match parts.headers.get("authorization") {
            Some(word) if word == "please" => Ok(Self),
            _ => Err((StatusCode::UNAUTHORIZED, "say please")),
        }
    }
}

async fn guard(_: Guest, request: Request, next: Next) -> Response {
    next.run(request).await
}

fn text(status: u16, text: &str) -> (u16, Body) {
    (status, Body::text(text))
}

/// Status and body over both transports, which must be equal.
async fn both(server: &Server, client: &mut Client, ask: &Ask) -> (u16, Body) {
    let over_http = server.http(ask).await;
    let over_socket = client.ask(ask).await;
    assert_eq!((over_http.status, &over_http.body), (over_socket.status, &over_socket.body), "{ask:?}");
    (over_http.status, over_http.body)
}

#[action(get "/first")]
async fn first() -> &'static str {
    "first"
}

#[action(get "/second")]
async fn second() -> &'static str {
    "second"
}

#[tokio::test]
async fn layer_wraps_what_was_added_before_it() {
    let mark = |name: &'static str| {
        from_fn(async move |request: Request, next: Next| {
            let mut response = next.run(request).await;
            response.headers_mut().append("x-passed", name.parse().expect("a value"));
            response
        })
    };
    let merged = |path| Router::new().route(path, on_get(async || "merged"));
    let app = App::new(())
        .mount(routes![first])
        .merge(merged("/early"))
        .layer(mark("one"))
        .mount(routes![second])
        .merge(merged("/late"))
        .layer(mark("two"))
        .map_router(|ours| Router::new().nest("/nested", ours.clone()).merge(ours))
        .map_router(|ours| ours.route("/mapped", on_get(async || "mapped")))
        .layer(mark("three"))
        .merge(merged("/last"));
    let server = Server::start(app).await;
    let mut client = Client::connect(&server).await;
    for (path, passed) in [
        ("/first", "one, two, three"),
        ("/early", "one, two, three"),
        ("/second", "two, three"),
        ("/late", "two, three"),
        ("/nested/first", "one, two, three"),
        ("/nested/late", "two, three"),
        ("/mapped", "three"),
        ("/last", ""),
        ("/nowhere", "one, two, three"),
        ("/__getcookie", "one, two, three"),
    ] {
        for answer in [server.http(&get(path)).await, client.ask(&get(path)).await] {
            assert_eq!(answer.headers.get("x-passed").map_or("", |passed| passed), passed, "{path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn an_outer_nest_and_its_layer_guard_both_transports() {
    let app = App::new(())
        .mount(routes![pages])
        .map_router(|ours| Router::new().nest("/tenants/{id}", ours).layer(from_fn(guard)));
    let server = Server::start(app).await;
    let mut client = Client::connect(&server).await;
    let please = |url: &str| get(url).header("authorization", "please");
    assert_eq!(both(&server, &mut client, &get("/tenants/1/pages/hello")).await, text(401, "say please"));
    assert_eq!(both(&server, &mut client, &please("/tenants/1/pages/hello")).await, text(200, "hello"));
    // The page's own `{id}` is the inner one.
    assert_eq!(both(&server, &mut client, &please("/tenants/1/pages/2")).await, text(200, "page 2"));
    assert_eq!(both(&server, &mut client, &please("/pages/hello")).await, text(404, "Not Found"));
}

#[tokio::test]
async fn a_policy_guards_its_controller_alone() {
    let server = Server::start(App::new(()).mount(routes![pages => Guest, open])).await;
    let mut client = Client::connect(&server).await;
    assert_eq!(both(&server, &mut client, &get("/pages/2")).await, text(401, "say please"));
    let please = get("/pages/2").header("authorization", "please");
    assert_eq!(both(&server, &mut client, &please).await, text(200, "page 2"));
    assert_eq!(both(&server, &mut client, &get("/open")).await, text(200, "open"));
}

#[action(get "/open")]
async fn open() -> &'static str {
    "open"
}

#[tokio::test]
async fn a_merged_axum_route_answers_both_transports() {
    let show = async |Path(id): Path<u32>, socket: Option<Socket>| format!("{id} {}", socket.is_some());
    let app = App::new(()).mount(routes![open]).merge(Router::new().route("/merged/{id}", on_get(show)));
    let server = Server::start(app).await;
    let mut client = Client::connect(&server).await;
    assert_eq!(server.http(&get("/merged/3")).await.body, Body::text("3 false"));
    assert_eq!(client.ask(&get("/merged/3")).await.body, Body::text("3 true"));
    assert_eq!(both(&server, &mut client, &get("/merged/x")).await.0, 400);
}

#[tokio::test]
async fn a_fallback_of_the_application_wins() {
    let mine = async || (StatusCode::IM_A_TEAPOT, "mine");
    let apps = [
        App::new(()).mount(routes![open]).fallback(mine),
        App::new(()).mount(routes![open]).merge(Router::new().fallback(mine)),
        App::new(()).mount(routes![open]).map_router(move |ours| Router::new().fallback(mine).merge(ours)),
    ];
    for (nth, app) in apps.into_iter().enumerate() {
        let server = Server::start(app).await;
        let mut client = Client::connect(&server).await;
        assert_eq!(both(&server, &mut client, &get("/missing")).await, text(418, "mine"), "{nth}");
        assert_eq!(both(&server, &mut client, &get("/open")).await, text(200, "open"), "{nth}");
        assert_eq!(both(&server, &mut client, &post("/open", "{}")).await, text(405, "Method Not Allowed"), "{nth}");
    }
}

#[tokio::test]
async fn a_nest_within_a_router_with_a_fallback_uses_it() {
    let mine = async || (StatusCode::IM_A_TEAPOT, "mine");
    let app = App::new(()).mount(routes![open]).map_router(move |ours| Router::new().fallback(mine).nest("/in", ours));
    let server = Server::start(app).await;
    let mut client = Client::connect(&server).await;
    assert_eq!(both(&server, &mut client, &get("/in/open")).await, text(200, "open"));
    assert_eq!(both(&server, &mut client, &get("/in/missing")).await, text(418, "mine"));
    assert_eq!(both(&server, &mut client, &get("/missing")).await, text(418, "mine"));
}

async fn shout(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket: ws::WebSocket| {
        while let Some(Ok(ws::Message::Text(text))) = socket.recv().await {
            if socket.send(ws::Message::text(text.to_uppercase())).await.is_err() {
                break;
            }
        }
    })
}

async fn events() -> Sse<impl stream::Stream<Item = Result<Event, Infallible>>> {
    let first = stream::iter([Ok(Event::default().data("first"))]);
    Sse::new(first.chain(stream::pending())).keep_alive(KeepAlive::default())
}

#[tokio::test]
async fn an_upgrade_and_a_stream_of_events_work_beside_ours() {
    let streams = Router::new().route("/shout", on_get(shout)).route("/events", on_get(events));
    let server = Server::start(App::new(()).mount(routes![open]).merge(streams)).await;

    let stream = TcpStream::connect(server.address).await.unwrap();
    let url = format!("ws://{}/shout", server.address);
    let (mut websocket, _) = within("the upgrade", tokio_tungstenite::client_async(url, stream)).await.unwrap();
    websocket.send(Message::text("moin")).await.unwrap();
    assert_eq!(within("an echo", websocket.next()).await.unwrap().unwrap(), Message::text("MOIN"));

    let request = axum::http::Request::get("/events").header("host", "x").body(HttpBody::empty()).unwrap();
    let mut response = server.send(request).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let first = within("the first event", response.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "data: first\n\n");

    let mut client = Client::connect(&server).await;
    let events = client.ask(&get("/events")).await;
    assert_eq!((events.status, events.message().contains("over HTTP")), (400, true));
    let upgrade = get("/shout")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(client.ask(&upgrade).await.status, 400);
    assert_eq!(client.ask(&get("/open")).await.body, Body::text("open"));
}

#[tokio::test]
async fn an_action_says_which_transport_it_answers() {
    let server = Server::start(App::new(()).mount(routes![pages])).await;
    let mut client = Client::connect(&server).await;

    assert_eq!(client.ask(&get("/pages/live/7")).await.body, Body::text("7 over 16"));
    let refused = server.http(&get("/pages/live/7")).await;
    assert_eq!((refused.status, &*refused.headers["upgrade"]), (426, "websocket"));
    assert_eq!(refused.json()["code"], "socket_only");
    let message = refused.message();
    assert!(message.contains("`live`") && message.contains("Socket.IO") && message.contains("GET /pages/live/{id}"));

    assert_eq!(server.http(&post("/pages/form", "{}")).await.body, Body::text("posted"));
    let refused = client.ask(&post("/pages/form", "{}")).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("http_only")));
    let message = refused.message();
    assert!(message.contains("`form`") && message.contains("POST /pages/form over HTTP"), "{message}");

    assert_eq!(server.http(&get("/pages/via")).await.body, Body::text("http"));
    assert_eq!(client.ask(&get("/pages/via")).await.body, Body::text("socket"));
}

#[tokio::test]
async fn the_path_of_the_socket_is_a_setting() {
    let server = Server::start(App::new(()).mount(routes![open]).socket_path("/live/socket")).await;
    let mut client = Client::open(server.address, "/live/socket", Eio::V4, &[]).await;
    client.enter().await;
    assert_eq!(client.ask(&get("/open")).await.body, Body::text("open"));
    assert_eq!(server.http(&get("/socket.io/?EIO=4&transport=websocket")).await.status, 404);
}

#[tokio::test]
async fn the_router_nests_in_another_application() {
    let ours = App::new(()).mount(routes![open, pages]).into_router().unwrap();
    let outer = Router::new().nest("/ours", ours).route("/theirs", on_get(async || "theirs"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, outer).await });

    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::open(address, "/ours/socket.io", eio, &[]).await;
        client.enter().await;
        assert_eq!(client.ask(&get("/open")).await.body, Body::text("open"));
        assert_eq!(client.ask(&get("/pages/3")).await.body, Body::text("page 3"));
        // Only HTTP sees the outer application.
        assert_eq!(client.ask(&get("/theirs")).await.status, 404);
        assert_eq!(client.ask(&get("/ours/open")).await.status, 404);
    }
    let over_http = http(address, &get("/ours/open")).await;
    assert_eq!(over_http.body, Body::text("open"));
    assert_eq!(http(address, &get("/theirs")).await.body, Body::text("theirs"));
    serving.abort();
}

#[tokio::test]
async fn an_application_has_namespaces_of_its_own() {
    let app = App::new(()).mount(routes![open]).socketio(|io| {
        io.ns("/metrics", async |socket: SocketRef| {
            socket.on("double", async |socket: SocketRef, Data(number): Data<i64>| {
                let _ = socket.emit("doubled", &(number * 2));
            });
            let _ = socket.emit("ready", "now");
        });
    });
    let server = Server::start(app).await;
    let mut client = Client::connect(&server).await;
    client.send("40/metrics,").await;
    assert!(matches!(client.next().await, Packet::Other(text) if text.starts_with("40/metrics,")));
    assert_eq!(client.next().await, Packet::Event(r#"/metrics,["ready","now"]"#.into()));
    client.send(r#"42/metrics,["double",21]"#).await;
    assert_eq!(client.next().await, Packet::Event(r#"/metrics,["doubled",42]"#.into()));
    assert_eq!(client.ask(&get("/open")).await.body, Body::text("open"));
}
