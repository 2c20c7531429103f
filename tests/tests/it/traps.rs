//! What goes wrong with Socket.IO servers unless somebody sees to it. Each test of a trap says what it gave when the
//! remedy was taken out.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::{Body as HttpBody, Bytes},
    extract::{Request, State},
    middleware::{Next, from_fn},
    response::Response,
};
use catamaran::{App, Ctx, Socket, action, controller, routes};
use futures_util::stream;
use serde_json::json;
use socketioxide::{SocketIo, TransportType};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::support::{Answer, Ask, Body, Client, Eio, Packet, Server, ack, get, until, within};

/// What the actions and the tests share.
#[derive(Clone, Default)]
pub(crate) struct Lab(Arc<Shared>);

struct Shared {
    /// The numbers of requests, in the order in which their actions were entered.
    entered: Mutex<Vec<u32>>,
    gate: Semaphore,
    waiting: AtomicUsize,
    io: OnceLock<SocketIo>,
}

impl Default for Shared {
    fn default() -> Self {
        let (entered, waiting, io) = Default::default();
        Self { entered, gate: Semaphore::new(0), waiting, io }
    }
}

impl Lab {
    fn enter(&self, number: u32) {
        self.0.entered.lock().unwrap().push(number);
    }

    fn entered(&self) -> Vec<u32> {
        self.0.entered.lock().unwrap().clone()
    }

    fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::SeqCst)
    }
}

/// Counts an action that is under way, until it ends or is cancelled.
struct Waiting(Lab);

impl Waiting {
    fn new(lab: &Lab) -> Self {
        lab.0.waiting.fetch_add(1, Ordering::SeqCst);
        Self(lab.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[controller("/")]
mod actions {
    use super::*;

    #[action(get "/hello")]
    pub(crate) async fn hello() -> &'static str {
        "hello"
    }

    #[action(get "/enter/{number}")]
    pub(crate) async fn enter(State(lab): State<Lab>, number: u32) -> String {
        lab.enter(number);
        number.to_string()
    }

    /// Waits for the gate to let it through.
    #[action(get "/wait")]
    pub(crate) async fn wait(State(lab): State<Lab>) -> &'static str {
        let _waiting = Waiting::new(&lab);
        lab.0.gate.acquire().await.expect("the gate stays").forget();
        "waited"
    }

    /// Emits to the asking socket until its send buffer is full, and answers how many events went in.
    #[action(get "/flood")]
    pub(crate) async fn flood(ctx: Ctx<Socket>, State(lab): State<Lab>) -> Json<usize> {
        let id = ctx.socket().id().parse().expect("the id of a socket");
        let socket = lab.0.io.get().expect("set at start").get_socket(id).expect("it is asking");
        Json((0..).take_while(|number| socket.emit("flood", number).is_ok()).count())
    }

    #[action(get "/panic")]
    pub(crate) async fn panic() -> &'static str {
        panic!("the secret of the panic")
    }

    #[action(get "/bytes")]
    pub(crate) async fn bytes() -> Bytes {
        Bytes::from_static(&[0xff, 0, 0xfe])
    }

    #[action(get "/endless")]
    pub(crate) async fn endless() -> HttpBody {
        HttpBody::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1 << 20]))))
    }

    #[action(get "/stuck")]
    pub(crate) async fn stuck() -> HttpBody {
        HttpBody::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())
    }
}

fn application(lab: &Lab) -> App<Lab> {
    let kept = lab.clone();
    App::new(lab.clone()).mount(routes![actions]).socketio(move |io| assert!(kept.0.io.set(io.clone()).is_ok()))
}

async fn start() -> (Lab, Server) {
    let lab = Lab::default();
    let server = Server::start(application(&lab)).await;
    (lab, server)
}

/// T1: socketioxide tells the client that it is connected before its connect handler runs.
///
/// With the events registered in an async connect handler, one or more of these 2048 first requests met no handler and
/// got no ack, in each of four runs. More threads than cores make the gap between the two wider.
#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn the_first_request_after_connect_is_answered() {
    let (_, server) = start().await;
    let server = Arc::new(server);
    let mut clients = JoinSet::new();
    for nth in 0..256 {
        let server = server.clone();
        clients.spawn(async move {
            for _ in 0..8 {
                let mut client = Client::with(&server, if nth % 2 == 0 { Eio::V3 } else { Eio::V4 }, &[]).await;
                assert_eq!(client.ask(&get("/hello")).await.body, Body::text("hello"));
            }
        });
    }
    within("all clients", clients.join_all()).await;
}

/// T2: socketioxide's own handlers start a task for each event, and tasks start in any order.
///
/// With a task for each request, they were entered as 19, 9, 1, 2, 3, 10, 4 and so on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_start_in_the_order_of_their_packets() {
    let (lab, server) = start().await;
    let mut client = Client::connect(&server).await;
    for round in 0..50 {
        let mut last = 0;
        for number in 0..20 {
            last = client.buffer(&get(format!("/enter/{}", round * 20 + number))).await;
        }
        client.flush().await;
        client.ack(last).await;
    }
    assert_eq!(lab.entered(), (0..1000).collect::<Vec<_>>());
}

/// T2, the other half: requests wait side by side, and the ack of a quick one overtakes that of a slow one.
#[tokio::test]
async fn a_quick_request_overtakes_a_slow_one() {
    let (lab, server) = start().await;
    let mut client = Client::connect(&server).await;
    let slow = client.start(&get("/wait")).await;
    assert_eq!(client.ask(&get("/hello")).await.body, Body::text("hello"));
    lab.0.gate.add_permits(1);
    assert_eq!(client.ack(slow).await.body, Body::text("waited"));
}

/// T3: an ack goes through the same buffer as events, by a send that fails when it is full.
///
/// With a single try, the ack was lost: the client waited for it until its heartbeat ended.
#[tokio::test]
async fn an_ack_waits_for_room_in_the_send_buffer() {
    let (_, server) = start().await;
    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::with(&server, eio, &[]).await;
        // One thread runs everything here, so nothing leaves the buffer while the action fills it.
        let answer = client.ask(&get("/flood")).await;
        let emitted = answer.json().as_u64().expect("a number");
        assert!(emitted > 500, "{emitted}");
        for number in 0..emitted {
            assert_eq!(client.next().await, Packet::Event(format!(r#"["flood",{number}]"#)));
        }
    }
}

/// T4: socketioxide's own handlers swallow a panic with its task.
///
/// Without `catch_unwind` the panic ended the socket's task: neither this request nor any later one was answered.
#[tokio::test]
async fn a_panic_is_answered_and_its_socket_goes_on() {
    let (_, server) = start().await;
    let mut client = Client::connect(&server).await;
    for _ in 0..100 {
        let answer = client.ask(&get("/panic")).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("panicked")));
        assert!(!answer.message().contains("secret"));
    }
    assert_eq!(client.ask(&get("/hello")).await.body, Body::text("hello"));
}

#[tokio::test]
async fn a_panic_of_a_layer_is_answered_too() {
    async fn panics(_: Request, _: Next) -> Response {
        panic!("the secret of the panic")
    }
    let app = application(&Lab::default()).layer(from_fn(panics));
    let server = Server::start(app).await;
    let mut client = Client::connect(&server).await;
    for answer in [server.http(&get("/hello")).await, client.ask(&get("/hello")).await] {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("panicked")));
    }
}

/// T5: a session whose writer is blocked cannot be closed, so a peer that stops reading stays for ever.
///
/// Without `StallGuard` the socket was still there after 20 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_peer_that_stops_reading_is_gone_in_time() {
    let beat = Duration::from_millis(500);
    let lab = Lab::default();
    let server = Server::start(application(&lab).heartbeat(beat, beat)).await;
    let io = &server.io;
    // The heartbeat and the stall limit, 1 s each, one after the other at worst, and a second for a busy machine.
    let in_time = 4 * beat + Duration::from_secs(1);
    for eio in [Eio::V3, Eio::V4] {
        let _stuck = stuck(&server, eio).await;
        let since = Instant::now();
        until("the socket to be gone", || io.sockets().is_empty()).await;
        assert!(since.elapsed() < in_time, "{:?}", since.elapsed());
    }
    let _stuck = stuck(&server, Eio::V4).await;
    let since = Instant::now();
    within("the server to stop", io.close()).await;
    assert!(since.elapsed() < in_time, "{:?}", since.elapsed());
}

/// The only client of the server, which reads nothing of more than any buffer on the way holds.
async fn stuck(server: &Server, eio: Eio) -> Client {
    let client = Client::with(server, eio, &[]).await;
    let [socket] = &server.io.sockets()[..] else { panic!("one socket is connected") };
    let event = "x".repeat(64 * 1024);
    // On a busy machine it may be gone before all are sent.
    let _ = (0..128).take_while(|_| socket.emit("event", &event).is_ok()).count();
    client
}

/// T6: engineioxide frames a binary attachment for Engine.IO 4, whatever the client speaks over long-polling.
///
/// With an attachment the poll brought `b/wD+`, which a client of Engine.IO 3 takes for a packet of type `/`.
#[tokio::test]
async fn bytes_over_polling_with_engine_io_3_are_base64() {
    let app = application(&Lab::default()).transports([TransportType::Polling, TransportType::Websocket]);
    let server = Server::start(app).await;
    let mut poller = Poller::connect(&server).await;
    let Packet::Ack(_, answer) = poller.ask(&get("/bytes")).await else { panic!("expected an ack") };
    assert_eq!((answer.status, answer.body), (200, Body::text("/wD+")));
    assert_eq!(answer.headers, BTreeMap::from([("content-transfer-encoding".into(), "base64".into())]));

    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::with(&server, eio, &[]).await;
        let answer = client.ask(&get("/bytes")).await;
        assert_eq!((answer.body, answer.headers.len()), (Body::Bytes(vec![0xff, 0, 0xfe]), 0));
    }
}

/// A client of Engine.IO 3 over long-polling.
struct Poller<'a> {
    server: &'a Server,
    url: String,
}

impl<'a> Poller<'a> {
    async fn connect(server: &'a Server) -> Self {
        let base = "/socket.io/?EIO=3&transport=polling&b64=1";
        let open = Self::packets(&server.http(&get(base)).await);
        let open: serde_json::Value = serde_json::from_str(open[0].strip_prefix('0').expect("an open packet")).unwrap();
        let mut poller = Self { server, url: format!("{base}&sid={}", open["sid"].as_str().unwrap()) };
        assert_eq!(poller.poll().await, ["40"]);
        poller
    }

    async fn poll(&mut self) -> Vec<String> {
        Self::packets(&self.server.http(&get(&self.url)).await)
    }

    /// Splits `<length>:<packet><length>:<packet>`, with the length in characters.
    fn packets(answer: &Answer) -> Vec<String> {
        let text = answer.json();
        let mut rest = text.as_str().expect("text");
        let mut packets = Vec::new();
        while let Some((length, tail)) = rest.split_once(':') {
            let end = tail.char_indices().nth(length.parse().expect("a length")).map_or(tail.len(), |(at, _)| at);
            packets.push(tail[..end].to_owned());
            rest = &tail[end..];
        }
        packets
    }

    async fn ask(&mut self, ask: &Ask) -> Packet {
        let packet = format!("421{}", ask.event());
        let post = Ask::new("post", &self.url).header("content-type", "text/plain");
        let sent = self.server.http(&post.data(format!("{}:{packet}", packet.chars().count()))).await;
        assert_eq!(sent.status, 200);
        let packets = self.poll().await;
        let text = packets[0].strip_prefix("43").unwrap_or_else(|| panic!("expected a plain ack, got {packets:?}"));
        ack(text, None)
    }
}

#[tokio::test]
async fn the_request_above_the_limit_is_refused() {
    let lab = Lab::default();
    let server = Server::start(application(&lab).max_in_flight(4)).await;
    let mut client = Client::connect(&server).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(client.start(&get("/wait")).await);
    }
    until("all four", || lab.waiting() == 4).await;
    for _ in 0..3 {
        let refused = client.ask(&get("/hello")).await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("too_many_in_flight")));
        assert_eq!(refused.headers["retry-after"], "1");
        assert!(refused.message().contains("4 requests"));
    }
    // Another socket has a limit of its own.
    assert_eq!(Client::connect(&server).await.ask(&get("/hello")).await.status, 200);
    lab.0.gate.add_permits(1);
    until("one to end", || lab.waiting() == 3).await;
    assert_eq!(client.ask(&get("/hello")).await.status, 200);
    lab.0.gate.add_permits(3);
    for id in waiting {
        assert_eq!(client.ack(id).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_requests_get_ten_thousand_acks() {
    const ALL: usize = 10_000;
    let (lab, server) = start().await;
    let mut client = Client::connect(&server).await;
    for url in ["/wait", "/hello"] {
        let mut asked = HashSet::new();
        for _ in 0..ALL {
            asked.insert(client.buffer(&get(url)).await);
        }
        client.flush().await;
        let mut statuses = BTreeMap::<u16, usize>::new();
        for nth in 0..ALL {
            // Those that wait go on when all others are answered.
            if url == "/wait" && nth == ALL - 64 {
                assert_eq!(lab.waiting(), 64);
                lab.0.gate.add_permits(64);
            }
            match client.receive().await {
                Packet::Ack(id, answer) => {
                    *statuses.entry(answer.status).or_default() += 1;
                    assert!(asked.remove(&id), "the ack {id} came twice, or was never asked");
                }
                packet => panic!("expected an ack, got {packet:?}"),
            }
        }
        if url == "/wait" {
            assert_eq!(statuses, BTreeMap::from([(200, 64), (429, ALL - 64)]));
        }
    }
    assert_eq!(client.ask(&get("/hello")).await.status, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered() {
    let lab = Lab::default();
    let server = Server::start(application(&lab).timeout(Duration::from_millis(50))).await;
    let mut client = Client::connect(&server).await;
    for url in ["/wait", "/stuck"] {
        let answer = client.ask(&get(url)).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("timed_out")), "{url}");
    }
    assert_eq!(lab.waiting(), 0);
    assert_eq!(server.http(&get("/wait")).await.status, 503);
    assert_eq!(lab.waiting(), 0);
}

#[tokio::test]
async fn a_disconnect_cancels_what_is_under_way() {
    let (lab, server) = start().await;
    for eio in [Eio::V3, Eio::V4] {
        for politely in [true, false] {
            let mut client = Client::with(&server, eio, &[]).await;
            for _ in 0..10 {
                client.start(&get("/wait")).await;
            }
            until("the requests to wait", || lab.waiting() == 10).await;
            if politely {
                client.send("41").await;
            } else {
                client.drop_connection();
            }
            until("the requests to be dropped", || lab.waiting() == 0).await;
        }
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut() {
    let (_, server) = start().await;
    let mut client = Client::connect(&server).await;
    let answer = client.ask(&get("/endless")).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("answer_too_large")));
    assert_eq!(client.ask(&get("/hello")).await.status, 200);
}

#[tokio::test]
async fn a_request_without_an_ack_runs_and_is_not_answered() {
    let (lab, server) = start().await;
    let mut client = Client::connect(&server).await;
    client.tell(&get("/enter/1")).await;
    client.tell(&get("/panic")).await;
    client.tell(&get("/missing")).await;
    client.tell(&get("/enter/2")).await;
    // The first packet from the server is the ack of what was sent last, so nothing came before it.
    let id = client.start(&get("/enter/3")).await;
    assert!(matches!(client.receive().await, Packet::Ack(first, _) if first == id));
    assert_eq!(lab.entered(), [1, 2, 3]);
}

#[tokio::test]
async fn a_request_that_cannot_be_read_and_has_no_ack_is_told_by_an_event() {
    let (_, server) = start().await;
    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::with(&server, eio, &[]).await;
        for packet in [r#"42["get"]"#, r#"42["get",{}]"#, r#"42["get",{"url":5}]"#, r#"42["post",null]"#] {
            client.send(packet).await;
            let Packet::Event(event) = client.next().await else { panic!("expected an event") };
            let event: serde_json::Value = serde_json::from_str(&event).unwrap();
            assert_eq!((&event[0], &event[1]["statusCode"]), (&json!("sails:parseError"), &json!(400)), "{packet}");
            assert_eq!(event[1]["body"]["code"], "malformed");
        }
        assert_eq!(client.ask(&get("/hello")).await.status, 200);
    }
}
