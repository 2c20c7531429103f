//! What a packet may say of its request: headers, URLs, methods, and each of them twice.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{OriginalUri, Path},
    http::{HeaderMap, Method},
    routing::any,
};
use catamaran::{App, Origins};
use serde_json::{Value, json};
use tower_http::compression::CompressionLayer;

use crate::support::{Answer, Ask, Body, Client, Eio, Packet, Server, get, post};

/// Everything that an action can see of a request.
async fn echo(method: Method, OriginalUri(uri): OriginalUri, headers: HeaderMap, body: Bytes) -> Json<Value> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let body = String::from_utf8_lossy(&body);
    Json(json!({ "method": method.as_str(), "uri": uri.to_string(), "headers": headers, "body": body }))
}

const ORIGIN: &str = "http://good.example";

async fn start() -> Server {
    let router = Router::new()
        .route("/hello", any(async || "hello"))
        .route("/long", any(async || "long ".repeat(1000)))
        .route("/path/{text}", any(async |Path(text): Path<String>| text))
        .route("/value", any(async |Json(value): Json<Value>| Json(value)))
        .route("/text", any(async |text: String| text))
        .route("/echo", any(echo));
    let app = App::new(()).merge(router).layer(CompressionLayer::new());
    let app = app.packet_headers(["x-own", "x-http-method-override", "x-http-method", "x-method-override"]);
    Server::start(app.origins(Origins::same().and(ORIGIN))).await
}

/// Headers that say who the client is, or how it reached the server.
const OF_HANDSHAKE: [&str; 31] = [
    "cookie",
    "origin",
    "referer",
    "forwarded",
    "via",
    "x-forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-original-forwarded-for",
    "x-original-url",
    "x-rewrite-url",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-ipcountry",
    "cloudfront-viewer-address",
    "fastly-client-ip",
    "fly-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-envoy-external-address",
    "sec-fetch-site",
    "sec-fetch-mode",
    "sec-ch-ua",
    "sec-gpc",
    "proxy-authorization",
    "proxy-connection",
];

/// Headers about how bytes travel.
const OF_CONNECTION: [&str; 14] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "keep-alive",
    "te",
    "trailer",
    "expect",
    "content-encoding",
    "accept-encoding",
    "http2-settings",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
];

/// A name as a client may write it.
fn spellings(name: &str) -> [String; 3] {
    let mixed = name.char_indices().map(|(at, c)| if at % 3 == 0 { c.to_ascii_uppercase() } else { c }).collect();
    [name.to_owned(), name.to_uppercase(), mixed]
}

#[tokio::test]
async fn a_packet_cannot_speak_for_its_handshake() {
    let server = start().await;
    let brought = OF_HANDSHAKE.map(|name| (name, if name == "origin" { ORIGIN } else { "brought" }));
    for handshake in [&[] as &[_], &brought] {
        let mut client = Client::with(&server, Eio::V4, handshake).await;
        let honest = client.ask(&get("/echo")).await;
        let seen = honest.json()["headers"].clone();
        let host = json!(["host", server.address.to_string()]);
        assert!(seen.as_array().unwrap().contains(&host), "{seen}");
        for (name, value) in handshake {
            assert!(seen.as_array().unwrap().contains(&json!([name, value])), "{name} is missing from {seen}");
        }
        let mut all = get("/echo");
        for name in OF_HANDSHAKE.into_iter().chain(["host"]) {
            for spelling in spellings(name) {
                for value in ["forged", " forged ", ""] {
                    let answer = client.ask(&get("/echo").header(&spelling, value)).await;
                    assert_eq!(answer, honest, "{spelling}: {value:?}");
                }
            }
            all = all.header(name, "forged");
        }
        assert_eq!(client.ask(&all).await, honest);
    }
}

#[tokio::test]
async fn a_packet_says_nothing_of_the_connection() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    let requests = [
        get("/echo"),
        get("/hello"),
        get("/long"),
        get("/missing"),
        post("/echo", r#"{"a":1}"#),
        post("/value", r#"{"a":1}"#),
        post("/text", "[1]"),
        Ask::new("post", "/value"),
        Ask::new("head", "/long"),
        Ask::new("options", "/hello"),
        Ask::new("delete", "/hello"),
    ];
    for ask in requests {
        let honest = client.ask(&ask).await;
        let mut all = ask.clone();
        for name in OF_CONNECTION {
            for value in ["7", "0", "chunked", "gzip", "upgrade", "websocket", "100-continue"] {
                for spelling in spellings(name) {
                    assert_eq!(client.ask(&ask.clone().header(&spelling, value)).await, honest, "{spelling}: {value}");
                }
            }
            all = all.header(name, "1");
        }
        assert_eq!(client.ask(&all).await, honest);
    }
    let seen = client.ask(&post("/echo", r#"{"a":1}"#).header("content-length", "1")).await.json();
    assert!(seen["headers"].as_array().unwrap().contains(&json!(["content-length", "7"])), "{seen}");
}

#[tokio::test]
async fn what_no_header_or_url_can_carry_is_refused() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    let names = ["x y", "", "x:", " cookie", "cookie ", "x\r\ny", "x\0", "é", "x/y", "{x}"];
    let values = ["1\r\nset-cookie: a=b", "1\n", "\r", "\0", "\u{7f}", "\u{1b}[31m", "é", "😀", "\u{2028}"];
    let of_name = names.map(|name| get("/echo").header(name, "1"));
    let of_value = values.map(|value| get("/echo").header("x-own", value));
    for ask in of_name.into_iter().chain(of_value) {
        let answer = client.ask(&ask).await;
        assert_eq!(answer.status, 400, "{ask:?}");
        assert!(answer.message().contains("header"), "{}", answer.message());
        let text = format!("{answer:?}");
        assert!(!text.contains(['\r', '\n', '\u{1b}']) && !answer.headers.contains_key("set-cookie"), "{text}");
    }
    for url in ["/hello\r\nx: y", "/hello\n", "/hello\0", "/hello\u{7f}", "/\u{1b}[31m", "/hello\t"] {
        assert_eq!(client.ask(&get(url)).await.status, 400, "{url:?}");
    }
}

#[tokio::test]
async fn a_url_is_a_path_of_this_server() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    for (url, status) in [
        ("", 400),
        ("hello", 400),
        ("?x", 400),
        ("#", 400),
        ("*", 400),
        ("http://evil.example/hello", 400),
        ("//evil.example/hello", 400),
        ("/\\evil.example/hello", 400),
        ("\\/hello", 400),
        ("ws:/hello", 400),
        ("javascript:alert(1)", 400),
        ("user@host:80", 400),
        (" /hello", 400),
        ("/hello#part", 200),
        ("/hello?#", 200),
        ("/hello?/../x", 200),
        ("/socket.io/?EIO=4&transport=polling", 404),
    ] {
        let answer = client.ask(&get(url)).await;
        assert_eq!(answer.status, status, "{url:?}: {answer:?}");
        if status == 400 {
            assert!(answer.message().contains("must be a path"), "{url:?}");
        }
    }
    assert_eq!(client.ask(&get(format!("/{}", "a".repeat(70_000)))).await.status, 414);
}

/// A target is parsed once, is never decoded before it is routed, and is never normalized: as over HTTP.
#[tokio::test]
async fn a_url_means_over_a_socket_what_it_means_over_http() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    for (url, status) in [
        ("/hello", 200),
        ("/HELLO", 404),
        ("/hello/", 404),
        ("/./hello", 404),
        ("/path/../hello", 404),
        ("/%2e%2e/hello", 404),
        ("/%2E%2E/hello", 404),
        ("/..;/hello", 404),
        ("/hello;x=1", 404),
        ("/hell%6f", 404),
        ("/hello%00", 404),
        ("/hello%2f", 404),
        ("/%252e", 404),
        ("/{text}", 404),
        ("/path//hello", 404),
        ("/path/%2e%2e%2fhello", 200),
        ("/path/%252e%2", 200),
        ("/path/a%20b%2Fc", 200),
        ("/path/a+b", 200),
        ("/path/%c0%ae", 400),
        ("/path/%ff", 400),
        ("/path/\u{202e}é", 200),
        ("/echo?a=%00&a=%252e&b[]=1&&=", 200),
    ] {
        let over_socket = client.ask(&get(url)).await;
        assert_eq!(over_socket.status, status, "{url:?}: {over_socket:?}");
        // HTTP sends ASCII only; a browser would encode the rest in the same way.
        let encoded: String = url.chars().map(|c| if c.is_ascii() { c.into() } else { percent_encoded(c) }).collect();
        let over_http = server.http(&get(&encoded)).await;
        assert_eq!(over_http.status, over_socket.status, "{url:?}");
        if url.starts_with("/echo") {
            assert_eq!(over_http.json()["uri"], over_socket.json()["uri"]);
        } else {
            assert_eq!(over_http.body, over_socket.body, "{url:?}");
        }
    }
    assert_eq!(client.ask(&get("/path/%252e%2")).await.body, Body::text("%2e%2"), "decoded once");
}

fn percent_encoded(c: char) -> String {
    c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn the_name_of_the_event_is_the_method() {
    const VERBS: [&str; 7] = ["get", "post", "put", "patch", "delete", "head", "options"];
    let server = start().await;
    let mut client = Client::connect(&server).await;
    for event in VERBS {
        let mut expected = client.ask(&Ask::new(event, "/echo?_method=DELETE")).await;
        if event == "head" {
            assert_eq!(expected.body, Body::None);
        } else {
            assert_eq!(expected.json()["method"], event.to_uppercase());
        }
        for said in VERBS.into_iter().chain(["trace", "DELETE", ""]) {
            let packet = format!(r#"420["{event}",{{"method":"{said}","url":"/echo?_method=DELETE"}}]"#);
            assert_eq!(answer(&mut client, packet).await, expected, "{event} that says {said:?}");
        }
        for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
            let ask = Ask::new(event, "/echo?_method=DELETE").header(name, "DELETE");
            let mut overridden = client.ask(&ask).await;
            for answer in [&mut overridden, &mut expected] {
                answer.body = without_own_headers(answer);
            }
            assert_eq!(overridden, expected, "{event} with {name}");
        }
    }
    for event in ["trace", "GET", "Get", "get ", "propfind", "purge", "__proto__", "constructor", "toString"] {
        client.send(format!(r#"420["{event}",{{"url":"/hello"}}]"#)).await;
        let next = client.start(&get("/hello")).await;
        assert!(matches!(client.receive().await, Packet::Ack(id, _) if id == next), "{event:?} was answered");
    }
}

/// The body of an echo, without the header that the packet brought.
fn without_own_headers(answer: &Answer) -> Body {
    if answer.body == Body::None {
        return Body::None;
    }
    let mut echo = answer.json();
    echo["headers"].as_array_mut().unwrap().retain(|header| !header[0].as_str().unwrap().starts_with("x-"));
    Body::Json(echo.to_string())
}

/// Sends a packet with the ack id 0, and waits for its ack.
async fn answer(client: &mut Client, packet: String) -> Answer {
    client.send(packet).await;
    client.ack(0).await
}

#[tokio::test]
async fn a_packet_brings_at_most_64_headers_of_8_kib() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    let many = |count: usize| (0..count).fold(get("/hello"), |ask, nth| ask.header(&format!("x-{nth}"), "1"));
    assert_eq!(client.ask(&many(64)).await.status, 200);
    let refused = client.ask(&many(65)).await;
    assert_eq!(refused.status, 400);
    assert!(refused.message().contains("at most 64 headers"), "{}", refused.message());
    // What is dropped counts as well.
    assert_eq!(client.ask(&many(64).header("host", "evil.example")).await.status, 400);

    let long = |bytes: usize| get("/hello").header("x-long", &"x".repeat(bytes - "x-long".len()));
    assert_eq!(client.ask(&long(8 * 1024)).await.status, 200);
    let refused = client.ask(&long(8 * 1024 + 1)).await;
    assert_eq!(refused.status, 400);
    assert!(refused.message().contains("8192 bytes"), "{}", refused.message());
}

/// As `JSON.parse` has it, so that a client cannot mean one thing and a proxy that reads along another.
#[tokio::test]
async fn of_what_stands_twice_the_last_counts() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    let own = |answer: &Answer| {
        let seen = answer.json()["headers"].clone();
        seen.as_array().unwrap().iter().filter(|header| header[0] == "x-own").cloned().collect::<Vec<_>>()
    };
    for headers in [r#""x-own":"1","x-own":"2""#, r#""x-own":"1","X-OWN":"2""#, r#""X-Own":"1","x-own":"2""#] {
        let packet = format!(r#"420["get",{{"url":"/echo","headers":{{{headers}}}}}]"#);
        assert_eq!(own(&answer(&mut client, packet).await), [json!(["x-own", "2"])], "{headers}");
    }
    let twice = r#""headers":{"x-own":"1"},"headers":{}"#;
    let packet = format!(r#"420["post",{{"url":"/missing","url":"/echo","data":1,"data":{{"a":1}},{twice}}}]"#);
    let seen = answer(&mut client, packet).await;
    assert_eq!((seen.json()["body"].as_str(), own(&seen)), (Some(r#"{"a":1}"#), Vec::new()));
    let both = answer(&mut client, r#"420["post",{"url":"/echo","data":1,"params":1}]"#.into()).await;
    assert_eq!(both.status, 400);
    // Within a body the action's own parser decides, the same over both transports.
    for body in [r#"{"a":1,"a":2}"#, "1e400", "9007199254740993", "1.0000000000000000001"] {
        let ask = post("/value", body);
        let (over_http, over_socket) = (server.http(&ask).await, client.ask(&ask).await);
        assert_eq!((over_http.status, &over_http.body), (over_socket.status, &over_socket.body), "{body}");
    }
}
