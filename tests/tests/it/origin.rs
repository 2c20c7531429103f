//! Whose pages may open sockets: origins, over both Engine.IO transports, under each setting.

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    middleware::{Next, from_fn},
    response::Response,
};
use catamaran::{App, Origins, TransportType, action, routes};
use serde_json::Value;

use crate::support::{Answer, Ask, Body, Client, Eio, Embedded, Server, get, http};

#[action(get "/hello")]
async fn hello() -> &'static str {
    "hello"
}

/// The host that the tests ask for, whatever the port is.
const HOST: &str = "example.com:1337";
const OWN: &str = "http://example.com:1337";
const NAMED: &str = "https://app.example.com";

fn app(origins: Origins) -> App<()> {
    let both = [TransportType::Websocket, TransportType::Polling];
    App::new(()).mount(routes![hello]).transports(both).origins(origins)
}

fn websocket() -> Ask {
    get("/socket.io/?EIO=4&transport=websocket")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

fn polling() -> Ask {
    get("/socket.io/?EIO=4&transport=polling")
}

/// Both ways to open a session, with the status that says that it is open.
fn handshakes() -> [(Ask, u16); 2] {
    [(websocket().header("host", HOST), 101), (polling().header("host", HOST), 200)]
}

fn of(ask: Ask, origin: &str) -> Ask {
    if origin.is_empty() { ask } else { ask.header("origin", origin) }
}

#[track_caller]
fn assert_refused(answer: &Answer, reason: &str) {
    assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("origin_refused")), "{answer:?}");
    assert!(answer.message().contains(reason), "{}", answer.message());
    assert!(!answer.headers.contains_key("access-control-allow-origin"), "{answer:?}");
}

#[tokio::test]
async fn each_setting_lets_its_origins_in_over_both_transports() {
    let settings = [
        Origins::same(),
        Origins::same().and("http://other.example:1492").and(NAMED),
        Origins::any(),
        Origins::same().required(),
        Origins::any().required(),
    ];
    // Who may open a socket under each of the settings.
    let table = [
        ("", [true, true, true, false, false]),
        (OWN, [true, true, true, true, true]),
        ("https://example.com:1337", [true, true, true, true, true]),
        (NAMED, [false, true, true, false, true]),
        ("http://other.example:1492", [false, true, true, false, true]),
        ("HTTPS://APP.example.com", [false, true, true, false, true]),
        ("http://app.example.com", [false, false, true, false, true]),
        ("https://app.example.com:8443", [false, false, true, false, true]),
        ("https://app.example.com.evil", [false, false, true, false, true]),
        ("https://evil-app.example.com", [false, false, true, false, true]),
        ("https://a.app.example.com", [false, false, true, false, true]),
        ("https://app.example.com@evil", [false, false, true, false, true]),
        ("https://app.example.com/", [false, false, true, false, true]),
        ("app.example.com", [false, false, true, false, true]),
        ("http://example.com", [false, false, true, false, true]),
        ("http://example.com:1338", [false, false, true, false, true]),
        ("http://example.com:1337.evil", [false, false, true, false, true]),
        ("null", [false; 5]),
    ];
    for (nth, origins) in settings.into_iter().enumerate() {
        let served = Server::start(app(origins.clone())).await;
        let embedded = Embedded::start(app(origins)).await;
        for address in [served.address, embedded.address] {
            for (origin, lets_in) in table {
                for (handshake, open) in handshakes() {
                    let answer = http(address, &of(handshake.clone(), origin)).await;
                    let expected = if lets_in[nth] { open } else { 403 };
                    assert_eq!(answer.status, expected, "setting {nth}: {origin:?}: {handshake:?}: {answer:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn own_origin_counts_in_each_spelling_of_its_host() {
    let server = Server::start(app(Origins::same())).await;
    let table: [(&[&str], &str, bool); 15] = [
        (&["[::1]:1337"], "http://[::1]:1337", true),
        (&["[2001:DB8::1]:1337"], "http://[2001:db8::1]:1337", true),
        (&["[::1]:1337"], "http://[::2]:1337", false),
        (&["[::1]:1337"], "http://[::1]:1338", false),
        (&["EXAMPLE.com"], "http://example.com", true),
        (&["example.com:80"], "http://example.com", true),
        (&["example.com:443"], "https://example.com", true),
        (&["example.com:80"], "http://example.com:81", false),
        (&["example.com"], "http://example.com:80", true),
        (&["example.com"], "http://example.com.evil", false),
        (&["xn--gre-hoa3k.example"], "http://xn--gre-hoa3k.example", true),
        // Whose a request with two hosts is, nobody knows.
        (&["a.example", "b.example"], "http://a.example", false),
        (&["a.example", "b.example"], "http://b.example", false),
        (&["a.example, b.example"], "http://a.example", false),
        (&[""], "http://", false),
    ];
    for (hosts, origin, lets_in) in table {
        for (handshake, open) in [(websocket(), 101), (polling(), 200)] {
            let ask = hosts.iter().fold(handshake, |ask, host| ask.header("host", host));
            let answer = server.http(&of(ask, origin)).await;
            let refused = matches!(answer.status, 400 | 403);
            assert!(if lets_in { answer.status == open } else { refused }, "{hosts:?} {origin}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_nothing_is_opened() {
    let server = Server::start(app(Origins::same())).await;
    for (handshake, _) in handshakes() {
        let foreign = server.http(&of(handshake.clone(), "https://evil.example")).await;
        assert_refused(&foreign, "\"https://evil.example\" may not connect: `App::origins`");
        assert_refused(&server.http(&of(handshake.clone(), "null")).await, "`null`");
        let two = of(of(handshake.clone(), OWN), "https://evil.example");
        assert_refused(&server.http(&two).await, "one `Origin`");
        // An image or a script of a foreign page, which a browser sends without an origin.
        for from in ["cross-site", "same-site"] {
            assert_refused(&server.http(&handshake.clone().header("sec-fetch-site", from)).await, "another origin");
        }
    }
    assert!(server.io.sockets().is_empty());
    let required = Server::start(app(Origins::same().required())).await;
    for (handshake, open) in handshakes() {
        assert_refused(&required.http(&handshake).await, "without an `Origin`");
        // A browser sends none with the polls of the server's own pages.
        let own = required.http(&handshake.header("sec-fetch-site", "same-origin")).await;
        assert_eq!(own.status, open);
    }
}

#[tokio::test]
async fn each_request_of_a_session_passes_the_gate() {
    let server = Server::start(app(Origins::same().and(NAMED))).await;
    let opened = server.http(&polling()).await;
    let text = opened.json();
    let open: Value = serde_json::from_str(text.as_str().unwrap().strip_prefix('0').unwrap()).unwrap();
    let session = |ask: Ask| Ask { url: format!("{}&sid={}", ask.url, open["sid"].as_str().unwrap()), ..ask };
    let post = |data: &str| session(polling()).header("content-type", "text/plain").data(data);
    let enter = |origin| of(Ask { method: "post", ..post("40") }, origin);
    assert_refused(&server.http(&enter("https://evil.example")).await, "may not connect");
    assert_eq!(server.http(&enter(NAMED)).await.status, 200);
    assert_refused(&server.http(&of(session(polling()), "https://evil.example")).await, "may not connect");
    let polled = server.http(&of(session(polling()), NAMED)).await;
    assert!(polled.json().as_str().unwrap().contains("40{"), "{polled:?}");
    assert_refused(&server.http(&of(session(websocket()), "https://evil.example")).await, "may not connect");
    assert_eq!(server.http(&of(session(websocket()), NAMED)).await.status, 101);
}

/// The seven connections of the origin tests of `sails-hook-sockets`.
#[tokio::test]
async fn the_connections_that_sails_tests() {
    let origins = Origins::same().and("http://localboast.com:1337").and("http://snarkydoo.org:1492");
    let server = Server::start(app(origins)).await;
    for (origin, status) in [
        ("http://localboast.com:1337", 101),
        ("http://snarkydoo.org:1492", 101),
        ("http://localboast.com:1492", 403),
        ("http://snarkydoo.org:1337", 403),
        ("http://localboast.com", 403),
        ("http://snarkydoo.org", 403),
        ("http://randomagee.com:1337", 403),
    ] {
        assert_eq!(server.http(&of(websocket(), origin)).await.status, status, "{origin}");
    }
}

/// Those of its configuration tests that Rust's types leave: the first, a text in place of a list, does not compile.
#[tokio::test]
async fn the_settings_that_sails_refuses() {
    for (wrong, right) in [
        ("localboast.com", "https://localboast.com"),
        ("http://localboast.com:80", "http://localboast.com"),
        ("https://localboast.com:443", "https://localboast.com"),
    ] {
        let refused = app(Origins::same().and(wrong)).into_router().unwrap_err();
        assert!(matches!(refused, catamaran::ServeError::Setting(_)));
        assert!(refused.to_string().ends_with(&format!("{wrong:?} is not, write {right:?}")), "{refused}");
    }
}

/// What a proxy says, as headers.
type Said<'a> = &'a [(&'a str, &'a str)];

#[tokio::test]
async fn behind_a_trusted_proxy_the_own_origin_is_what_it_says() {
    let listed = [("x-forwarded-host", "chat.example"), ("x-forwarded-proto", "https")];
    let forwarded = [("forwarded", "for=1.2.3.4;host=evil.example, for=5.6.7.8;host=\"chat.example\";proto=https")];
    let host_alone = [("x-forwarded-host", "chat.example")];
    let socket_scheme = [("host", "chat.example"), ("x-forwarded-proto", "wss")];
    let passed_on = [("x-forwarded-for", "5.6.7.8"), ("forwarded", "host=evil.example")];
    let contradiction =
        [("x-forwarded-for", "5.6.7.8"), ("x-forwarded-host", "chat.example"), ("forwarded", "host=evil.example")];
    let unreadable = [("x-forwarded-proto", "https,"), ("x-forwarded-host", "chat.example")];
    let (by_list, by_forwarded) = ("x-forwarded-for", "forwarded");
    let cases: [(&str, Said<'_>, &str, Option<u16>); 15] = [
        (by_list, &listed, "https://chat.example", None),
        (by_list, &listed, "https://chat.example:443", None),
        (by_list, &listed, "http://chat.example", Some(403)),
        (by_list, &listed, OWN, Some(403)),
        (by_forwarded, &forwarded, "https://chat.example", None),
        (by_forwarded, &forwarded, "http://chat.example", Some(403)),
        (by_forwarded, &forwarded, "https://evil.example", Some(403)),
        (by_list, &host_alone, "https://chat.example", None),
        (by_list, &host_alone, "http://chat.example", None),
        (by_list, &socket_scheme, "https://chat.example", None),
        (by_list, &socket_scheme, "http://chat.example", Some(403)),
        // That header is not the one that counts.
        (by_list, &passed_on, "http://evil.example", Some(403)),
        (by_list, &contradiction, "http://evil.example", Some(400)),
        (by_list, &contradiction, "http://chat.example", Some(400)),
        (by_list, &unreadable, "https://chat.example", Some(400)),
    ];
    for named in [by_list, by_forwarded] {
        let trusting = || app(Origins::same()).trusted_proxies(["127.0.0.1"]).client_addr_header(named);
        let served = Server::start(trusting()).await;
        let embedded = Embedded::with_peers(trusting()).await;
        for address in [served.address, embedded.address] {
            for (_, headers, origin, refused) in cases.iter().filter(|(header, ..)| *header == named) {
                for (handshake, open) in [(websocket(), 101), (polling(), 200)] {
                    let ask = headers.iter().fold(of(handshake, origin), |ask, (name, value)| ask.header(name, value));
                    let ask =
                        if headers.iter().any(|(name, _)| *name == "host") { ask } else { ask.header("host", HOST) };
                    assert_eq!(http(address, &ask).await.status, refused.unwrap_or(open), "{ask:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_peer_that_is_no_proxy_cannot_say_what_the_own_origin_is() {
    let servers = [
        Server::start(app(Origins::same())).await,
        Server::start(app(Origins::same()).trusted_proxies(["10.0.0.0/8"])).await,
    ];
    for server in servers {
        for (handshake, open) in handshakes() {
            let claim = handshake.header("x-forwarded-host", "evil.example").header("forwarded", "host=evil.example");
            assert_eq!(server.http(&of(claim.clone(), "http://evil.example")).await.status, 403);
            assert_eq!(server.http(&of(claim, OWN)).await.status, open);
        }
    }
}

/// What a browser needs to be told before a page of another origin may read an answer.
fn readable(answer: &Answer) -> (Option<&str>, bool) {
    let header = |name: &str| answer.headers.get(name).map(|value| &**value);
    assert_eq!(header("vary"), Some("origin"), "{answer:?}");
    (header("access-control-allow-origin"), header("access-control-allow-credentials") == Some("true"))
}

#[tokio::test]
async fn a_page_that_is_let_in_may_read_its_polls() {
    let named = Server::start(app(Origins::same().and(NAMED))).await;
    assert_eq!(readable(&named.http(&of(polling(), NAMED)).await), (Some(NAMED), true));
    assert_eq!(readable(&named.http(&polling()).await), (None, false));
    assert_eq!(readable(&named.http(&of(polling(), "https://evil.example")).await), (None, false));

    let any = Server::start(app(Origins::any().and(NAMED))).await;
    assert_eq!(readable(&any.http(&of(polling(), "https://evil.example")).await), (Some("*"), false));
    assert_eq!(readable(&any.http(&of(polling(), NAMED)).await), (Some(NAMED), true));
}

#[tokio::test]
async fn a_browser_may_ask_before_it_polls() {
    let server = Server::start(app(Origins::same().and(NAMED))).await;
    let preflight = |origin| {
        let ask = of(Ask { method: "options", ..polling() }, origin);
        ask.header("access-control-request-method", "POST").header("access-control-request-headers", "x-token")
    };
    let answer = server.http(&preflight(NAMED)).await;
    assert_eq!((answer.status, readable(&answer)), (204, (Some(NAMED), true)));
    assert_eq!(answer.headers["access-control-allow-methods"], "GET, POST");
    assert_eq!(answer.headers["access-control-allow-headers"], "x-token");
    assert_refused(&server.http(&preflight("https://evil.example")).await, "may not connect");
    let no_preflight = server.http(&of(Ask { method: "options", ..polling() }, NAMED)).await;
    assert_eq!(no_preflight.status, 400);
}

#[tokio::test]
async fn only_socket_io_has_a_gate() {
    let server = Server::start(app(Origins::same())).await;
    let asked = server.http(&of(get("/hello"), "https://evil.example")).await;
    assert_eq!((asked.status, asked.body), (200, Body::text("hello")));
    let mut client = Client::with(&server, Eio::V4, &[("origin", &format!("http://{}", server.address))]).await;
    assert_eq!(client.ask(&get("/hello")).await.body, Body::text("hello"));
}

/// Stands for a session layer: whoever has no cookie is given one.
async fn session(request: Request, next: Next) -> Response {
    let has_one = request.headers().contains_key(header::COOKIE);
    let mut response = next.run(request).await;
    if !has_one {
        response.headers_mut().insert(header::SET_COOKIE, HeaderValue::from_static("sid=1; HttpOnly"));
    }
    response
}

#[tokio::test]
async fn a_page_of_another_origin_gets_a_cookie_from_the_session_layer() {
    let server = Server::start(app(Origins::same().and(NAMED)).layer(from_fn(session))).await;
    let script = |referer: &str| get("/__getcookie").header("sec-fetch-site", "cross-site").header("referer", referer);
    for ask in [get("/__getcookie"), script("https://app.example.com/page?x"), of(get("/__getcookie"), NAMED)] {
        let answer = server.http(&ask).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/javascript; charset=utf-8");
        assert_eq!(answer.headers["set-cookie"], "sid=1; HttpOnly");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.body, Body::Bytes(b"_sailsIoJSConnect();".to_vec()));
    }
    assert_refused(
        &server.http(&script("https://evil.example/page")).await,
        "\"https://evil.example\" may not connect",
    );
    assert_refused(&server.http(&of(get("/__getcookie"), "null")).await, "`null`");
}

#[action(get "/__getcookie")]
async fn mine() -> &'static str {
    "mine"
}

#[tokio::test]
async fn the_path_of_the_cookie_is_reserved() {
    let refused = App::new(()).mount(routes![mine]).into_router().unwrap_err().to_string();
    assert!(refused.contains("reserved path `/__getcookie`") && refused.contains("::mine"), "{refused}");
}
