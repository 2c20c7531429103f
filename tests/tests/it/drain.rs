//! How a server process ends when it is told to: what it still answers, what it refuses, and that it ends.

use axum::body::Body as HttpBody;
use hyper::{Request, Response, body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    process::Command,
};

use crate::{
    process::Process,
    support::{Answer, Client, Eio, Packet, canary_lines, get, http, post, within},
};

/// Longer than any test waits.
const NEVER: &str = "3600000";

/// Starts the server that waits at gates.
async fn start(args: &[&str]) -> Process {
    let process = Process::start(Command::new(env!("CARGO_BIN_EXE_drain-app")).args(args)).await;
    // A server that answers listens to signals, too.
    assert_eq!(http(process.address, &get("/hello")).await.status, 200);
    process
}

impl Process {
    /// Waits until one more request waits at the gate.
    async fn began(&mut self) {
        self.says("began").await;
    }

    async fn says(&mut self, word: &str) {
        let line = within(word, self.lines.next_line()).await.expect("text");
        assert_eq!(line.as_deref(), Some(word));
    }

    async fn open_gate(&mut self) {
        self.child.stdin.as_mut().expect("a pipe").write_all(b"open\n").await.expect("a process that reads");
    }

    async fn client(&self) -> Client {
        let mut client = Client::open(self.address, "/socket.io", Eio::V4, &[]).await;
        client.enter().await;
        client
    }

    async fn our_client(&self, name: &str) -> Client {
        let mut client = Client::open(self.address, "/socket.io", Eio::V4, &[]).await;
        client.send(format!(r#"40{{"catamaran":{{"client":"{name}"}}}}"#)).await;
        assert!(matches!(client.receive().await, Packet::Other(connected) if connected.starts_with("40")));
        client
    }

    /// Asks over HTTP until the server refuses what has not begun, and returns that answer.
    async fn refusal(&self) -> Answer {
        within("a refusal", async {
            loop {
                let answer = http(self.address, &get("/hello")).await;
                if answer.status != 200 {
                    return answer;
                }
            }
        })
        .await
    }
}

/// An HTTP connection that stays open between requests.
struct KeptAlive(SendRequest<HttpBody>);

impl KeptAlive {
    async fn to(process: &Process) -> Self {
        let stream = TcpStream::connect(process.address).await.expect("the server accepts");
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        Self(sender)
    }

    async fn get(&mut self, url: &str) -> Response<Incoming> {
        let request = Request::get(url).header("host", "localhost").body(HttpBody::empty()).expect("a request");
        within("an answer", self.0.send_request(request)).await.expect("an answer over HTTP")
    }
}

fn is_refusal(answer: &Answer) -> bool {
    answer.status == 503
        && answer.headers.get("x-catamaran-not-run").is_some_and(|mark| mark == "1")
        && answer.json()["code"] == "draining"
}

#[tokio::test]
async fn what_began_is_answered_and_the_rest_is_refused_over_both_transports() {
    let mut process = start(&[NEVER]).await;
    let (mut idle, mut client) = (KeptAlive::to(&process).await, process.client().await);
    assert!(!idle.get("/hello").await.headers().contains_key("connection"));
    let address = process.address;
    let over_http = tokio::spawn(async move { http(address, &get("/gate")).await });
    let over_socket = client.start(&get("/gate")).await;
    process.began().await;
    process.began().await;

    process.signal("TERM").await;
    let refused = process.refusal().await;
    assert!(is_refusal(&refused), "{refused:?}");
    assert_eq!(refused.headers["connection"], "close");
    let refused = client.ask(&get("/hello")).await;
    assert!(is_refusal(&refused), "{refused:?}");
    assert!(is_refusal(&client.ask(&post("/effects", r#"{"id":"1"}"#)).await));
    let refused = idle.get("/hello").await;
    assert_eq!(refused.status(), 503);
    assert_eq!([&refused.headers()["x-catamaran-not-run"], &refused.headers()["connection"]], ["1", "close"]);
    let handshake = get("/socket.io/?EIO=4&transport=websocket")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let handshake = http(process.address, &handshake).await;
    assert!(is_refusal(&handshake), "{handshake:?}");
    // A client that sends all of its body, more than lies in buffers, before it reads.
    let large = TcpSocket::new_v4().expect("a socket");
    large.set_send_buffer_size(16 * 1024).expect("a small buffer");
    let mut large = large.connect(process.address).await.expect("the server accepts");
    let request = format!("POST /effects HTTP/1.1\r\nhost: a\r\ncontent-length: 900000\r\n\r\n{}", "x".repeat(900_000));
    large.write_all(request.as_bytes()).await.expect("a server that reads");
    let mut refused = String::new();
    within("the refusal", large.read_to_string(&mut refused)).await.expect("an answer");
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("x-catamaran-not-run: 1"), "{refused}");

    process.open_gate().await;
    for answer in [over_http.await.expect("no panic"), client.ack(over_socket).await] {
        assert_eq!((answer.status, answer.json()), (200, "passed".into()));
    }
    assert_eq!(client.next().await, Packet::Closed);
    process.end().await;
}

#[tokio::test]
async fn the_deadline_cuts_what_takes_longer() {
    let mut process = start(&["300"]).await;
    let mut client = process.client().await;
    client.start(&get("/gate")).await;
    process.began().await;
    process.signal("TERM").await;
    assert_eq!(client.next().await, Packet::Closed);
    process.end().await;
}

#[tokio::test]
async fn an_answer_that_has_no_end_is_cut_at_the_deadline() {
    let process = start(&["300"]).await;
    // A request whose body never comes.
    let mut stream = TcpStream::connect(process.address).await.expect("the server accepts");
    let head = "POST /effects HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("an open connection");
    assert_eq!(http(process.address, &get("/hello")).await.status, 200);
    process.signal("TERM").await;
    process.end().await;
}

#[tokio::test]
async fn a_second_signal_or_an_interrupt_stops_at_once() {
    for signals in [&["TERM", "TERM"][..], &["TERM", "INT"], &["INT"]] {
        let mut process = start(&[NEVER]).await;
        let mut client = process.client().await;
        client.start(&get("/gate")).await;
        process.began().await;
        for (n, signal) in signals.iter().enumerate() {
            process.signal(signal).await;
            if n + 1 < signals.len() {
                process.refusal().await;
            }
        }
        assert_eq!(client.next().await, Packet::Closed, "{signals:?}");
        process.end().await;
    }
}

/// The URL of a socket that is connected by long-polling.
async fn polling(process: &Process) -> String {
    let url = "/socket.io/?EIO=4&transport=polling";
    let open = http(process.address, &get(url)).await.json();
    let open: Value = serde_json::from_str(&open.as_str().expect("text")[1..]).expect("a handshake");
    let url = format!("{url}&sid={}", open["sid"].as_str().expect("an id"));
    assert_eq!(http(process.address, &post(&*url, "40")).await.status, 200);
    // The first polls bring the connect's answer, and a ping.
    let mut brought = String::new();
    while !brought.contains("40{") || !brought.contains('2') {
        brought.push_str(&http(process.address, &get(&*url)).await.json().to_string());
    }
    url
}

#[tokio::test]
async fn an_answer_still_reaches_a_client_that_polls() {
    let mut process = start(&[NEVER, "polling"]).await;
    let url = polling(&process).await;
    assert_eq!(http(process.address, &post(&*url, r#"420["get",{"url":"/gate"}]"#)).await.status, 200);
    process.began().await;
    process.signal("TERM").await;
    process.refusal().await;
    let mut poll = TcpStream::connect(process.address).await.expect("the server accepts");
    let head = format!("GET {url} HTTP/1.1\r\nhost: a\r\n{}\r\n", canary_lines());
    poll.write_all(head.as_bytes()).await.expect("an open connection");
    // When this is answered, the poll has arrived.
    process.refusal().await;
    process.open_gate().await;
    let mut answer = String::new();
    within("the end of the poll", poll.read_to_string(&mut answer)).await.expect("an answer");
    assert!(answer.contains(r#"430[{"body":"passed""#), "{answer}");
    process.end().await;
}

#[tokio::test]
async fn a_long_poll_does_not_hold_the_end_up() {
    let process = start(&[NEVER, "polling"]).await;
    let url = polling(&process).await;
    let mut poll = TcpStream::connect(process.address).await.expect("the server accepts");
    let head = format!("GET {url} HTTP/1.1\r\nhost: a\r\n{}\r\n", canary_lines());
    poll.write_all(head.as_bytes()).await.expect("an open connection");
    // When this is answered, the poll has arrived.
    assert_eq!(http(process.address, &get("/hello")).await.status, 200);
    process.signal("TERM").await;
    let mut answer = String::new();
    within("the end of the poll", poll.read_to_string(&mut answer)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n1"), "{answer}");
    process.end().await;
}

#[tokio::test]
async fn our_clients_are_told_to_leave_one_after_the_other_and_waited_for() {
    let process = start(&["8000"]).await;
    let mut stock = process.client().await;
    let mut ours = Vec::new();
    for n in 0..4 {
        ours.push(process.our_client(&format!("our-client-number-{n}")).await);
    }
    process.signal("TERM").await;
    let mut delays = Vec::new();
    for client in &mut ours {
        let Packet::Event(event) = client.next().await else { panic!("expected an event") };
        let event: Value = serde_json::from_str(&event).expect("JSON");
        assert_eq!(event[0], "$drain");
        delays.push(event[1]["after_ms"].as_u64().expect("milliseconds"));
    }
    delays.sort_unstable();
    assert_eq!(delays[0], 0);
    assert!(delays.windows(2).all(|pair| pair[1] - pair[0] > 1000), "{delays:?}");
    assert!(delays[3] < 8000, "{delays:?}");

    // What one of them asks until it leaves is answered, and the server ends only after the last.
    for client in ours {
        let mut client = client;
        assert!(is_refusal(&client.ask(&get("/hello")).await));
    }
    assert_eq!(stock.next().await, Packet::Closed, "no event comes before");
    process.end().await;
}

#[tokio::test]
async fn sockets_come_and_go_as_ever_until_the_end() {
    let mut process = start(&[NEVER, "leaving"]).await;
    let mut client = process.client().await;
    // A connection that has not entered the namespace yet.
    let mut late = Client::open(process.address, "/socket.io", Eio::V4, &[]).await;
    client.start(&get("/gate")).await;
    process.began().await;
    process.signal("TERM").await;
    process.refusal().await;
    late.enter().await;
    assert!(is_refusal(&late.ask(&get("/hello")).await));
    process.open_gate().await;
    for mut client in [client, late] {
        assert_eq!(client.next().await, Packet::Closed);
        process.says("left").await;
    }
    process.end().await;
}

#[tokio::test]
async fn a_server_that_says_it_is_not_ready_answers_for_a_while() {
    let process = start(&["4000", "health"]).await;
    let mut idle = KeptAlive::to(&process).await;
    assert_eq!(idle.get("/health/ready").await.status(), 200);
    process.signal("TERM").await;
    within("the end of readiness", async { while http(process.address, &get("/health/ready")).await.status == 200 {} })
        .await;
    let answer = idle.get("/hello").await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["connection"]), (200, &"close".parse().expect("a value")));
    assert_eq!(http(process.address, &get("/health/live")).await.status, 200);
    let mut client = process.client().await;
    assert_eq!(client.ask(&get("/hello")).await.status, 200);
    client.start(&get("/gate")).await;
    assert!(is_refusal(&process.refusal().await));
    process.end().await;
}
