//! What the tests share: an application on a free port, one request that both transports can send, an HTTP client, and
//! a Socket.IO client that speaks the bytes itself, so that nothing between it and the server repairs anything.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::Future,
    net::SocketAddr,
    time::Duration,
};

use axum::{
    body::Body as HttpBody,
    http::{HeaderMap, HeaderValue, Request, Response},
};
use catamaran::{App, Channel, Hub, ServeError};
use catamaran_tests::pipe;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use socketioxide::SocketIo;
use tokio::{net::TcpListener, net::TcpStream, sync::oneshot, task::JoinSet};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

// They lie beside this file also for tests that take this file by its path.
#[path = "canary.rs"]
pub(crate) mod canary;
#[path = "log.rs"]
pub(crate) mod log;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something, and fails the test by its name if it does not come.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Waits until something is so, looking again after each turn of the scheduler.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    within(what, async {
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        while !so() {
            pause.tick().await;
        }
    })
    .await;
}

/// How many sockets are in a channel of a server that is alone, and so need not ask another.
pub(crate) fn count<C: Channel>(hub: &Hub, channel: &C) -> usize {
    hub.count(channel).now_or_never().expect("it asks nobody").expect("it is alone")
}

/// An application that runs as long as this value lives.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) io: SocketIo,
    _task: JoinSet<Result<(), ServeError>>,
}

impl Server {
    pub(crate) async fn start<S: Send + Sync + 'static>(app: App<S>) -> Self {
        canary::watch();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (sender, started) = oneshot::channel();
        let app = app.socketio(move |io| assert!(sender.send(io.clone()).is_ok()));
        let mut task = JoinSet::new();
        task.spawn(app.serve_on(listener));
        let io = within("the server", started).await.expect("the application is well formed");
        Self { address, io, _task: task }
    }

    /// Asks over HTTP.
    pub(crate) async fn http(&self, ask: &Ask) -> Answer {
        http(self.address, ask).await
    }

    /// Sends any HTTP request, and returns as soon as the head of the answer is there.
    pub(crate) async fn send(&self, request: Request<HttpBody>) -> Response<Incoming> {
        send(self.address, request).await
    }
}

/// The router of an application, served by axum itself as long as this value lives.
pub(crate) struct Embedded {
    pub(crate) address: SocketAddr,
    _task: JoinSet<()>,
}

impl Embedded {
    /// Serves it without telling it its peers.
    pub(crate) async fn start<S: Send + Sync + 'static>(app: App<S>) -> Self {
        let router = app.into_router().expect("the application is well formed");
        Self::run(|listener| axum::serve(listener, router).into_future()).await
    }

    /// Serves it, and tells it its peers.
    pub(crate) async fn with_peers<S: Send + Sync + 'static>(app: App<S>) -> Self {
        let router = app.into_router().expect("the application is well formed");
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        Self::run(|listener| axum::serve(listener, service).into_future()).await
    }

    async fn run<F>(serve: impl FnOnce(TcpListener) -> F) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let serving = serve(listener);
        let mut task = JoinSet::new();
        task.spawn(async { serving.await.expect("axum serves for ever") });
        Self { address, _task: task }
    }
}

/// Asks over HTTP, on a connection of its own.
pub(crate) async fn http(address: SocketAddr, ask: &Ask) -> Answer {
    let method = ask.method.to_uppercase();
    let mut request = Request::builder().method(&*method).uri(&ask.url);
    let says = |name| ask.headers.iter().any(|(said, _)| said == name);
    if !says("host") {
        request = request.header("host", address.to_string());
    }
    if ask.data.is_some() && !says("content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in canary::headers(&ask.headers) {
        request = request.header(name, value);
    }
    let body = ask.data.clone().map_or_else(HttpBody::empty, HttpBody::from);
    let response = send(address, request.body(body).expect("a request that HTTP can carry")).await;
    within("the body", Answer::of_http(response)).await
}

async fn send(address: SocketAddr, request: Request<HttpBody>) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.expect("the server accepts");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a fresh connection");
    tokio::spawn(connection.with_upgrades());
    within("the answer", sender.send_request(request)).await.expect("an answer over HTTP")
}

/// One request that both transports can carry.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// In lower case, as the event is named.
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    /// JSON text.
    pub(crate) data: Option<String>,
}

impl Ask {
    pub(crate) fn new(method: &'static str, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), data: None }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn data(mut self, json: impl Into<String>) -> Self {
        self.data = Some(json.into());
        self
    }

    /// The event, as `sails.io.js` writes it.
    pub(crate) fn event(&self) -> String {
        let headers: serde_json::Map<_, _> =
            self.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let url = serde_json::Value::from(&*self.url);
        let data = self.data.as_ref().map(|data| format!(r#""data":{data},"#)).unwrap_or_default();
        let headers = serde_json::Value::from(headers);
        let canary = canary::key();
        format!(r#"["{0}",{{"method":"{0}",{canary}"headers":{headers},{data}"url":{url}}}]"#, self.method)
    }
}

pub(crate) fn get(url: impl Into<String>) -> Ask {
    Ask::new("get", url)
}

pub(crate) fn post(url: impl Into<String>, data: impl Into<String>) -> Ask {
    Ask::new("post", url).data(data)
}

/// The lines that every request of these tests has in its head, for a test that writes one itself.
pub(crate) fn canary_lines() -> String {
    canary::headers::<&str>(&[]).iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// What came back, over either transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Body,
    /// Each `set-cookie`, which may hold commas; an ack has none.
    pub(crate) set_cookies: Vec<String>,
    /// What an ack says of channels to a client that asked for positions; else null.
    pub(crate) channels: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    /// JSON text, byte for byte; text is a JSON string.
    Json(String),
    Bytes(Vec<u8>),
}

impl Answer {
    async fn of_http(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        Self {
            status: head.status.as_u16(),
            body: Body::of_http(&head.headers, &bytes),
            headers: joined(&head.headers),
            set_cookies: head.headers.get_all("set-cookie").iter().map(text).collect(),
            channels: serde_json::Value::Null,
        }
    }

    /// The body as a value; of an answer that must have one.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        match &self.body {
            Body::Json(text) => serde_json::from_str(text).expect("JSON"),
            other => panic!("expected JSON, got {other:?}"),
        }
    }

    /// The `message` of an error.
    #[track_caller]
    pub(crate) fn message(&self) -> String {
        let body = self.json();
        body["message"].as_str().unwrap_or_else(|| panic!("expected a message, got {body}")).to_owned()
    }
}

impl Body {
    fn of_http(headers: &HeaderMap, bytes: &[u8]) -> Self {
        let content_type = headers.get("content-type").map_or("", |value| value.to_str().expect("text"));
        match std::str::from_utf8(bytes) {
            _ if bytes.is_empty() => Self::None,
            Ok(text) if content_type.starts_with("application/json") => Self::Json(text.to_owned()),
            Ok(text) if content_type.starts_with("text/") || content_type.is_empty() => Self::text(text),
            _ => Self::Bytes(bytes.to_vec()),
        }
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::Json(serde_json::Value::from(text).to_string())
    }
}

fn text(value: &HeaderValue) -> String {
    value.to_str().expect("a header of text").to_owned()
}

fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = text(value);
        let entry = all.entry(name.as_str().into()).or_default();
        if !entry.is_empty() {
            entry.push_str(", ");
        }
        entry.push_str(&value);
    }
    all
}

/// The version of Engine.IO: `sails.io.js` speaks 3, today's socket.io-client 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eio {
    V3,
    V4,
}

/// What the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Ack(i64, Answer),
    /// The JSON text of the event: its name and its arguments.
    Event(String),
    /// Anything else, as it came: `44{..}`.
    Other(String),
    Closed,
}

/// A Socket.IO client over WebSocket.
pub(crate) struct Client {
    stream: WebSocketStream<TcpStream>,
    eio: Eio,
    last_id: i64,
    acks: HashMap<i64, Answer>,
    others: VecDeque<Packet>,
}

impl Client {
    /// A client of Engine.IO 4, connected.
    pub(crate) async fn connect(server: &Server) -> Self {
        Self::with(server, Eio::V4, &[]).await
    }

    /// A client that sends these headers with its handshake, connected.
    pub(crate) async fn with(server: &Server, eio: Eio, headers: &[(&str, &str)]) -> Self {
        let mut client = Self::open(server.address, "/socket.io", eio, headers).await;
        client.enter().await;
        client
    }

    /// Our own client, which says who it is and is told positions.
    pub(crate) async fn resuming(server: &Server, client: &str) -> Self {
        Self::returning(server, client, "{}").await
    }

    /// Our own client, which says where it stood before.
    pub(crate) async fn returning(server: &Server, client: &str, positions: &str) -> Self {
        Self::returning_at(server.address, client, positions).await
    }

    /// As [`returning`](Self::returning), on another way to the server.
    pub(crate) async fn returning_at(address: SocketAddr, client: &str, positions: &str) -> Self {
        let mut socket = Self::open(address, "/socket.io", Eio::V4, &[]).await;
        socket.send(format!(r#"40{{"catamaran":{{"client":"{client}","resume":{positions}}}}}"#)).await;
        assert!(matches!(socket.receive().await, Packet::Other(connected) if connected.starts_with("40")));
        socket
    }

    /// Asks, saying where this client was in the channels it subscribes to again.
    pub(crate) async fn resume(&mut self, url: &str, positions: &str) -> Answer {
        self.last_id += 1;
        let id = self.last_id;
        self.send(format!(r#"42{id}["get",{{"url":"{url}","resume":{positions}}}]"#)).await;
        self.ack(id).await
    }

    /// Opens the connection alone, without a namespace.
    pub(crate) async fn open(address: SocketAddr, path: &str, eio: Eio, headers: &[(&str, &str)]) -> Self {
        Self::open_with_query(address, path, "", eio, headers).await
    }

    /// As [`open`](Self::open), with more in the query: `a=1&b=2`.
    pub(crate) async fn open_with_query(
        address: SocketAddr,
        path: &str,
        query: &str,
        eio: Eio,
        headers: &[(&str, &str)],
    ) -> Self {
        let version = if eio == Eio::V3 { 3 } else { 4 };
        let more = if query.is_empty() { String::new() } else { format!("&{query}") };
        let url = format!("ws://{address}{path}/?EIO={version}&transport=websocket{more}");
        let mut request = url.into_client_request().expect("a url");
        for (name, value) in canary::handshake(headers) {
            let name: hyper::header::HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        let mut client = Self::shake_hands(request, eio).await;
        assert!(matches!(client.receive().await, Packet::Other(open) if open.starts_with("0{")));
        client
    }

    /// Goes on over WebSocket with a session that began by long-polling.
    pub(crate) async fn upgrade(address: SocketAddr, session: &str) -> Self {
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket&sid={session}");
        let mut request = url.into_client_request().expect("a url");
        for (name, value) in canary::headers::<&str>(&[]) {
            let name: hyper::header::HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        let mut client = Self::shake_hands(request, Eio::V4).await;
        client.send("2probe").await;
        assert_eq!(client.receive().await, Packet::Other("3probe".into()));
        client.send("5").await;
        client
    }

    async fn shake_hands(request: Request<()>, eio: Eio) -> Self {
        let address = request.uri().authority().expect("an address").as_str();
        let stream = within("the connection", TcpStream::connect(address)).await.expect("the server accepts");
        stream.set_nodelay(true).expect("a connection that is there");
        // tungstenite sends headers of ASCII only.
        let stream = if request.headers().values().all(|value| value.to_str().is_ok()) {
            within("the handshake", client_async(request, stream)).await.expect("the handshake").0
        } else {
            within("the handshake", pipe::upgrade(&request, stream)).await
        };
        Self { stream, eio, last_id: 0, acks: HashMap::new(), others: VecDeque::new() }
    }

    /// Waits for the namespace `/`, which Engine.IO 4 asks for and 3 is given.
    pub(crate) async fn enter(&mut self) {
        if self.eio == Eio::V4 {
            self.send("40").await;
        }
        assert!(matches!(self.receive().await, Packet::Other(connected) if connected.starts_with("40")));
    }

    /// Sends a frame of text as it is.
    pub(crate) async fn send(&mut self, packet: impl Into<String>) {
        within("room to send", self.stream.send(Message::text(packet.into()))).await.expect("an open connection");
    }

    /// Sends a frame as it is; false if the server has closed the connection.
    pub(crate) async fn try_send(&mut self, frame: Message) -> bool {
        within("room to send", self.stream.send(frame)).await.is_ok()
    }

    /// Sends a request without waiting for anything, and returns the id of its ack.
    pub(crate) async fn start(&mut self, ask: &Ask) -> i64 {
        let id = self.buffer(ask).await;
        self.flush().await;
        id
    }

    /// As [`start`](Self::start), but leaves the packet in the buffer until [`flush`](Self::flush).
    pub(crate) async fn buffer(&mut self, ask: &Ask) -> i64 {
        self.last_id += 1;
        let packet = format!("42{}{}", self.last_id, ask.event());
        within("room to send", self.stream.feed(Message::text(packet))).await.expect("an open connection");
        self.last_id
    }

    pub(crate) async fn flush(&mut self) {
        within("room to send", self.stream.flush()).await.expect("an open connection");
    }

    /// Sends a request without an ack.
    pub(crate) async fn tell(&mut self, ask: &Ask) {
        self.send(format!("42{}", ask.event())).await;
    }

    /// Asks, and waits for the ack.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Answer {
        let id = self.start(ask).await;
        self.ack(id).await
    }

    /// Waits for one ack; what comes before it is kept.
    pub(crate) async fn ack(&mut self, id: i64) -> Answer {
        loop {
            if let Some(answer) = self.acks.remove(&id) {
                return answer;
            }
            match self.receive().await {
                Packet::Ack(other, answer) => {
                    assert!(self.acks.insert(other, answer).is_none(), "the ack {other} came twice");
                }
                Packet::Closed => panic!("the server closed the connection before the ack {id}"),
                packet => self.others.push_back(packet),
            }
        }
    }

    /// The next packet that is no ack.
    pub(crate) async fn next(&mut self) -> Packet {
        if let Some(packet) = self.others.pop_front() {
            return packet;
        }
        loop {
            match self.receive().await {
                Packet::Ack(id, answer) => {
                    self.acks.insert(id, answer);
                }
                packet => return packet,
            }
        }
    }

    /// The next packet, whatever it is. Pings are answered.
    pub(crate) async fn receive(&mut self) -> Packet {
        within("a packet", self.read()).await
    }

    async fn read(&mut self) -> Packet {
        loop {
            let text = match self.stream.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Packet::Closed,
                Some(Ok(_)) => continue,
            };
            match &*text {
                "2" => {
                    let _ = self.stream.send(Message::text("3")).await;
                }
                "3" => {}
                // The server closes the session, and then the connection.
                "1" => return Packet::Closed,
                text if text.starts_with("42") => return Packet::Event(text[2..].to_owned()),
                text if text.starts_with("43") => return ack(&text[2..], None),
                text if text.starts_with("461-") => {
                    let bytes = self.attachment().await;
                    return ack(&text[4..], Some(bytes));
                }
                text => return Packet::Other(text.to_owned()),
            }
        }
    }

    async fn attachment(&mut self) -> Vec<u8> {
        match self.stream.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                // Engine.IO 3 puts the type of the packet, 4, before the bytes.
                let skipped = usize::from(self.eio == Eio::V3);
                bytes[skipped..].to_vec()
            }
            other => panic!("expected an attachment, got {other:?}"),
        }
    }

    /// Ends the connection without a word, as a crashed client does.
    pub(crate) fn drop_connection(self) {
        drop(self.stream.into_inner());
    }
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default, deserialize_with = "present")]
    body: Option<Box<RawValue>>,
    headers: BTreeMap<String, String>,
    #[serde(rename = "statusCode")]
    status: u16,
    #[serde(default)]
    channels: serde_json::Value,
}

/// A `null` is a body, an absent key is none.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Reads an ack: its id, and its one argument.
pub(crate) fn ack(text: &str, attachment: Option<Vec<u8>>) -> Packet {
    let bracket = text.find('[').expect("an ack has an array");
    let id = text[..bracket].parse().expect("an ack has a number");
    let [Reply { body, headers, status, channels }]: [Reply; 1] =
        serde_json::from_str(&text[bracket..]).expect("one reply");
    let body = match (attachment, body) {
        (Some(bytes), Some(_)) => Body::Bytes(bytes),
        (_, Some(json)) => Body::Json(json.get().to_owned()),
        (_, None) => Body::None,
    };
    Packet::Ack(id, Answer { status, headers, body, set_cookies: Vec::new(), channels })
}
