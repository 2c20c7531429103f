//! The clients: Socket.IO packets over a websocket, and HTTP over a connection that is kept alive.

use std::{fs, net::SocketAddr};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{WebSocketStream, client_async_with_config, tungstenite::protocol::WebSocketConfig};

/// A connected socket.
pub(crate) struct Socket<S> {
    stream: WebSocketStream<S>,
    next_id: u64,
}

impl Socket<TcpStream> {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(tcp(address).await).await
    }

    /// Connects as our own client does, which says who it is.
    pub(crate) async fn connect_as(address: SocketAddr, client: &str) -> Self {
        Self::opened(tcp(address).await, &format!(r#"40{{"catamaran":{{"client":"{client}"}}}}"#)).await
    }

    /// Connects as `sails.io.js` does.
    pub(crate) async fn connect_to_sails(address: SocketAddr) -> Self {
        let sdk = "&__sails_io_sdk_version=1.2.1&__sails_io_sdk_platform=node&__sails_io_sdk_language=javascript";
        Self::begun(Self::shake_hands(tcp(address).await, sdk).await, "40").await
    }

    /// Goes on over a websocket with a session that began by long-polling.
    pub(crate) async fn upgrade(stream: TcpStream, session: &str) -> Self {
        let mut socket = Self::shake_hands(stream, session).await;
        socket.send("2probe").await;
        assert_eq!(socket.next().await, "3probe");
        socket.send("5").await;
        socket
    }

    /// The connection alone, for one who reads no packets any more.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(crate) async fn over(stream: S) -> Self {
        Self::opened(stream, "40").await
    }

    async fn opened(stream: S, connect: &str) -> Self {
        Self::begun(Self::shake_hands(stream, "").await, connect).await
    }

    async fn begun(mut socket: Self, connect: &str) -> Self {
        assert!(socket.next().await.starts_with('0'), "the engine opens");
        socket.send(connect).await;
        assert!(socket.next().await.starts_with("40"), "the namespace opens");
        socket
    }

    async fn shake_hands(stream: S, session: &str) -> Self {
        // Thousands of clients share this process, and the usual buffers take 256 KiB each.
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(4096);
        let url = format!("ws://localhost/socket.io/?EIO=4&transport=websocket{session}");
        let (stream, _) = client_async_with_config(url, stream, Some(config)).await.expect("a websocket");
        Self { stream, next_id: 0 }
    }

    async fn send(&mut self, packet: &str) {
        self.stream.send(packet.into()).await.expect("a packet is sent");
    }

    /// Sends an event `count` times at once, and checks the ack of each.
    pub(crate) async fn ask(&mut self, count: u64, event: &str, ack: &str) {
        let first = self.next_id;
        self.next_id += count;
        for id in first..self.next_id {
            self.stream.feed(format!("42{id}{event}").into()).await.expect("a packet is sent");
        }
        self.stream.flush().await.expect("packets are sent");
        for id in first..self.next_id {
            let packet = self.next().await;
            let own = packet.strip_prefix("43").and_then(|rest| rest.strip_prefix(&id.to_string()));
            assert_eq!(own, Some(ack), "the ack of {event}, whole: {packet}");
        }
    }

    /// Sends an event, and returns its ack, which comes before anything else.
    pub(crate) async fn request(&mut self, event: &str) -> String {
        self.send(&format!("420{event}")).await;
        let packet = self.next().await;
        packet.strip_prefix("430").expect("an ack").to_owned()
    }

    /// Waits until the server has closed the socket.
    pub(crate) async fn closed(&mut self) {
        while self.next().await != "41" {}
    }

    /// The next packet that is no ping.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            let message = self.stream.next().await.expect("the connection stays open").expect("a websocket message");
            let text = message.into_text().expect("a packet of text");
            if text.as_str() != "2" {
                return text.as_str().to_owned();
            }
            self.send("3").await;
        }
    }
}

/// As many of the wanted clients as this process may have files open, and its servers, where a client is so many; says so
/// if these are fewer.
pub(crate) fn affordable(wanted: usize, files_each: usize) -> usize {
    /// What else is open.
    const OTHERS: usize = 200;

    let limits = fs::read_to_string("/proc/self/limits").expect("Linux's /proc");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit of open files");
    let files = line.split_whitespace().nth(3).and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let clients = wanted.min(files.saturating_sub(OTHERS) / files_each);
    if clients < wanted {
        println!("  only {clients} clients, since {wanted} need `ulimit -n {}`", wanted * files_each + OTHERS);
    }
    clients
}

/// An HTTP connection.
pub(crate) struct Http {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Http {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: tcp(address).await, answer: Vec::new() }
    }

    /// Sends a request and checks its answer, which ends as `body` does.
    pub(crate) async fn ask(&mut self, request: &str, body: &str) {
        self.exchange(request, |answer| answer.ends_with(body.as_bytes())).await;
    }

    /// Sends a request of long-polling, and returns the packets of the answer.
    pub(crate) async fn poll(&mut self, method: &str, session: &str, packet: &str) -> String {
        let request = format!(
            "{method} /socket.io/?EIO=4&transport=polling{session} HTTP/1.1\r\nhost: localhost\r\n\
             content-type: text/plain\r\ncontent-length: {}\r\n\r\n{packet}",
            packet.len()
        );
        self.fetch(&request).await
    }

    /// Sends a request, and returns the body of the answer.
    pub(crate) async fn fetch(&mut self, request: &str) -> String {
        let body = |answer: &[u8]| {
            let text = std::str::from_utf8(answer).expect("text");
            let (head, body) = text.split_once("\r\n\r\n")?;
            let mut headers = head.lines().filter_map(|line| line.split_once(": "));
            let (_, length) = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length")).expect("a length");
            (length.parse() == Ok(body.len())).then(|| body.to_owned())
        };
        self.exchange(request, |answer| body(answer).is_some()).await;
        body(&self.answer).expect("a whole answer")
    }

    async fn exchange(&mut self, request: &str, is_whole: impl Fn(&[u8]) -> bool) {
        self.stream.write_all(request.as_bytes()).await.expect("a request is sent");
        self.answer.clear();
        while !is_whole(&self.answer) {
            let read = self.stream.read_buf(&mut self.answer).await.expect("an answer");
            assert!(read > 0, "the answer to {request:?} was {:?}", String::from_utf8_lossy(&self.answer));
        }
        assert!(self.answer.starts_with(b"HTTP/1.1 200 "), "{:?}", String::from_utf8_lossy(&self.answer));
    }
}

async fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("small packets are sent at once");
    stream
}
