//! Websocket handshakes whose headers a proxy, or a client, has spoiled: each is answered at once, and none with a 101 that
//! nobody asked for.

use std::time::Duration;

use axum::http::StatusCode;
use catamaran::{TransportType, prelude::*};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Ask, Client, Eio, Server, canary_lines, get, within};

const KEY: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The lines of a handshake that may be wrong, each with whether it is right.
const UPGRADES: [(&str, bool); 6] = [
    ("upgrade: websocket\r\n", true),
    ("upgrade: h2c, WebSocket\r\n", true),
    ("upgrade: h2c\r\nupgrade: websocket\r\n", true),
    ("", false),
    ("upgrade: h2c\r\n", false),
    ("upgrade: websockets\r\n", false),
];
const CONNECTIONS: [(&str, bool); 5] = [
    ("connection: upgrade\r\n", true),
    ("connection: keep-alive, Upgrade\r\n", true),
    ("", false),
    ("connection: close\r\n", false),
    ("connection: keep-alive\r\n", false),
];
const WEBSOCKET_VERSIONS: [(&str, bool); 4] = [
    ("sec-websocket-version: 13\r\n", true),
    ("", false),
    ("sec-websocket-version: 12\r\n", false),
    ("sec-websocket-version: 13\r\nsec-websocket-version: 13\r\n", false),
];
const KEYS: [(&str, bool); 5] = [
    (KEY, true),
    ("", false),
    ("sec-websocket-key: short==\r\n", false),
    ("sec-websocket-key: dGhlIHNhbXBsZSBub25jZ!==\r\n", false),
    ("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", false),
];

#[action(get "/hello")]
async fn hello() -> &'static str {
    "hello"
}

async fn server() -> Server {
    let app = App::new(()).mount(routes![hello]).transports([TransportType::Websocket, TransportType::Polling]);
    // Hundreds of handshakes pass between two polls of a session, also on a busy machine.
    let heartbeat = Duration::from_secs(60);
    Server::start(app.heartbeat(heartbeat, heartbeat)).await
}

/// An answer as it came: its status, its head in lower case, and its body.
type Raw = (u16, String, String);

/// Sends the head of a request as it is, and reads one answer.
async fn send(server: &Server, line: &str, headers: &str) -> Raw {
    within("an answer", async {
        let mut stream = TcpStream::connect(server.address).await.expect("the server accepts");
        let head = format!("{line}\r\nhost: {}\r\n{}{headers}\r\n", server.address, canary_lines());
        stream.write_all(head.as_bytes()).await.expect("room for a head");
        let mut read = Vec::new();
        loop {
            let bytes = stream.read_buf(&mut read).await.expect("an answer");
            let text = String::from_utf8_lossy(&read);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                assert_ne!(bytes, 0, "the connection ended before an answer: {line} {headers}");
                continue;
            };
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if body.len() >= length || bytes == 0 {
                let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
                return (status, head, body.to_owned());
            }
        }
    })
    .await
}

fn code(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

fn line(method: &str, eio: u8, transport: &str, more: &str, http: &str) -> String {
    format!("{method} /socket.io/?EIO={eio}&transport={transport}{more} HTTP/{http}")
}

/// Opens a session by long-polling, and returns what is said in the URLs of its requests.
async fn session(server: &Server, eio: u8) -> String {
    let answer = send(server, &line("GET", eio, "polling", "", "1.1"), "").await;
    let packet = answer.2.find('{').map(|start| &answer.2[start..]).expect("an open packet");
    let end = packet.find('}').expect("its end") + 1;
    let packet: serde_json::Value = serde_json::from_str(&packet[..end]).expect("JSON");
    format!("&sid={}", packet["sid"].as_str().expect("an id"))
}

/// Posts a packet in a session, and returns the status.
async fn post(server: &Server, eio: u8, session: &str, packet: &str) -> u16 {
    let packet = if eio == 3 { format!("{}:{packet}", packet.len()) } else { packet.to_owned() };
    let ask = Ask::new("post", format!("/socket.io/?EIO={eio}&transport=polling{session}"));
    server.http(&ask.header("content-type", "text/plain").data(packet)).await.status
}

/// All handshakes: `(headers, whether the upgrade, the version and the key are right)`.
fn handshakes() -> impl Iterator<Item = (String, [bool; 3])> {
    UPGRADES.into_iter().flat_map(|(upgrade, upgrades)| {
        CONNECTIONS.into_iter().flat_map(move |(connection, connects)| {
            WEBSOCKET_VERSIONS.into_iter().flat_map(move |(version, is_13)| {
                KEYS.into_iter().map(move |(key, is_key)| {
                    (format!("{upgrade}{connection}{version}{key}"), [upgrades && connects, is_13, is_key])
                })
            })
        })
    })
}

#[tokio::test]
async fn spoiled_websocket_handshakes_are_answered_at_once() {
    let server = server().await;
    for (n, (headers, [upgrades, is_13, is_key])) in handshakes().enumerate() {
        for http in ["1.1", "1.0"] {
            // Both versions of Engine.IO in turn: what is looked at is the same.
            let eio = if n % 2 == 0 { 3 } else { 4 };
            let (status, head, body) = send(&server, &line("GET", eio, "websocket", "", http), &headers).await;
            let expected = match (upgrades && http == "1.1", is_13, is_key) {
                (true, true, true) => (101, ""),
                (true, true, false) => (400, "websocket_key"),
                (true, false, _) => (426, "websocket_version"),
                (false, ..) => (426, "websocket_upgrade"),
            };
            assert_eq!((status, &*code(&body)), expected, "HTTP/{http} {headers}: {head}");
            assert_eq!(head.contains("sec-websocket-accept"), status == 101, "{headers}: {head}");
            assert!(status != 426 || head.contains("upgrade: websocket"), "{headers}: {head}");
        }
    }
}

#[tokio::test]
async fn spoiled_upgrade_leaves_its_session_polling() {
    let server = server().await;
    for eio in [3, 4] {
        let session = session(&server, eio).await;
        if eio == 4 {
            assert_eq!(post(&server, eio, &session, "40").await, 200);
        }
        for (headers, right) in handshakes().filter(|(_, right)| *right != [true; 3]) {
            let (status, head, _) = send(&server, &line("GET", eio, "websocket", &session, "1.1"), &headers).await;
            assert!(matches!(status, 400 | 426), "{right:?} {headers}: {head}");
        }
        asks(&server, eio, &session, 1).await;
        // And a whole upgrade is still possible.
        assert_eq!(send(&server, &line("GET", eio, "websocket", &session, "1.1"), &whole()).await.0, 101);
    }
}

/// The headers of a sound handshake.
fn whole() -> String {
    format!("{}{}{}{KEY}", UPGRADES[0].0, CONNECTIONS[0].0, WEBSOCKET_VERSIONS[0].0)
}

/// Asks in a session, and polls until the answer comes.
async fn asks(server: &Server, eio: u8, session: &str, id: u8) {
    assert_eq!(post(server, eio, session, &format!(r#"42{id}["get",{{"url":"/hello"}}]"#)).await, 200);
    let mut polled = String::new();
    while !polled.contains(&format!("43{id}[")) {
        let (status, head, body) = send(server, &line("GET", eio, "polling", session, "1.1"), "").await;
        assert_eq!(status, 200, "{head}");
        polled += &body;
    }
}

/// As behind a proxy that lets handshakes pass, and nothing else.
#[tokio::test]
async fn upgrade_without_packets_leaves_its_session_polling() {
    let server = server().await;
    for eio in [3, 4] {
        let session = session(&server, eio).await;
        if eio == 4 {
            assert_eq!(post(&server, eio, &session, "40").await, 200);
        }
        for id in 1..4 {
            // The connection ends with the answer.
            assert_eq!(send(&server, &line("GET", eio, "websocket", &session, "1.1"), &whole()).await.0, 101);
            asks(&server, eio, &session, id).await;
        }
        // The next one goes through.
        if eio == 4 {
            let id = session.strip_prefix("&sid=").expect("an id");
            let mut client = Client::upgrade(server.address, id).await;
            assert_eq!(client.ask(&get("/hello")).await.status, 200);
        }
    }
}

/// engineioxide answers every poll of such a session with nothing, at once.
#[tokio::test]
async fn upgrade_that_ends_after_its_probe_ends_the_session() {
    let server = server().await;
    for eio in [3, 4] {
        let session = session(&server, eio).await;
        let mut stream = TcpStream::connect(server.address).await.expect("the server accepts");
        let line = line("GET", eio, "websocket", &session, "1.1");
        let head = format!("{line}\r\nhost: {}\r\n{}{}\r\n", server.address, canary_lines(), whole());
        // The mask is zero.
        let probe = b"\x81\x86\0\0\0\x002probe";
        stream.write_all(&[head.as_bytes(), probe].concat()).await.expect("room");
        let mut read = Vec::new();
        within("the answer to the probe", async {
            while !read.ends_with(b"3probe") {
                assert_ne!(stream.read_buf(&mut read).await.expect("an answer"), 0);
            }
        })
        .await;
        drop(stream);
        within("the end of the session", async {
            while post(&server, eio, &session, "3").await == 200 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn polls_that_offer_an_upgrade_are_polls() {
    let server = server().await;
    for (upgrade, _) in UPGRADES {
        for (connection, _) in CONNECTIONS {
            for (version, _) in WEBSOCKET_VERSIONS {
                let headers = format!("{upgrade}{connection}{version}{KEY}");
                for http in ["1.1", "1.0"] {
                    let (status, head, body) = send(&server, &line("GET", 4, "polling", "", http), &headers).await;
                    assert_eq!(status, 200, "HTTP/{http} {headers}: {head}");
                    assert!(
                        body.starts_with("0{") && !head.contains("upgrade:"),
                        "HTTP/{http} {headers}: {head} {body}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn handshakes_of_other_methods_are_refused_at_once() {
    let server = server().await;
    let headers = whole();
    for transport in ["websocket", "polling"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECTED"] {
            for headers in ["", &headers] {
                let (status, head, _) = send(&server, &line(method, 4, transport, "", "1.1"), headers).await;
                assert!((400..500).contains(&status), "{method} {headers}: {head}");
            }
        }
    }
    let client = Client::with(&server, Eio::V4, &[]).await.ask(&get("/hello")).await;
    assert_eq!(client.status, StatusCode::OK.as_u16());
}
