//! What clients and actions say in confidence stands in no log, and what a client says cannot forge one.
//!
//! A process of its own, since there is one log a process.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as StdError,
    fmt,
    sync::{Arc, Mutex, MutexGuard, Once},
    time::Duration,
};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{Request, StatusCode},
    response::IntoResponse,
};
use catamaran::{
    App, Ctx, Error, Hub, Params, Publish, RawChannel, RawEvent, Result, Socket, TransportType, action, controller,
    routes, test::TestSocket,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use support::{Ask, Body, Client, Eio, Packet, Server, get, log::TELLTALES, post, until};

// This test needs some of it.
#[allow(dead_code)]
#[path = "it/support.rs"]
mod support;

/// What every secret begins with; the rest says whose it is.
const CANARY: &str = "canary-";

/// The target and the text of each record.
static LOG: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

fn log() -> MutexGuard<'static, Vec<(String, String)>> {
    LOG.lock().unwrap()
}

/// Hears everything, from the first test on.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| support::log::listen(|target, text| log().push((target.to_owned(), text.to_owned()))));
}

/// What was logged, but for what is to be switched off.
fn heard() -> Vec<String> {
    let of_telltale = |target: &str| TELLTALES.iter().any(|telltale| target.starts_with(telltale));
    log().iter().filter(|(target, _)| !of_telltale(target)).map(|(target, text)| format!("{target}: {text}")).collect()
}

#[derive(Deserialize)]
pub(crate) struct Typed {
    #[allow(dead_code)]
    count: u8,
}

fn room() -> RawChannel {
    RawChannel::new("canary-channel")
}

fn said() -> RawEvent {
    RawEvent::new("said", &"canary-event").unwrap()
}

/// A failure of the inside, which is logged for its developer and never sent.
#[derive(Debug)]
struct Inside(String);

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Inside {}

#[controller("/vault")]
mod vault {
    use super::*;

    #[action(post "/typed")]
    pub(crate) async fn typed(_: Json<Typed>) {}

    #[action(post "/params")]
    pub(crate) async fn params(_: Params<Typed>) {}

    #[action(post "/echo")]
    pub(crate) async fn echo(Json(value): Json<Value>) -> Json<Value> {
        Json(value)
    }

    #[action(get "/by/{id}")]
    pub(crate) async fn by(id: u32) -> String {
        id.to_string()
    }

    #[action(get "/path/{text}")]
    pub(crate) async fn path(_: Path<u32>) {}

    #[action(get "/find")]
    pub(crate) async fn find(_: Query<BTreeMap<String, bool>>) {}

    #[action(post "/login")]
    pub(crate) async fn log_in() -> impl IntoResponse {
        (
            [("set-cookie", "session=canary-set-cookie; HttpOnly"), ("x-token", "canary-answered-header")],
            "canary-answer",
        )
    }

    #[action(get "/refused")]
    pub(crate) async fn refused() -> Result {
        Err(Error::new(StatusCode::CONFLICT, "canary-message"))
    }

    #[action(get "/panic")]
    pub(crate) async fn panic() {
        panic!("canary-panic")
    }

    #[action(get "/late")]
    pub(crate) async fn late() {
        std::future::pending().await
    }

    #[action(get "/watch")]
    pub(crate) async fn watch(ctx: Ctx<Socket>) -> Result {
        ctx.socket().tag("canary-tag")?;
        ctx.subscribe(&room()).await?;
        Ok(())
    }

    #[action(post "/say")]
    pub(crate) async fn say(hub: Hub) -> Result {
        hub.publish(&room(), said()).await?;
        hub.blast(&said()).await?;
        Ok(())
    }

    #[action(post "/close")]
    pub(crate) async fn close(hub: Hub) -> Result {
        hub.close_tagged("canary-tag", "canary-reason").await?;
        Ok(())
    }

    #[action(post "/named")]
    pub(crate) async fn named(hub: Hub, Json(name): Json<String>) -> Result {
        hub.publish(&room(), RawEvent::new(format!("${name}"), &())?).await?;
        Ok(())
    }

    #[action(post "/reason")]
    pub(crate) async fn reason(ctx: Ctx<Socket>, Json(reason): Json<String>) -> Result {
        ctx.socket().close(&reason);
        Ok(())
    }

    #[action(post "/inside")]
    pub(crate) async fn inside(Json(text): Json<String>) -> Result {
        Err(Error::from(Inside(text)))
    }
}

/// The ends that the hook of a disconnect has heard of.
type Ends = Arc<Mutex<usize>>;

fn app(ends: &Ends) -> App<Ends> {
    let counting = async |State(ends): State<Ends>, auth: String| {
        *ends.lock().unwrap() += 1;
        // As a hook's own extractor would refuse it, quoting what it read.
        (StatusCode::UNPROCESSABLE_ENTITY, auth)
    };
    App::new(ends.clone())
        .mount(routes![vault])
        .transports([TransportType::Websocket, TransportType::Polling])
        .max_request_bytes(10_000)
        .timeout(Duration::from_millis(50))
        .on_connect(async |Query(query): Query<BTreeMap<String, String>>| {
            match query.get("token").map(String::as_str) {
                Some("canary-refused-token") => Err(Error::new(StatusCode::UNAUTHORIZED, "canary-refusal")),
                _ => Ok(()),
            }
        })
        .on_disconnect(counting)
}

/// Requests with a secret wherever a client can put one.
fn asks() -> Vec<Ask> {
    let secret = |place: &str| format!(r#"{{"count":"canary-{place}","canary-key":1}}"#);
    let asks = [
        post("/vault/echo", secret("body")),
        post("/vault/typed", secret("wrong-type")),
        post("/vault/params", secret("wrong-parameter")),
        post("/vault/typed", r#"["canary-wrong-shape"]"#),
        post("/vault/typed", secret("as-text")).header("content-type", "text/plain"),
        post("/vault/typed", format!(r#"{{"count":"canary-oversized{}"}}"#, "x".repeat(12_000))),
        post("/vault/typed", format!("{}\"canary-nested\"{}", "[".repeat(200), "]".repeat(200))),
        get("/vault/by/canary-path"),
        get("/vault/path/canary-path-of-axum"),
        get("/vault/path/canary-not-unicode%ff"),
        get("/vault/find?a=canary-query&canary-name=true"),
        get("/vault/find").data(r#"{"a":"canary-data-of-get"}"#),
        get("/canary-missing/x?token=canary-query-of-missing"),
        Ask::new("delete", "/vault/refused?canary-query-of-405").data(secret("body-of-405")),
        post("/vault/login?token=canary-query", secret("password")),
        get("/vault/refused"),
        get("/vault/panic"),
        get("/vault/late?token=canary-query-of-late"),
        get("/vault/watch?token=canary-query-of-watch"),
        post("/vault/say", secret("said")),
    ];
    let tokens = |ask: Ask| ask.header("authorization", "Bearer canary-token").header("x-api-key", "canary-api-key");
    asks.into_iter().map(tokens).collect()
}

/// Packets that are no requests, or no packets.
const MALFORMED: [&str; 13] = [
    r#"42901["get","canary-no-object"]"#,
    r#"42902["get",{"url":"canary-no-path"}]"#,
    r#"42903["get",{"url":7,"data":"canary-beside"}]"#,
    r#"42904["get",{"url":"/a","headers":{"canary-bad name":"canary-bad-value\n"}}]"#,
    r#"42905["get",{"url":"/a","headers":["canary-headers"]}]"#,
    r#"42906["get",{"url":"/a","data":{},"params":{"canary-both":1}}]"#,
    r#"42907["get",{"url":"/a"},"canary-argument"]"#,
    r#"42["post",{"url":"canary-told"}]"#,
    r#"42908["canary-event",{"password":"canary-of-unknown-event"}]"#,
    r#"4291["canary-of-unknown-ack"]"#,
    r#"40/canary-namespace,{"token":"canary-payload"}"#,
    r#"42["post",{"url":"/vault/echo","data":"canary-unfinished"#,
    // What is no packet ends the connection.
    "4canary-of-no-type",
];

const HANDSHAKE: [(&str, &str); 3] =
    [("cookie", "session=canary-cookie"), ("authorization", "Bearer canary-token"), ("x-api-key", "canary-api-key")];

/// All of it over a websocket.
async fn over_websocket(server: &Server, eio: Eio) {
    let query = "token=canary-query-of-handshake";
    let mut client = Client::open_with_query(server.address, "/socket.io", query, eio, &HANDSHAKE).await;
    if eio == Eio::V4 {
        let name = "canary-name-of-the-client";
        client.send(format!(r#"40{{"password":"canary-auth","catamaran":{{"client":"{name}"}}}}"#)).await;
    }
    assert!(matches!(client.receive().await, Packet::Other(connected) if connected.starts_with("40")));
    for ask in asks() {
        client.ask(&ask).await;
    }
    for packet in MALFORMED {
        client.send(packet).await;
    }
    while client.receive().await != Packet::Closed {}

    // Refused, in words and by the parser, and sent away.
    let query = "token=canary-refused-token";
    let mut refused = Client::open_with_query(server.address, "/socket.io", query, eio, &HANDSHAKE).await;
    if eio == Eio::V4 {
        refused.send(r#"40{"password":"canary-auth-of-refused"}"#).await;
    }
    assert!(matches!(refused.receive().await, Packet::Other(refused) if refused.contains("canary-refusal")));
    let mut broken = Client::open(server.address, "/socket.io", eio, &HANDSHAKE).await;
    broken.try_send(Message::text(r#"40{"password":"canary-broken-payload"#)).await;
    broken.try_send(Message::binary(b"canary-bytes".to_vec())).await;
    let mut large = Client::open(server.address, "/socket.io", eio, &HANDSHAKE).await;
    large.try_send(Message::text(format!("40{{\"password\":\"canary-large{}\"}}", "x".repeat(200_000)))).await;
    while large.receive().await != Packet::Closed {}
    let mut sent_away = Client::with(server, eio, &HANDSHAKE).await;
    sent_away.ask(&get("/vault/watch")).await;
    server.http(&Ask::new("post", "/vault/close")).await;
    while !matches!(sent_away.receive().await, Packet::Closed | Packet::Other(_)) {}
}

/// Some of it over long-polling. Returns what nobody else may know: the id of the session, and the key of its client.
async fn over_polling(server: &Server) -> [String; 2] {
    let with = |ask: Ask| HANDSHAKE.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
    let base = "/socket.io/?EIO=4&transport=polling&token=canary-query-of-poll";
    let opened = server.http(&with(get(base))).await;
    let key = opened.set_cookies[0].split(['=', ';']).nth(1).expect("a value").to_owned();
    let Body::Json(open) = opened.body else { panic!("no open packet") };
    let sid = open.split("\\\"").nth(3).expect("an id").to_owned();
    let url = format!("{base}&sid={sid}");
    let packets = [r#"40{"password":"canary-auth"}"#.to_owned()]
        .into_iter()
        .chain(asks().into_iter().map(|ask| format!("429{}", ask.event())))
        .chain(MALFORMED.map(str::to_owned));
    for packet in packets {
        let send = with(Ask::new("post", &url)).header("content-type", "text/plain").data(packet.clone());
        server.http(&send).await;
        if packet.starts_with("429") || packet.starts_with("40{") {
            server.http(&with(get(&url))).await;
        }
    }
    for odd in ["sid=canary-unknown-session", "sid=canary%00%ff", "EIO=canary-version", "transport=canary-transport"] {
        server.http(&with(get(format!("/socket.io/?EIO=4&transport=polling&{odd}")))).await;
    }
    // Refused: without its credentials, and under a name that is no session's.
    server.http(&get(&url)).await;
    server.http(&get(&url).header("cookie", "session=canary-other-cookie")).await;
    server.http(&with(get(format!("{base}&sid=canary&sid={sid}")))).await;
    let large = with(Ask::new("post", &url)).data(format!("canary-large-poll{}", "x".repeat(200_000)));
    server.http(&large).await;
    // Its client shows the key, and from then on needs it.
    let open = server.http(&with(get(base))).await.json();
    let url = format!("{base}&sid={}", open.as_str().expect("text").split('"').nth(3).expect("an id"));
    for headers in [vec![("cookie", format!("session=canary-cookie; catamaran_polling={key}"))], vec![]] {
        let ask = Ask { headers: Vec::new(), ..get(&url) }.header("authorization", "Bearer canary-token");
        server.http(&headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value))).await;
    }
    [sid, key]
}

#[tokio::test]
async fn what_is_said_in_confidence_is_not_logged() {
    listen();
    let ends = Ends::default();
    let server = Server::start(app(&ends)).await;
    for ask in asks() {
        let ask = HANDSHAKE.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
        server.http(&ask).await;
        server.http(&ask.header("origin", "http://evil.example")).await;
    }
    over_websocket(&server, Eio::V3).await;
    over_websocket(&server, Eio::V4).await;
    let secrets = over_polling(&server).await;
    // A hook that refuses to hear of an end is told of at ERROR.
    until("the ends", || *ends.lock().unwrap() >= 4).await;
    until("the hook's refusal", || heard().iter().any(|line| line.contains("a disconnect was not handled"))).await;

    let heard = heard();
    for of in ["catamaran", "tokio_tungstenite"] {
        assert!(heard.iter().any(|line| line.starts_with(of)), "{of} was not heard");
    }
    let told: Vec<_> = heard
        .iter()
        .filter(|line| line.contains(CANARY) || secrets.iter().any(|secret| line.contains(secret)))
        .collect();
    assert!(told.is_empty(), "{told:#?}");
    let telltales: BTreeSet<_> = log()
        .iter()
        .filter(|(_, text)| text.contains(CANARY))
        .filter_map(|(target, _)| TELLTALES.into_iter().find(|telltale| target.starts_with(telltale)))
        .collect();
    assert_eq!(telltales, BTreeSet::from(TELLTALES), "the warning in docs/security.md is out of date");
}

#[tokio::test]
async fn a_source_is_logged_in_one_line_and_never_sent() {
    listen();
    let server = Server::start(app(&Ends::default())).await;
    let mut client = Client::connect(&server).await;
    let forged = "a cause\r\n2026-01-01 INFO \u{1b}[2Jforged\u{9b}0m";
    let ask = post("/vault/inside", json!(forged).to_string());
    for answer in [server.http(&ask).await, client.ask(&ask).await] {
        assert_eq!((answer.status, answer.json()), (500, json!({"message": "Internal Server Error"})));
    }
    let lines = heard();
    let logged: Vec<_> = lines.iter().filter(|line| line.contains("a cause")).collect();
    assert_eq!(logged.len(), 2);
    assert!(logged[0].contains(r"500 Internal Server Error, caused by: a cause\r\n2026"), "{logged:?}");
}

/// Wherever a client can put them: in an origin, a host, a URL, a header, a path of long-polling, a reason.
#[tokio::test]
async fn control_characters_of_a_client_are_not_logged_raw() {
    listen();
    let server = Server::start(app(&Ends::default())).await;
    let poll = get("/socket.io/?EIO=4&transport=polling");
    for value in ["http://evil\tforged", "http://evil\u{9b}0m", "http://evil\u{202e}"] {
        for name in ["origin", "host", "x-own", "cookie", "sec-fetch-site"] {
            server.http(&poll.clone().header("origin", "http://evil.example").header(name, value)).await;
        }
    }
    server.http(&poll.header("origin", &format!("http://{}", "forged".repeat(1000)))).await;
    let mut client = Client::connect(&server).await;
    for text in ["\r\nforged", "\u{1b}[2J", "\u{9b}0m", "\0", "\u{7f}"] {
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for url in [format!("/vault/by/{escaped}"), format!("/vault/path/{escaped}"), format!("/{escaped}?{escaped}")] {
            server.http(&get(&url)).await;
            client.ask(&get(&url)).await;
        }
        client.ask(&get(format!("/vault/by/{text}"))).await;
        client.ask(&get("/vault/refused").header("x-own", text)).await;
        client.ask(&get("/vault/refused").header(text, "1")).await;
        client.ask(&post("/vault/inside", json!(text).to_string())).await;
        client.ask(&post("/vault/typed", json!({ "count": text }).to_string())).await;
        client.tell(&get(text)).await;
        // An event whose name has escapes is dropped.
        let mut odd = Client::connect(&server).await;
        odd.send(format!("42{}", json!([text, {}]))).await;
        odd.try_send(Message::text("1")).await;
        while odd.receive().await != Packet::Closed {}
    }
    let raw: Vec<_> = heard().into_iter().filter(|line| line.contains(char::is_control)).collect();
    assert!(raw.is_empty(), "{raw:?}");
    let long: Vec<_> = heard().into_iter().filter(|line| line.matches("forged").count() > 100).collect();
    assert!(long.is_empty(), "{long:?}");
}

#[tokio::test]
async fn dropped_header_is_logged_once_with_the_line_to_add() {
    listen();
    let server = Server::start(app(&Ends::default())).await;
    let mut client = Client::connect(&server).await;
    let long = format!("x-dropped-{}", "y".repeat(5000));
    for _ in 0..3 {
        let ask = get("/vault/refused").header("X-Dropped-Tenant", "canary-dropped").header(&long, "1");
        client.ask(&ask.header("x-forwarded-dropped", "1")).await;
    }
    let lines: Vec<_> =
        heard().into_iter().filter(|line| line.contains("dropped-") || line.contains("-dropped")).collect();
    let about = |text: &str| lines.iter().filter(|line| line.contains(text)).cloned().collect::<Vec<_>>();
    let tenant = about("x-dropped-tenant");
    assert!(tenant.len() == 1 && tenant[0].contains(r#"`.packet_headers(["x-dropped-tenant"])`"#), "{lines:#?}");
    assert_eq!(about("x-dropped-yyy").len(), 1, "{lines:#?}");
    assert!(lines.iter().all(|line| line.len() < 400), "{lines:#?}");
    let identity = about("x-forwarded-dropped");
    assert!(identity.len() == 1 && identity[0].contains("only the handshake"), "{lines:#?}");
}

#[tokio::test]
async fn sockets_that_come_and_go_are_logged() {
    listen();
    let server = Server::start(app(&Ends::default()).max_messages_per_second(1).timeout(Duration::from_secs(5))).await;
    let origin = format!("http://{}", server.address);
    let about = |what: &str| {
        heard().into_iter().filter(|line| line.contains(what) && line.contains(&*origin)).collect::<Vec<_>>()
    };
    let mut client = Client::with(&server, Eio::V4, &[("origin", &origin)]).await;
    until("the connect", || about("socket connected").len() == 1).await;
    for _ in 0..30 {
        client.tell(&get("/vault/refused")).await;
    }
    until("the rate", || heard().iter().any(|line| line.contains("more requests a second than it may"))).await;
    client.drop_connection();
    until("the end", || about("socket disconnected").len() == 1).await;
    let headers: [(&str, &str); 1] = [("origin", &origin)];
    let query = "token=canary-refused-token";
    let mut refused = Client::open_with_query(server.address, "/socket.io", query, Eio::V4, &headers).await;
    refused.send("40").await;
    until("the refusal", || about("socket refused").len() == 1).await;
    for line in ["socket connected", "socket disconnected", "socket refused"].map(about).concat() {
        assert!(line.contains("client=127.0.0.1"), "{line}");
    }
}

/// The longest line that a client can cause, in bytes: an error of 1,000 characters and its fields.
const MAX_LINE: usize = 1500;

/// Wherever a client can put them, over every way in.
#[tokio::test]
async fn long_values_are_logged_short() {
    listen();
    let server = Server::start(app(&Ends::default()).max_request_bytes(1024 * 1024)).await;
    let long = "long".repeat(15_000);
    for path in
        ["/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=3&transport=websocket", "/vault/refused", "/nowhere"]
    {
        let names = [
            "host",
            "origin",
            "referer",
            "sec-fetch-site",
            "cookie",
            "x-own",
            "x-forwarded-for",
            "user-agent",
            "accept",
        ];
        for name in names {
            server.http(&get(path).header(name, &long)).await;
            let strange = get(path).header("origin", "http://evil.example");
            server.http(&if name == "origin" { strange } else { strange.header(name, &long) }).await;
        }
        server.http(&get(path).header(&format!("x-{long}"), "1")).await;
        server.http(&get(format!("{path}{}{long}", if path.contains('?') { '&' } else { '?' }))).await;
        let request = Request::builder().method(&*long.to_uppercase()).uri(path).header("host", "app.example");
        server.send(request.body(axum::body::Body::empty()).unwrap()).await;
    }
    for name in ["sid", "EIO", "transport", "t", "b64"] {
        server.http(&get(format!("/socket.io/?EIO=4&transport=polling&{name}={long}"))).await;
    }
    let quoted = json!(long).to_string();
    let asks = [
        get(format!("/{long}")),
        get(&long),
        get("/vault/find").data(json!({ &*long: &*long }).to_string()),
        get(format!("/vault/path/{long}")),
        get("/vault/refused").header("x-own", &long[..8000]),
        get("/vault/refused").header(&long[..8000], "1"),
        get("/vault/refused").header(&long, "1"),
        post("/vault/inside", &quoted),
        post("/vault/named", &quoted),
        post("/vault/typed", json!({ "count": long }).to_string()),
        post("/vault/params", json!({ "count": long }).to_string()),
        post("/vault/typed", json!({ &*long: 1 }).to_string()),
    ];
    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::with(&server, eio, &[("x-own", &long[..6000]), ("cookie", &long[..6000])]).await;
        for ask in &asks {
            client.ask(ask).await;
            client.tell(ask).await;
        }
        for packet in [
            format!(r#"42901["get",{{"url":"/a","{long}":{quoted},"resume":{{{quoted}:["{long}",1]}}}}]"#),
            format!(r#"42902["get",{{"url":"/a","headers":{{"{}":{{}}}}}}]"#, &long[..8000]),
            format!(r#"42903["get",{quoted}]"#),
            format!(r#"42904["{long}",{{"url":"/a"}}]"#),
            format!(r#"42905["post",{{"url":"/a\ud800{long}"}}]"#),
        ] {
            client.send(packet).await;
        }
        client.tell(&post("/vault/reason", &quoted)).await;
        while client.receive().await != Packet::Closed {
            if !client.try_send(Message::text("42[\"get\",{\"url\":\"/vault/refused\"}]")).await {
                break;
            }
        }
    }
    for payload in [quoted.clone(), json!({ "catamaran": { "client": long } }).to_string()] {
        let mut client = Client::open(server.address, "/socket.io", Eio::V4, &[]).await;
        client.send(format!("40{payload}")).await;
        client.receive().await;
        client.send(format!("40/{long},{payload}")).await;
        client.send(format!("43{}{payload}", &long[..100])).await;
        client.drop_connection();
    }
    let lines = heard();
    assert!(lines.iter().any(|line| line.contains("longlong")), "nothing of it is logged");
    let over: Vec<_> = lines.iter().filter(|line| line.len() > MAX_LINE).map(|line| &line[..200]).collect();
    assert!(over.is_empty(), "{over:#?}");
}

#[tokio::test]
async fn what_our_types_hold_is_not_in_their_debug_text() {
    let hub = Hub::default();
    let request = Request::get("/socket.io/?token=canary-query")
        .header("cookie", "session=canary-cookie")
        .header("authorization", "canary-token");
    let socket = TestSocket::with_handshake(&hub, request.body(()).unwrap());
    socket.ctx().subscribe(&room()).await.unwrap();
    hub.publish(&room(), said()).await.unwrap();
    let publish: Publish<'_, _> = hub.publish(&room(), said()).except(socket.socket());
    let inner: &Socket = socket.socket();
    let app = App::new("canary-state").mount(routes![hello]);
    let refused = Error::new(StatusCode::CONFLICT, "taken");
    for text in [
        format!("{hub:?}"),
        format!("{:?}", hub.blast(&said())),
        format!("{:?}", said()),
        format!("{socket:?} {inner:?} {:?}", socket.ctx()),
        format!("{app:?}"),
        format!("{refused:?}"),
        format!("{publish:?}").replace("canary-channel", ""),
    ] {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[action(get "/hello")]
async fn hello() {}
