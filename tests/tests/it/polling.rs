//! Long-polling sessions: who may send a request of one, and how much of the server they take.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Json,
    http::{HeaderMap, header},
};
use catamaran::{App, Ctx, Hub, RawChannel, Result, Socket, TransportType, action, routes};
use serde_json::{Value, json};
use socketioxide::extract::SocketRef;

use crate::support::{Answer, Ask, Body, Client, Eio, Server, get, http, until, within};

fn room() -> RawChannel {
    RawChannel::new("room")
}

#[action(get "/join")]
async fn join(ctx: Ctx<Socket>) -> Result {
    ctx.subscribe(&room()).await?;
    Ok(())
}

#[action(get "/members")]
async fn members(hub: Hub) -> Result<Json<Vec<String>>> {
    Ok(Json(hub.members(&room()).await?))
}

/// The caller, as an application knows it by its cookie.
#[action(get "/who")]
async fn who(headers: HeaderMap) -> String {
    headers.get(header::COOKIE).map_or("nobody", |cookie| cookie.to_str().expect("text")).to_owned()
}

/// All that an application can read of a socket.
#[action(get "/seen")]
async fn seen(ctx: Ctx<Socket>, headers: HeaderMap) -> String {
    let socket = ctx.socket();
    let handshake = socket.handshake();
    format!("{} {:?} {:?} {:?} {handshake:?} {headers:?}", socket.id(), handshake.uri, handshake.headers, ctx)
}

#[action(post "/log-in")]
async fn log_in() -> [(header::HeaderName, &'static str); 1] {
    [(header::SET_COOKIE, "user=1")]
}

fn app() -> App<()> {
    App::new(())
        .mount(routes![join, members, who, seen, log_in])
        .transports([TransportType::Websocket, TransportType::Polling])
}

/// The head of a request, in front of its URL's session.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// Both versions of Engine.IO.
const VERSIONS: [Eio; 2] = [Eio::V3, Eio::V4];

fn with(ask: Ask, headers: Headers<'_>) -> Ask {
    headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value))
}

fn url(eio: Eio, transport: &str) -> String {
    format!("/socket.io/?EIO={}&transport={transport}", if eio == Eio::V3 { 3 } else { 4 })
}

fn post(url: &str, eio: Eio, packet: &str) -> Ask {
    let length = if eio == Eio::V3 { format!("{}:", packet.chars().count()) } else { String::new() };
    Ask::new("post", url).header("content-type", "text/plain").data(format!("{length}{packet}"))
}

fn upgrade(url: &str) -> Ask {
    with(
        get(url),
        &[
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
    )
}

fn text(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_str().expect("text").to_owned()
}

/// A client that connected by long-polling.
struct Polling<'a> {
    server: &'a Server,
    eio: Eio,
    /// What its URLs have as `sid`.
    secret: String,
    /// What the answer to the handshake set, as `name=value`.
    key: Option<String>,
    headers: Vec<(&'a str, &'a str)>,
    last_id: u32,
}

impl<'a> Polling<'a> {
    async fn connect(server: &'a Server, eio: Eio, headers: Headers<'a>) -> Self {
        let answer = server.http(&with(get(url(eio, "polling")), headers)).await;
        let packet = text(&answer);
        let (length, packet) = packet.split_at(packet.find("0{").expect("an open packet"));
        if eio == Eio::V3 {
            assert_eq!(length, format!("{}:", packet.chars().count()));
        }
        let open: Value = serde_json::from_str(&packet[1..]).expect("JSON");
        let secret = open["sid"].as_str().expect("an id").to_owned();
        let key = answer.set_cookies.first().map(|set| set.split(';').next().expect("a cookie").to_owned());
        let mut client = Self { server, eio, secret, key, headers: headers.to_vec(), last_id: 0 };
        if eio == Eio::V4 {
            assert_eq!(client.post("40", headers).await.status, 200);
        }
        while !client.poll().await.contains("40") {}
        client
    }

    fn url(&self, transport: &str) -> String {
        format!("{}&sid={}", url(self.eio, transport), self.secret)
    }

    async fn post(&self, packet: &str, headers: Headers<'_>) -> Answer {
        self.server.http(&with(post(&self.url("polling"), self.eio, packet), headers)).await
    }

    async fn poll(&mut self) -> String {
        text(&self.server.http(&with(get(self.url("polling")), &self.headers)).await)
    }

    /// Sends a request over the socket, and returns the packets with its ack.
    async fn ask(&mut self, method: &str, target: &str) -> String {
        self.last_id += 1;
        let packet = format!(r#"42{}["{method}",{{"url":"{target}"}}]"#, self.last_id);
        let headers = self.headers.clone();
        assert_eq!(self.post(&packet, &headers).await.status, 200);
        let ack = format!("43{}[", self.last_id);
        within("the ack", async {
            loop {
                let packets = self.poll().await;
                if packets.contains(&ack) {
                    break packets;
                }
            }
        })
        .await
    }

    /// Each request that can be sent with some id in the place of the session's.
    fn attempts(&self, id: &str) -> Vec<Ask> {
        let polling = format!("{}&sid={id}", url(self.eio, "polling"));
        vec![
            post(&polling, self.eio, r#"4299["get",{"url":"/who"}]"#),
            post(&polling, self.eio, "1"),
            get(&polling),
            upgrade(&format!("{}&sid={id}", url(self.eio, "websocket"))),
        ]
    }
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    let body = answer.json();
    assert_eq!((answer.status, body["code"].as_str()), (status, Some(code)), "{answer:?}");
}

#[tokio::test]
async fn the_public_id_is_no_credential() {
    let server = Server::start(app()).await;
    for eio in VERSIONS {
        let cookie: Headers<'_> = &[("cookie", "user=1")];
        let mut victim = Polling::connect(&server, eio, cookie).await;
        assert!(victim.ask("get", "/join").await.contains(r#""statusCode":200"#));
        let known: Vec<String> = serde_json::from_value(server.http(&get("/members")).await.json()).unwrap();
        let [public] = &*known else { panic!("{known:?}") };
        assert_ne!(*public, victim.secret);
        for headers in [&[], cookie] {
            for ask in victim.attempts(public) {
                assert_refused(&server.http(&with(ask, headers)).await, 400, "1");
            }
        }
        assert!(victim.ask("get", "/who").await.contains(r#""body":"user=1""#));
        victim.post("1", cookie).await;
        until("its end", || server.io.sockets().is_empty()).await;
    }
}

#[tokio::test]
async fn the_id_of_a_websocket_is_no_session() {
    for app in [app(), app().transports([TransportType::Websocket])] {
        let server = Server::start(app).await;
        for eio in VERSIONS {
            let mut client = Client::with(&server, eio, &[]).await;
            client.ask(&get("/join")).await;
            let id = server.io.sockets()[0].id.to_string();
            let polling = format!("{}&sid={id}", url(eio, "polling"));
            for ask in
                [get(&polling), post(&polling, eio, "1"), upgrade(&format!("{}&sid={id}", url(eio, "websocket")))]
            {
                assert_eq!(server.http(&ask).await.status, 400, "{ask:?}");
            }
            assert_eq!(client.ask(&get("/who")).await.status, 200);
            client.drop_connection();
            until("its end", || server.io.sockets().is_empty()).await;
        }
    }
}

/// All that the socket and its page say in the open is tried as a session's id.
#[tokio::test]
async fn nothing_that_an_application_sees_is_a_credential() {
    let server = Server::start(app().socketio(|io| {
        io.ns("/own", async |socket: SocketRef| {
            let _ = socket.emit("seen", &format!("{} {:?}", socket.id, socket.req_parts()));
        });
    }))
    .await;
    for eio in VERSIONS {
        let first = Polling::connect(&server, eio, &[("cookie", "user=1")]).await;
        let key = first.key.clone().expect("a cookie");
        // As the browser comes back: the key is sent with the handshake.
        let cookie = format!("user=1; {key}; theme=dark");
        let cookies = [("cookie", &*cookie)];
        let mut victim = Polling::connect(&server, eio, &cookies).await;
        let mut seen = victim.ask("get", "/seen").await;
        assert!(seen.contains("user=1; theme=dark"), "{seen}");
        seen += &victim.ask("get", "/who").await;
        victim.post("40/own,", &cookies).await;
        while !seen.contains(r#""seen""#) {
            seen += &victim.poll().await;
        }
        // A websocket of the same browser.
        let mut socket = Client::with(&server, eio, &cookies).await;
        seen += &format!("{:?}", socket.ask(&get("/seen")).await);

        assert!(!seen.contains(&victim.secret) && !seen.contains(&first.secret), "{seen}");
        assert!(!seen.contains(key.split('=').next_back().expect("a value")), "{seen}");
        let words: BTreeSet<_> = seen.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').collect();
        for word in words {
            let polling = format!("{}&sid={word}", url(eio, "polling"));
            assert_eq!(server.http(&with(get(polling), &cookies)).await.status, 400, "{word}");
        }
    }
}

#[tokio::test]
async fn a_session_id_alone_is_refused() {
    let server = Server::start(app()).await;
    let own = ("origin", format!("http://{}", server.address));
    let origin = [("origin", &*own.1), ("cookie", "user=1")];
    for eio in VERSIONS {
        for (credentials, others) in [
            (&[("cookie", "user=1")] as Headers<'_>, [&[] as Headers<'_>, &[("cookie", "user=2")]]),
            (&[("cookie", "user=1; theme=dark")], [&[], &[("cookie", "theme=dark")]]),
            (&[("authorization", "Bearer a")], [&[], &[("authorization", "Bearer b")]]),
            (&[("x-forwarded-user", "ada")], [&[], &[("x-forwarded-user", "eve")]]),
            (&origin, [&origin[..1], &[("cookie", "user=1"), ("origin", "http://evil.example")]]),
        ] {
            let mut victim = Polling::connect(&server, eio, credentials).await;
            for other in others {
                for ask in victim.attempts(&victim.secret) {
                    let answer = server.http(&with(ask, other)).await;
                    let code = answer.json()["code"].as_str().map(str::to_owned);
                    let expected = ["session_refused", "origin_refused"].map(|code| Some(code.to_owned()));
                    assert!(answer.status == 403 && expected.contains(&code), "{other:?}: {answer:?}");
                }
            }
            assert!(victim.ask("get", "/who").await.contains(r#""statusCode":200"#), "{credentials:?}");
        }
    }
    let victim = Polling::connect(&server, Eio::V4, &[("cookie", "user=1")]).await;
    let refused = victim.post("1", &[]).await;
    assert_eq!(refused.message(), "the cookies lack those of the handshake of this session: connect again");
}

/// A login over HTTP renews the cookie of a page while it polls. A websocket would go on, as the visitor that it was.
#[tokio::test]
async fn a_browser_keeps_its_session_when_cookies_change() {
    let server = Server::start(app()).await;
    for eio in VERSIONS {
        let mut page = Polling::connect(&server, eio, &[("cookie", "session=visitor")]).await;
        let key = page.key.clone().expect("a cookie");
        let cookie = format!("session=renewed; {key}");
        page.headers = vec![("cookie", &*cookie)];
        assert!(page.ask("get", "/who").await.contains(r#""body":"session=visitor""#));
        // The key takes the place of the cookies: from now on each request needs it.
        let refused = page.post("1", &[("cookie", "session=visitor")]).await;
        assert_refused(&refused, 403, "session_refused");
        // Its next session is bound to the same key from the start.
        let cookies = [("cookie", &*cookie)];
        let mut next = Polling::connect(&server, eio, &cookies).await;
        assert_eq!(next.key, None);
        assert!(next.ask("get", "/who").await.contains(r#""body":"session=renewed""#));
        assert_refused(&next.post("1", &[("cookie", "session=renewed")]).await, 403, "session_refused");
    }
}

/// A client without cookies, as Node is, that sends the same head each time, and one whose cookie came later.
#[tokio::test]
async fn a_client_without_a_key_repeats_its_cookies() {
    let server = Server::start(app()).await;
    let mut client = Polling::connect(&server, Eio::V4, &[("cookie", "user=1; theme=dark")]).await;
    client.headers = vec![("cookie", "theme=dark; user=1; more=1")];
    assert!(client.ask("get", "/who").await.contains("user=1"));
    let mut visitor = Polling::connect(&server, Eio::V4, &[]).await;
    assert!(visitor.ask("post", "/log-in").await.contains(r#""statusCode":200"#));
    assert!(visitor.ask("get", "/who").await.contains(r#""body":"user=1""#));
}

#[tokio::test]
async fn an_upgrade_goes_by_the_secret() {
    let server = Server::start(app()).await;
    let mut page = Polling::connect(&server, Eio::V4, &[]).await;
    page.ask("get", "/join").await;
    let public = server.io.sockets()[0].id.to_string();
    let mut client = Client::upgrade(server.address, &page.secret).await;
    assert_eq!(client.ask(&get("/who")).await.body, Body::text("nobody"));
    let known = server.http(&get("/members")).await.json();
    assert_eq!(known, json!([public]));
    for id in [&public, &page.secret] {
        for ask in &page.attempts(id)[..3] {
            assert_eq!(server.http(ask).await.status, 400, "{ask:?}");
        }
    }
    assert_eq!(client.ask(&get("/who")).await.status, 200);
}

/// The id in a URL is read as Engine.IO reads it, so that none of these is a way around.
#[tokio::test]
async fn odd_queries_open_no_session_unseen() {
    let server = Server::start(app().max_connections(2)).await;
    let victim = Polling::connect(&server, Eio::V4, &[("cookie", "user=1")]).await;
    let public = server.io.sockets()[0].id.to_string();
    for (query, status) in [
        (format!("EIO=4&transport=polling&sid={public}"), 400),
        (format!("EIO=4&transport=polling&sid=&sid={public}"), 400),
        (format!("EIO=4&transport=polling&sid={public}&sid={}", victim.secret), 400),
        (format!("EIO=4&transport=polling&sid={}&sid={public}", victim.secret), 403),
        (format!("sid={public}&EIO=4=5&transport=polling=x"), 400),
        (format!("EIO=4&transport=polling&sid={}%00", victim.secret), 400),
        ("EIO=4&transport=polling=x".into(), 200),
    ] {
        let answer = server.http(&get(format!("/socket.io/?{query}"))).await;
        assert_eq!(answer.status, status, "{query}: {answer:?}");
    }
    // The last one has opened a session that is counted.
    within("the refusal", async {
        while server.http(&get("/socket.io/?EIO=4&transport=polling=y")).await.status != 503 {}
    })
    .await;
}

/// Opens sessions. Where a connection that is about to end takes the place, it is tried again.
async fn open(server: &Server, sessions: usize, headers: Headers<'_>) -> Vec<String> {
    let mut opened = Vec::new();
    let ask = with(get("/socket.io/?EIO=4&transport=polling"), headers);
    within("the sessions", async {
        while opened.len() < sessions {
            let answer = http(server.address, &ask).await;
            match answer.status {
                200 => opened.push(text(&answer).split('"').nth(3).expect("an id").to_owned()),
                status => assert_eq!(status, 503),
            }
        }
    })
    .await;
    opened
}

async fn assert_full(server: &Server, headers: Headers<'_>) {
    for _ in 0..10 {
        let refused = http(server.address, &with(get("/socket.io/?EIO=4&transport=polling"), headers)).await;
        assert_refused(&refused, 503, "too_many_connections");
        assert_eq!(refused.headers["retry-after"], "5");
    }
}

/// Opens sessions until the server takes no more.
async fn fill(server: &Server, sessions: usize, headers: Headers<'_>) -> Vec<String> {
    let opened = open(server, sessions, headers).await;
    assert_full(server, headers).await;
    opened
}

#[tokio::test]
async fn polling_sessions_count_as_connections() {
    let (address, other) = (("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2"));
    let by_address = app().trusted_proxies(["127.0.0.1"]).max_connections_per_address(5);
    for (app, headers) in [
        (app().max_connections(5), &[] as Headers<'_>),
        (app().max_connections_per_address(5), &[]),
        (by_address, &[address]),
    ] {
        let server = Server::start(app).await;
        let opened = fill(&server, 5, headers).await;
        if !headers.is_empty() {
            assert_eq!(server.http(&with(get(url(Eio::V4, "polling")), &[other])).await.status, 200);
        }
        // Those that are there go on, between their polls too.
        for secret in &opened {
            let session = format!("/socket.io/?EIO=4&transport=polling&sid={secret}");
            assert_eq!(server.http(&with(post(&session, Eio::V4, "40"), headers)).await.status, 200);
            while !text(&server.http(&with(get(&session), headers)).await).contains("40") {}
        }
        assert_eq!(server.http(&get("/who")).await.status, 200);
        // The place of each is free again when it has ended.
        let first = format!("/socket.io/?EIO=4&transport=polling&sid={}", opened[0]);
        assert_eq!(server.http(&with(post(&first, Eio::V4, "1"), headers)).await.status, 200);
        fill(&server, 1, headers).await;
    }
}

#[tokio::test]
async fn a_websocket_beside_too_many_sessions_is_refused() {
    let server = Server::start(app().max_connections(3)).await;
    let opened = fill(&server, 3, &[]).await;
    let refused = server.http(&upgrade(&url(Eio::V4, "websocket"))).await;
    assert_refused(&refused, 503, "too_many_connections");
    // An upgrade brings its own place along, and leaves that of its session.
    let mut client = Client::upgrade(server.address, &opened[0]).await;
    client.enter().await;
    assert_eq!(client.ask(&get("/who")).await.status, 200);
    until("the place of its connection", || server.io.sockets().len() == 1).await;
    let mut second = Client::upgrade(server.address, &opened[1]).await;
    second.enter().await;
    assert_eq!(second.ask(&get("/who")).await.status, 200);
}

/// A request for an upgrade that comes to nothing would otherwise be a session that nobody counts.
#[tokio::test]
async fn an_upgrade_that_fails_frees_no_place() {
    let server = Server::start(app().max_connections(2)).await;
    let opened = fill(&server, 2, &[]).await;
    for secret in &opened {
        let url = format!("{}&sid={secret}", url(Eio::V4, "websocket"));
        assert_ne!(server.http(&get(&url)).await.status, 101);
    }
    fill(&server, 0, &[]).await;
}

#[tokio::test]
async fn a_session_that_polls_no_more_gives_its_place_back() {
    let app = app().max_connections(2).heartbeat(Duration::from_millis(200), Duration::from_millis(200));
    let server = Server::start(app).await;
    for secret in open(&server, 2, &[]).await {
        server.http(&post(&format!("{}&sid={secret}", url(Eio::V4, "polling")), Eio::V4, "40")).await;
    }
    open(&server, 2, &[]).await;
}

#[tokio::test]
async fn the_head_of_a_handshake_has_a_limit() {
    let own = app().max_handshake_bytes(4 * 1024);
    for (app, limit) in [(app(), 16 * 1024), (own, 4 * 1024)] {
        let server = Server::start(app).await;
        for ask in [upgrade(&url(Eio::V4, "websocket")), get(url(Eio::V4, "polling"))] {
            let open = if ask.headers.is_empty() { 200 } else { 101 };
            let half = "x".repeat(limit / 2);
            for fat in [
                ask.clone().header("x-fat", &half).header("cookie", &half),
                Ask { url: format!("{}&fat={half}", ask.url), ..ask.clone() }.header("x-fat", &half),
            ] {
                assert_refused(&server.http(&fat).await, 431, "handshake_too_large");
            }
            let fits = "x".repeat(limit - 1000);
            assert_eq!(server.http(&ask.header("x-fat", &fits)).await.status, open);
        }
        // A route without a handshake keeps nothing.
        assert_eq!(server.http(&get("/who").header("x-fat", &"x".repeat(limit))).await.status, 200);
    }
}

#[tokio::test]
async fn the_head_of_a_request_has_a_limit() {
    let server = Server::start(app()).await;
    let fits = get("/who").header("x-fat", &"x".repeat(60 * 1024));
    assert_eq!(server.http(&fits).await.status, 200);
    let too_large = get("/who").header("x-fat", &"x".repeat(64 * 1024));
    assert_eq!(server.http(&too_large).await.status, 431);
    let headers = |count: usize| (0..count).fold(get("/who"), |ask, n| ask.header(&format!("x-{n}"), "1"));
    assert_eq!(server.http(&headers(90)).await.status, 200);
    assert_eq!(server.http(&headers(100)).await.status, 431);
}

#[tokio::test]
async fn polling_that_is_off_has_no_sessions() {
    let server = Server::start(app().transports([TransportType::Websocket])).await;
    assert_eq!(server.http(&get(url(Eio::V4, "polling"))).await.status, 400);
    let mut client = Client::connect(&server).await;
    assert_eq!(client.ask(&get("/join")).await.status, 200);
}
