//! What a client makes the server keep has a limit in bytes, and a limit refuses before the work that it limits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body as HttpBody, Bytes},
    extract::State,
    routing::post as route_post,
};
use catamaran::{RateLimit, RawChannel, prelude::*};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use crate::support::{Client, Eio, Packet, Server, get, post, until, within};

#[derive(Clone)]
struct Lab(Arc<Inner>);

struct Inner {
    /// How often something of the application's was called.
    calls: AtomicUsize,
    /// The bytes of answers that exist, and the most that ever did.
    answers: AtomicUsize,
    most_answers: AtomicUsize,
    gate: Semaphore,
}

impl Lab {
    fn new() -> Self {
        let (calls, answers, most_answers) = Default::default();
        Self(Arc::new(Inner { calls, answers, most_answers, gate: Semaphore::new(0) }))
    }

    fn call(&self) {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
    }

    fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }
}

/// The bytes of an answer, which are counted as long as anybody holds them.
struct Counted(Lab, Vec<u8>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.answers.fetch_sub(self.1.len(), Ordering::SeqCst);
    }
}

#[controller("/")]
mod actions {
    use super::*;

    #[action(get "/hello")]
    pub(crate) async fn hello() -> &'static str {
        "hello"
    }

    /// Waits for the gate, whatever it is sent.
    #[action(post "/wait")]
    pub(crate) async fn wait(State(lab): State<Lab>, body: Bytes) -> String {
        lab.call();
        lab.0.gate.acquire().await.expect("the gate stays").forget();
        body.len().to_string()
    }

    #[action(get "/answer/{bytes}")]
    pub(crate) async fn answer(State(lab): State<Lab>, bytes: usize) -> HttpBody {
        lab.call();
        let answers = lab.0.answers.fetch_add(bytes, Ordering::SeqCst) + bytes;
        lab.0.most_answers.fetch_max(answers, Ordering::SeqCst);
        HttpBody::from(Bytes::from_owner(Counted(lab, vec![b'x'; bytes])))
    }

    #[action(get "/watch/{bytes}")]
    pub(crate) async fn watch(ctx: Ctx<Socket>, bytes: usize) -> catamaran::Result {
        ctx.subscribe(&RawChannel::new("x".repeat(bytes))).await?;
        Ok(())
    }

    #[action(get "/tag/{bytes}")]
    pub(crate) async fn tag(ctx: Ctx<Socket>, bytes: usize) -> catamaran::Result {
        ctx.socket().tag("x".repeat(bytes))?;
        Ok(())
    }
}

fn application(lab: &Lab) -> App<Lab> {
    App::new(lab.clone()).mount(routes![actions])
}

/// What the server says to a CONNECT packet with this payload.
async fn connect(server: &Server, payload: &str) -> String {
    let mut client = Client::open(server.address, "/socket.io", Eio::V4, &[]).await;
    client.send(format!("40{payload}")).await;
    match client.receive().await {
        Packet::Other(answer) => answer,
        packet => panic!("expected an answer to CONNECT, got {packet:?}"),
    }
}

#[tokio::test]
async fn large_connect_payload_is_refused_before_the_hook() {
    let lab = Lab::new();
    let app = application(&lab).on_connect(async |State(lab): State<Lab>| lab.call()).on_disconnect(async || {});
    let server = Server::start(app).await;
    let auth = |bytes: usize| format!(r#"{{"token":"{}"}}"#, "x".repeat(bytes - 12));
    assert!(connect(&server, &auth(16 * 1024)).await.starts_with("40"));
    assert_eq!(lab.calls(), 1);
    let resume = |channels: usize, name: usize| {
        let positions: Vec<_> = (0..channels).map(|n| format!(r#""{n:0>name$}":["k3x9ab2c",1000000,1]"#)).collect();
        format!(r#"{{"catamaran":{{"client":"0123456789abcdef","resume":{{{}}}}}}}"#, positions.join(","))
    };
    for payload in [
        auth(16 * 1024 + 1),
        auth(1_000_000),
        resume(20_000, 1),
        resume(1, 60_000).replace("k3x9", &"e".repeat(60_000)),
    ] {
        let refusal = connect(&server, &payload).await;
        assert!(
            refusal.starts_with(r#"44{"message":"413 Payload Too Large: `auth` has at most 16384 bytes"#),
            "{refusal}"
        );
    }
    assert_eq!(lab.calls(), 1, "the hook was not asked");
    // As many positions as a client can have, of channels with names as long as they can be, beside the largest `auth`.
    let most = resume(256, 256).replacen('{', &format!("{},", auth(16 * 1024).trim_end_matches('}')), 1);
    assert!(connect(&server, &most).await.starts_with("40"));
    assert_eq!(lab.calls(), 2);
}

#[tokio::test]
async fn connect_limit_is_settable() {
    let lab = Lab::new();
    let server = Server::start(application(&lab).max_auth_bytes(20)).await;
    assert!(connect(&server, r#"{"a":"12345678"}"#).await.starts_with("40"));
    assert!(connect(&server, r#"{"a":"12345678901234"}"#).await.contains("at most 20 bytes"));
}

#[tokio::test]
async fn long_channel_names_and_tags_are_refused_in_words() {
    let lab = Lab::new();
    for (limit, app) in [(256, application(&lab)), (1000, application(&lab).max_channel_bytes(1000))] {
        let hub = app.hub();
        let server = Server::start(app).await;
        let mut client = Client::connect(&server).await;
        assert_eq!(client.ask(&get(format!("/watch/{limit}"))).await.status, 200);
        let refused = client.ask(&get(format!("/watch/{}", limit + 1))).await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("channel_name_too_long")));
        assert!(refused.message().contains(&format!("at most {limit} bytes")), "{}", refused.message());
        assert_eq!(hub.count(&RawChannel::new("x".repeat(limit + 1))).await.unwrap(), 0);
        assert_eq!(client.ask(&get("/tag/256")).await.status, 200);
        let refused = client.ask(&get("/tag/257")).await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("tag_too_long")));
        assert_eq!(refused.message(), "a tag has at most 256 bytes");
    }
}

/// A body of JSON with so many bytes.
fn body(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_also_while_requests_run() {
    let lab = Lab::new();
    let server = Server::start(application(&lab).max_request_bytes(100_000).max_in_flight_bytes(250_000)).await;
    let mut client = Client::connect(&server).await;
    let large = post("/wait", body(90_000));
    let running = [client.start(&large).await, client.start(&large).await];
    until("two requests to run", || lab.calls() == 2).await;
    // They are no longer queued, and what they were sent is still there.
    let refused = client.ask(&large).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("too_many_in_flight")));
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.message().contains("250000 bytes"), "{}", refused.message());
    assert_eq!(lab.calls(), 2);
    // What is refused is not read: this is no request.
    client.send(format!(r#"4277["post",{{"url":5,"data":{}}}]"#, body(90_000))).await;
    assert_eq!(client.ack(77).await.status, 429);
    // What is small has room.
    assert_eq!(client.ask(&get("/hello")).await.status, 200);
    lab.0.gate.add_permits(3);
    for id in running {
        assert_eq!(client.ack(id).await.status, 200);
    }
    assert_eq!(client.ask(&large).await.status, 200);
}

#[tokio::test]
async fn a_request_too_many_is_refused_unread() {
    let lab = Lab::new();
    let server = Server::start(application(&lab).max_in_flight(2)).await;
    let mut client = Client::connect(&server).await;
    let running = [client.start(&post("/wait", "null")).await, client.start(&post("/wait", "null")).await];
    until("two requests to run", || lab.calls() == 2).await;
    client.send(r#"4277["post",{"url":5,"headers":[]}]"#).await;
    let refused = client.ack(77).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("too_many_in_flight")));
    assert!(refused.message().contains("at most 2 requests"), "{}", refused.message());
    lab.0.gate.add_permits(2);
    for id in running {
        assert_eq!(client.ack(id).await.status, 200);
    }
    client.send(r#"4278["post",{"url":5,"headers":[]}]"#).await;
    assert_eq!(client.ack(78).await.status, 400);
}

/// Before there was a limit, 64 answers of this size waited: 19 MB.
#[tokio::test]
async fn answers_that_nobody_reads_are_bounded() {
    const LIMIT: usize = 1024 * 1024;
    const EACH: usize = 300_000;
    let lab = Lab::new();
    let server = Server::start(application(&lab).max_answer_bytes(LIMIT).max_backlog_bytes(64 * 1024)).await;
    let mut client = Client::connect(&server).await;
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    // What the kernel takes for a client that does not read differs, so the client asks until it is refused.
    for _ in 0..200 {
        asked.push(client.start(&get(format!("/answer/{EACH}"))).await);
    }
    for id in &asked {
        let answer = client.ack(*id).await;
        let code =
            if answer.status == 200 { String::new() } else { answer.json()["code"].as_str().unwrap().to_owned() };
        answered.push((answer.status, code));
    }
    let count = |status: u16, code: &str| answered.iter().filter(|(s, c)| (*s, &**c) == (status, code)).count();
    let (whole, lost, refused) = (count(200, ""), count(503, "answers_waiting"), count(429, "too_many_in_flight"));
    assert_eq!(whole + lost + refused, asked.len(), "{answered:?}");
    assert_eq!(lab.calls(), whole + lost, "what was refused with 429 did not run");
    assert!(whole > 0 && refused > 0, "{whole} {lost} {refused}");
    // One more exists for a moment, until it is found to have no room.
    let most = lab.0.most_answers.load(Ordering::SeqCst);
    assert!(most <= LIMIT + EACH, "{most}");
    until("all of them to be gone", || lab.0.answers.load(Ordering::SeqCst) == 0).await;
    assert_eq!(client.ask(&get(format!("/answer/{EACH}"))).await.status, 200);
    let refused = client.ask(&get(format!("/answer/{}", LIMIT + 1))).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (500, Some("answer_too_large")));
}

/// Sends this and no more, and gives what is answered until the server has nothing to add.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
    stream.write_all(bytes).await.expect("an open connection");
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    let end = async {
        while let Ok(count @ 1..) = stream.read(&mut part).await {
            answer.extend_from_slice(&part[..count]);
            // The head of an answer, and a body of less than one part.
            if answer.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                break;
            }
        }
    };
    within("an answer", end).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_past_the_limit_is_refused_before_its_end() {
    let lab = Lab::new();
    let server = Server::start(application(&lab).max_request_bytes(1000)).await;
    for length in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let body = "x".repeat(1001);
        let body = if length.starts_with('t') { format!("{:x}\r\n{body}\r\n", body.len()) } else { body };
        let head =
            format!("POST /wait HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n{length}\r\n\r\n");
        let answer = raw(&server, format!("{head}{body}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    assert_eq!(lab.calls(), 0);
}

#[tokio::test]
async fn a_request_past_the_rate_is_refused_without_its_body() {
    let lab = Lab::new();
    let limit = RateLimit::new(1, Duration::from_secs(3600));
    let inner = lab.clone();
    let merged = Router::new().route("/merged", route_post(async move |_: Bytes| inner.call()));
    let server = Server::start(application(&lab).merge(merged).layer(limit)).await;
    assert_eq!(server.http(&get("/hello")).await.status, 200);
    for path in ["/wait", "/merged"] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n");
        let answer = raw(&server, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    }
    assert_eq!(lab.calls(), 0);
}

/// A server that waited for the packet would have made room for it.
#[tokio::test]
async fn a_frame_past_the_limit_closes_before_its_payload() {
    let lab = Lab::new();
    let server = Server::start(application(&lab).max_request_bytes(100_000)).await;
    let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
    let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("an open connection");
    let mut answer = [0; 4096];
    let count = within("the upgrade", stream.read(&mut answer)).await.expect("an open connection");
    assert!(answer[..count].starts_with(b"HTTP/1.1 101"));
    // A masked frame of text, whose payload of 100 MB never comes.
    let mut frame = vec![0x81, 0xff];
    frame.extend_from_slice(&100_000_000_u64.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    stream.write_all(&frame).await.expect("an open connection");
    let end = async { while stream.read(&mut answer).await.is_ok_and(|count| count > 0) {} };
    within("the end of the connection", end).await;
}
