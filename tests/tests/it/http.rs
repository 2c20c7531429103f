//! HTTP as it is on the wire: what frames a request and an answer, for clients and proxies that speak it themselves.

use std::io;

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::StatusCode,
    routing::{any, get as route_get},
};
use catamaran::prelude::*;
use futures_util::stream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Client, Server, canary_lines, get, within};

#[action(get "/hello")]
async fn hello() -> &'static str {
    "hello"
}

#[action(post "/text")]
async fn text(body: String) -> String {
    body
}

async fn status(Path(code): Path<u16>) -> StatusCode {
    StatusCode::from_u16(code).expect("a status")
}

fn parts(until: usize) -> Body {
    let part = move |n| if n < until { Ok(format!("part {n};")) } else { Err(io::Error::other("broken")) };
    Body::from_stream(stream::iter((0..5).map(part)))
}

async fn server() -> Server {
    let more = Router::new()
        .route("/status/{code}", any(status))
        .route("/stream", route_get(async || parts(5)))
        .route("/broken", route_get(async || parts(3)));
    Server::start(App::new(()).mount(routes![hello, text]).merge(more)).await
}

/// A connection whose bytes a test writes itself.
struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
    host: String,
}

/// An answer: its status, its head in lower case, and its body without its framing. `None`: the connection ended.
type Read = Option<(u16, String, String)>;

impl Raw {
    async fn new(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).await.expect("the server accepts");
        Self { stream, read: Vec::new(), host: format!("host: {}\r\n{}", server.address, canary_lines()) }
    }

    /// Writes the line of a request, `host`, and the rest as it is.
    async fn send(&mut self, line: &str, rest: &str) {
        let request = format!("{line}\r\n{}{rest}", self.host);
        // The server may have closed it.
        let _ = self.stream.write_all(request.as_bytes()).await;
    }

    /// Reads one answer. Those to HEAD have no body.
    async fn answer(&mut self, method: &str) -> Read {
        within("an answer", async {
            let head = loop {
                if let Some(end) = self.find("\r\n\r\n") {
                    break self.take(end + 4);
                }
                if !self.more().await {
                    return None;
                }
            };
            let head = head.to_lowercase();
            let status: u16 = head.split(' ').nth(1).expect("a status").parse().expect("a number");
            let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let body = if method == "HEAD" || status < 200 || matches!(status, 204 | 304) {
                String::new()
            } else if value("transfer-encoding") == Some("chunked") {
                self.chunks().await?
            } else if let Some(length) = value("content-length") {
                let length = length.parse().expect("a number");
                while self.read.len() < length {
                    if !self.more().await {
                        return None;
                    }
                }
                self.take(length)
            } else {
                while self.more().await {}
                self.take(self.read.len())
            };
            Some((status, head, body))
        })
        .await
    }

    async fn chunks(&mut self) -> Option<String> {
        let mut body = String::new();
        loop {
            let Some(end) = self.find("\r\n") else {
                if self.more().await {
                    continue;
                }
                return None;
            };
            let length = usize::from_str_radix(&String::from_utf8_lossy(&self.read[..end]), 16).expect("a length");
            while self.read.len() < end + length + 4 {
                if !self.more().await {
                    return None;
                }
            }
            let chunk = self.take(end + length + 4);
            body += &chunk[end + 2..end + 2 + length];
            if length == 0 {
                return Some(body);
            }
        }
    }

    fn find(&self, bytes: &str) -> Option<usize> {
        self.read.windows(bytes.len()).position(|window| window == bytes.as_bytes())
    }

    fn take(&mut self, length: usize) -> String {
        String::from_utf8(self.read.drain(..length).collect()).expect("text")
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.read).await.is_ok_and(|bytes| bytes > 0)
    }
}

#[tokio::test]
async fn answers_without_a_body_are_followed_by_the_next() {
    let server = server().await;
    for code in [200, 204, 205, 206, 304, 307, 400, 418, 599] {
        for method in ["GET", "HEAD", "POST", "DELETE"] {
            let mut raw = Raw::new(&server).await;
            raw.send(&format!("{method} /status/{code} HTTP/1.1"), "content-length: 0\r\n\r\n").await;
            raw.send("GET /hello HTTP/1.1", "\r\n").await;
            assert_eq!(raw.answer(method).await.expect("an answer").0, code, "{method}");
            let (status, _, body) = raw.answer("GET").await.expect("the next answer");
            assert_eq!((status, &*body), (200, "hello"), "after {method} {code}");
        }
    }
    for path in ["/hello", "/stream", "/nowhere"] {
        let mut raw = Raw::new(&server).await;
        raw.send(&format!("HEAD {path} HTTP/1.1"), "\r\n").await;
        raw.send("GET /hello HTTP/1.1", "\r\n").await;
        raw.answer("HEAD").await.expect("an answer");
        assert_eq!(raw.answer("GET").await.expect("the next answer").2, "hello", "after HEAD {path}");
    }
}

#[tokio::test]
async fn body_is_asked_for_only_where_it_is_read() {
    let server = server().await;
    let mut raw = Raw::new(&server).await;
    raw.send("POST /text HTTP/1.1", "expect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    assert_eq!(raw.answer("POST").await.expect("an answer").0, 100);
    raw.stream.write_all(b"hi").await.expect("room for a body");
    let (status, _, body) = raw.answer("POST").await.expect("an answer");
    assert_eq!((status, &*body), (200, "hi"));
    // Whoever is refused before need not send it, and what follows is not taken for it.
    let mut raw = Raw::new(&server).await;
    raw.send("POST /nowhere HTTP/1.1", "expect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    assert_eq!(raw.answer("POST").await.expect("an answer").0, 404);
}

#[tokio::test]
async fn http_1_0_gets_whole_answers() {
    let server = server().await;
    for (path, whole) in [("/hello", "hello"), ("/stream", "part 0;part 1;part 2;part 3;part 4;")] {
        let mut raw = Raw::new(&server).await;
        raw.send(&format!("GET {path} HTTP/1.0"), "\r\n").await;
        let (status, head, body) = raw.answer("GET").await.expect("an answer");
        assert_eq!((status, &*body), (200, whole), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(raw.answer("GET").await, None, "the connection ends after {path}");
    }
}

#[tokio::test]
async fn absolute_targets_and_chunked_bodies_are_read() {
    let server = server().await;
    let mut raw = Raw::new(&server).await;
    raw.send(&format!("GET http://{}/hello HTTP/1.1", server.address), "\r\n").await;
    assert_eq!(raw.answer("GET").await.expect("an answer").2, "hello");
    raw.send(
        "POST /text HTTP/1.1",
        "transfer-encoding: chunked\r\n\r\n2;ext=1\r\nhi\r\n3\r\n, a\r\n0\r\nx-trailer: 1\r\n\r\n",
    )
    .await;
    assert_eq!(raw.answer("POST").await.expect("an answer").2, "hi, a");
    raw.send("GET /hello HTTP/1.1", "\r\n").await;
    assert_eq!(raw.answer("GET").await.expect("an answer").2, "hello");
}

/// A proxy that reads the length of a body by another rule than the server would pass a request on that it never saw.
#[tokio::test]
async fn bodies_of_two_lengths_carry_no_second_request() {
    let server = server().await;
    let framings = [
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2, 3\r\n",
        "content-length: +2\r\n",
        "content-length: 0x2\r\n",
        "content-length: -1\r\n",
        "content-length: 2 2\r\n",
        "content-length: 99999999999999999999\r\n",
        "content-length : 2\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\r\n chunked\r\n",
    ];
    let sound = ["content-length: 5\r\n", "transfer-encoding: chunked\r\n"];
    let mut through = Vec::new();
    for framing in sound.into_iter().chain(framings) {
        let mut raw = Raw::new(&server).await;
        let smuggled = format!("GET /hello HTTP/1.1\r\n{}\r\n", raw.host);
        raw.send("POST /text HTTP/1.1", &format!("{framing}\r\n0\r\n\r\n{smuggled}")).await;
        let first = raw.answer("POST").await;
        let second = raw.answer("GET").await;
        if second.is_some() {
            assert_eq!(first.map(|read| read.0), Some(200), "{framing:?}");
            through.push(framing);
        }
    }
    assert_eq!(through, sound);
}

#[tokio::test]
async fn answers_that_break_off_are_whole_on_neither_transport() {
    let server = server().await;
    let mut raw = Raw::new(&server).await;
    raw.send("GET /broken HTTP/1.1", "\r\n").await;
    assert_eq!(raw.answer("GET").await, None);
    let mut client = Client::connect(&server).await;
    let answer = client.ask(&get("/broken")).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("broken_answer")));
    assert_eq!(client.ask(&get("/stream")).await.status, 200);
}
