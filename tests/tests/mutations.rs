//! No packet stops the process, another socket, or the reply to the next request: valid packets are broken in many ways,
//! on pipes in memory and over TCP, and in the end nothing is left of their sockets.
//!
//! `CATAMARAN_MUTATED_PACKETS` says how many (10,000; of them a fifth over TCP), `CATAMARAN_SEED` which ones.

use std::{
    future::pending,
    panic,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router};
use catamaran::{RawChannel, RawEvent, TransportType, prelude::*};
use catamaran_tests::pipe;
use fastrand::Rng;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use socketioxide::SocketIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::oneshot,
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

const PLANNED: &str = "a planned panic";

#[action(get "/hello")]
async fn hello() -> &'static str {
    "hello"
}

#[action(post "/value/{name}")]
async fn value(name: String, Json(value): Json<Value>) -> Json<Value> {
    Json([Value::from(name), value].into_iter().collect())
}

#[action(get "/feed/{name}")]
async fn watch(ctx: Ctx<Socket>, name: String) -> catamaran::Result {
    ctx.subscribe(&RawChannel::new(name)).await?;
    Ok(())
}

#[action(post "/feed/{name}")]
async fn say(ctx: Ctx, name: String) -> catamaran::Result {
    ctx.publish(&RawChannel::new(name), RawEvent::new("said", "hi")?).await?;
    Ok(())
}

#[action(get "/panic")]
async fn panics() -> String {
    panic!("{PLANNED}")
}

#[action(get "/late")]
async fn late() -> String {
    pending().await
}

fn application() -> App<()> {
    App::new(())
        .mount(routes![hello, value, watch, say, panics, late])
        .timeout(Duration::from_secs(1))
        .max_request_bytes(16 * 1024)
        .packet_headers(["x-own"])
        .transports([TransportType::Websocket, TransportType::Polling])
}

/// What clients of all kinds send; `|` and bytes are an attachment that follows.
const PACKETS: &[&str] = &[
    "40",
    r#"40{"token":"x"}"#,
    r#"40{"catamaran":{"client":"0123456789abcdef","resume":{"a":["k3x9ab2c",3]}}}"#,
    "40/admin,",
    "41",
    "41/admin,",
    "2",
    "3",
    "2probe",
    "3probe",
    "5",
    "6",
    "1",
    r#"420["get",{"method":"get","headers":{},"data":{},"url":"/hello"}]"#,
    r#"421["get",{"url":"/hello?a=1&b=%20","data":{"a":[1,"b",null]}}]"#,
    r#"422["post",{"url":"/value/a%2Fb","data":{"a":[1e3,-0.5,"\u00e9"],"b":{"c":null}},"headers":{"x-own":"1"}}]"#,
    r#"423["get",{"url":"/feed/a"}]"#,
    r#"424["get",{"url":"/feed/b","resume":{"b":["k3x9ab2c",12345678901]}}]"#,
    r#"425["post",{"url":"/feed/a","data":{}}]"#,
    r#"426["get",{"url":"/panic"}]"#,
    r#"427["get",{"url":"/late"}]"#,
    r#"428["options",{"url":"/value/x"}]"#,
    r#"42["delete",{"url":"/hello"}]"#,
    r#"42["chat","hi",{"a":1}]"#,
    r#"42/admin,9["get",{"url":"/hello"}]"#,
    r#"430["an ack that nobody asked for"]"#,
    r#"44{"message":"refused"}"#,
    r#"451-0["post",{"url":"/value/x","data":{"_placeholder":true,"num":0}}]|bytes"#,
    r#"452-["chat",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]|one|two"#,
    r#"461-0[{"_placeholder":true,"num":0}]|bytes"#,
];

/// What is put into a packet where it does not belong.
const SCRAPS: &[&str] = &[
    "",
    "\"",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "null",
    "0",
    "-1",
    "99999999999999999999",
    "1e999",
    "\\u0000",
    "\\",
    "\u{0}",
    "é",
    "😀",
    "/",
    "//",
    "?",
    "#",
    "%",
    "%ff",
    "..",
    "__proto__",
    "42",
    "451-",
    "40/",
    "\"url\":",
    "\"resume\":{\"a\":",
    "[[[[[[[[[[[[[[[[",
];

struct Mutator(Rng);

impl Mutator {
    fn packet(&mut self) -> Vec<Message> {
        let packet = PACKETS[self.0.usize(..PACKETS.len())];
        let mut parts: Vec<String> = packet.split('|').map(str::to_owned).collect();
        for _ in 0..self.0.usize(..4) {
            let part = self.0.usize(..parts.len());
            parts[part] = self.mutated(&parts[part]);
        }
        if self.0.usize(..30) == 0 {
            parts.truncate(1);
        }
        let mut parts = parts.into_iter();
        let first = parts.next().map(|text| match self.0.usize(..40) {
            0 => Message::binary(text),
            _ => Message::text(text),
        });
        first.into_iter().chain(parts.map(Message::binary)).collect()
    }

    fn mutated(&mut self, packet: &str) -> String {
        let chars: Vec<char> = packet.chars().collect();
        let (a, b) = (self.0.usize(..=chars.len()), self.0.usize(..=chars.len()));
        let (from, to) = (a.min(b), a.max(b));
        let scrap = SCRAPS[self.0.usize(..SCRAPS.len())];
        let text = |chars: &[char]| chars.iter().collect::<String>();
        match self.0.usize(..8) {
            0 => text(&chars[..from]),
            1 => text(&chars[from..]),
            2 => text(&chars[..from]) + &text(&chars[to..]),
            3 => text(&chars[..to]) + &text(&chars[from..]),
            4 => text(&chars[..from]) + &scrap.repeat(1 << self.0.usize(..8)) + &text(&chars[from..]),
            5 => {
                let other = PACKETS[self.0.usize(..PACKETS.len())];
                text(&chars[..from]) + other
            }
            6 if from < chars.len() => {
                let mut chars = chars;
                chars[from] = self.0.char(..);
                text(&chars)
            }
            _ => text(&chars[..from]) + scrap + &text(&chars[to..]),
        }
    }
}

/// The id of the request that shows whether a socket still works.
const LAST: &str = "987654321";

/// Sends some broken packets. Then the socket is either closed, or answers a request.
async fn abuse<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>, mutator: &mut Mutator) -> usize {
    let mut sent = 0;
    if mutator.0.usize(..10) > 0 && socket.send(Message::text("40")).await.is_err() {
        return sent;
    }
    for _ in 0..mutator.0.usize(1..20) {
        for message in mutator.packet() {
            sent += 1;
            if socket.send(message).await.is_err() {
                return sent;
            }
        }
        if mutator.0.usize(..100) == 0 {
            return sent;
        }
    }
    // What is asked before the answer to the CONNECT may be dropped, so it is asked again.
    for _ in 0..30 {
        match timeout(Duration::from_secs(2), answers(&mut socket)).await {
            Ok(()) => return sent,
            Err(_elapsed) => {}
        }
    }
    panic!("neither an answer nor the end");
}

/// Asks, and returns when there is an answer or the socket is closed.
async fn answers<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) {
    let last = format!(r#"42{LAST}["get",{{"url":"/hello"}}]"#);
    for packet in ["40".to_owned(), last] {
        if socket.send(Message::text(packet)).await.is_err() {
            return;
        }
    }
    let ack = format!("43{LAST}[");
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) if text == "2" && socket.send(Message::text("3")).await.is_err() => return,
            Message::Text(text) if text.starts_with(&ack) => return,
            _ => {}
        }
    }
}

/// Panics that nobody planned.
static UNPLANNED: AtomicUsize = AtomicUsize::new(0);
static COUNT_PANICS: LazyLock<()> = LazyLock::new(|| {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(PLANNED) {
            UNPLANNED.fetch_add(1, Ordering::SeqCst);
            before(info);
        }
    }));
});

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

fn packets() -> usize {
    usize::try_from(setting("CATAMARAN_MUTATED_PACKETS", 10_000)).expect("a number of packets")
}

/// Waits until the sockets are gone, and with them all tasks but those that were there before.
async fn nothing_is_left(io: &SocketIo, tasks: usize) {
    let gone = async {
        while !io.sockets().is_empty() || Handle::current().metrics().num_alive_tasks() > tasks {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let left = || (io.sockets().len(), Handle::current().metrics().num_alive_tasks());
    assert!(timeout(Duration::from_secs(120), gone).await.is_ok(), "sockets and tasks left: {:?} of {tasks}", left());
    assert_eq!(UNPLANNED.load(Ordering::SeqCst), 0, "panics");
}

#[tokio::test(start_paused = true)]
async fn mutated_packets_in_memory() {
    LazyLock::force(&COUNT_PANICS);
    let (sender, io) = oneshot::channel();
    let app = application().socketio(move |io| drop(sender.send(io.clone())));
    let router: Router = app.into_router().expect("a sound application");
    let io = io.await.expect("the application is built");
    let tasks = Handle::current().metrics().num_alive_tasks();
    let mut mutator = Mutator(Rng::with_seed(setting("CATAMARAN_SEED", 1)));
    let mut sent = 0;
    while sent < packets() {
        let socket = pipe::connect(&router, &[]).await;
        sent += abuse(socket, &mut mutator).await;
    }
    nothing_is_left(&io, tasks).await;
}

#[tokio::test]
async fn mutated_packets_over_tcp() {
    LazyLock::force(&COUNT_PANICS);
    let (sender, io) = oneshot::channel();
    let app = application().socketio(move |io| drop(sender.send(io.clone())));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(app.serve_on(listener));
    let io = io.await.expect("the application is built");
    let tasks = Handle::current().metrics().num_alive_tasks();
    let mut mutator = Mutator(Rng::with_seed(setting("CATAMARAN_SEED", 2)));
    let mut sent = 0;
    while sent < packets() / 5 {
        let stream = TcpStream::connect(address).await.expect("the server accepts");
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = client_async(url, stream).await.expect("an upgrade");
        sent += abuse(socket, &mut mutator).await;
    }
    nothing_is_left(&io, tasks).await;
    server.abort();
}
