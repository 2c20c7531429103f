//! The same servers by hand: axum for HTTP, socketioxide with one task per socket for sockets.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::Path,
    routing::{get, post},
    serve::ListenerExt,
};
use serde::{Deserialize, Serialize};
use socketioxide::{
    SocketIo, SocketIoBuilder, TransportType,
    adapter::Adapter,
    extract::{AckSender, SocketRef},
    handler::{ConnectHandler, FromMessageParts, MessageHandler, Value},
    socket::Socket,
};
use socketioxide_redis::{RedisAdapter, RedisAdapterCtr, drivers::redis::redis_client};
use tokio::{net::TcpListener, sync::mpsc};

use super::{Greeting, Note};

const GREETING: Greeting = Greeting { message: "hello" };

pub(crate) async fn serve(listener: TcpListener, router: Router) {
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("small packets are sent at once"));
    axum::serve(listener, router).await.expect("a server");
}

/// The routes that HTTP is compared by.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/hello", get(async || Json(GREETING)))
        .route("/numbers/{id}", get(async |Path(id): Path<u64>| Json(id)))
        .route("/echo", post(async |Json(note): Json<Note>| Json(note)))
}

/// Sockets that are connected and nothing more.
pub(crate) fn silent_sockets() -> Router {
    let (layer, io) = engine().build_layer();
    io.ns("/", async || {});
    Router::new().layer(layer)
}

/// Sockets whose requests go through a queue to one task each, so that they are answered in order.
pub(crate) fn sockets() -> (Router, SocketIo) {
    let (layer, io) = engine().build_layer();
    io.ns("/", (async || {}).with(listen(&io)));
    (Router::new().layer(layer), io)
}

/// The same, with rooms that span all servers on this Redis.
pub(crate) async fn sockets_over_redis(url: &str) -> Router {
    let client = redis_client::Client::open(format!("{url}?protocol=resp3")).expect("a URL of Redis");
    let adapter = RedisAdapterCtr::new_with_redis(&client).await.expect("Redis is there");
    let (layer, io) = engine().with_adapter::<RedisAdapter<_>>(adapter).build_layer();
    io.ns("/", (async || {}).with(listen(&io))).await.expect("Redis is there");
    Router::new().layer(layer)
}

/// A middleware, since a connect handler runs after the client may have sent its first request.
fn listen<A: Adapter>(
    io: &SocketIo<A>,
) -> impl Fn(SocketRef<A>) -> Ready<Result<(), Infallible>> + Clone + Send + Sync + use<A> {
    let rooms = io.clone();
    move |socket| {
        let (sender, arrivals) = mpsc::unbounded_channel();
        for event in [Event::Constant, Event::ConstantNote, Event::Echo, Event::Watch, Event::Publish] {
            socket.on(event.name(), Queue { event, sender: sender.clone() });
        }
        tokio::spawn(work(rooms.clone(), arrivals));
        ready(Ok(()))
    }
}

/// The settings that catamaran has by default.
pub(super) fn engine() -> SocketIoBuilder {
    let packet = (1024 + 64) * 1024;
    SocketIo::builder()
        .transports([TransportType::Websocket])
        .ping_interval(Duration::from_secs(10))
        .ping_timeout(Duration::from_secs(5))
        .max_payload(packet as u64)
        .ws_max_message_size(packet)
        .ws_max_frame_size(packet)
        .max_buffer_size(1024)
}

#[derive(Clone, Copy)]
enum Event {
    /// Acks a constant, and does not look at what it was sent.
    Constant,
    /// The same with a note of 65 bytes.
    ConstantNote,
    Echo,
    Watch,
    Publish,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::Constant => "get",
            Self::ConstantNote => "constant",
            Self::Echo => "post",
            Self::Watch => "watch",
            Self::Publish => "publish",
        }
    }
}

struct Arrival<A: Adapter> {
    socket: Arc<Socket<A>>,
    event: Event,
    packet: Value,
    ack_id: Option<i64>,
}

struct Queue<A: Adapter> {
    event: Event,
    sender: mpsc::UnboundedSender<Arrival<A>>,
}

enum ViaQueue {}

impl<A: Adapter> MessageHandler<A, ViaQueue> for Queue<A> {
    fn call(&self, socket: Arc<Socket<A>>, packet: Value, ack_id: Option<i64>) {
        // It fails only after the socket is gone.
        let _ = self.sender.send(Arrival { socket, event: self.event, packet, ack_id });
    }
}

#[derive(Deserialize)]
struct Request {
    data: Note,
}

#[derive(Serialize)]
pub(super) struct Ack<B> {
    pub(super) body: B,
    pub(super) headers: NoHeaders,
    #[serde(rename = "statusCode")]
    pub(super) status: u16,
}

#[derive(Serialize)]
pub(super) struct NoHeaders {}

async fn work<A: Adapter>(io: SocketIo<A>, mut arrivals: mpsc::UnboundedReceiver<Arrival<A>>) {
    let constant = Note::of(65);
    while let Some(Arrival { socket, event, packet, ack_id }) = arrivals.recv().await {
        // Nothing can be sent in the moment before the connect handler.
        while !socket.connected() {
            tokio::task::yield_now().await;
        }
        match event {
            Event::Constant => ack(&socket, ack_id, GREETING),
            Event::ConstantNote => ack(&socket, ack_id, &constant),
            Event::Echo => ack(&socket, ack_id, note(&packet)),
            Event::Watch => {
                socket.join("room");
                ack(&socket, ack_id, GREETING);
            }
            Event::Publish => {
                io.to("room").emit("said", &note(&packet)).await.expect("no socket is full");
                ack(&socket, ack_id, GREETING);
            }
        }
    }
}

fn note(packet: &Value) -> Note {
    let text = packet.as_str().expect("a packet of text");
    let (_, request): (String, Request) = serde_json::from_str(text).expect("a request");
    request.data
}

fn ack<A: Adapter, B: Serialize>(socket: &Arc<Socket<A>>, ack_id: Option<i64>, body: B) {
    let Ok(sender) = AckSender::<A>::from_message_parts(socket, &mut Value::Bytes(Default::default()), &ack_id);
    sender.send(&Ack { body, headers: NoHeaders {}, status: 200 }).expect("no socket is full");
}
