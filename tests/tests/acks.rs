//! Each request that asks for an ack gets exactly one, whatever becomes of it, as long as its socket stays.
//!
//! `CATAMARAN_ACKED_REQUESTS` says how many (10,000), `CATAMARAN_SEED` which ones.

use std::{collections::BTreeMap, future::pending, panic, time::Duration};

use axum::{Json, Router};
use catamaran::prelude::*;
use catamaran_tests::pipe;
use fastrand::Rng;
use futures_util::{SinkExt, StreamExt, stream::FuturesUnordered};
use serde::Deserialize;
use tokio::{io::DuplexStream, runtime::Handle, sync::oneshot, time::timeout};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

const PLANNED: &str = "a planned panic";

#[action(get "/hello")]
async fn hello() -> &'static str {
    "hello"
}

#[action(get "/soon/{milliseconds}")]
async fn soon(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[action(get "/late")]
async fn late() {
    pending().await
}

#[action(get "/panic")]
async fn panics() -> String {
    panic!("{PLANNED}")
}

#[action(get "/panic/later")]
async fn panics_later() -> String {
    tokio::task::yield_now().await;
    panic!("{PLANNED}")
}

#[action(post "/numbers")]
async fn numbers(Json(numbers): Json<Vec<u8>>) -> Json<usize> {
    Json(numbers.len())
}

/// What is asked, and the status of its answer where not too many are in flight.
const KINDS: &[(&str, u16)] = &[
    (r#"["get",{"url":"/hello"}]"#, 200),
    (r#"["get",{"url":"/hello","data":{"a":1}}]"#, 200),
    (r#"["head",{"url":"/hello"}]"#, 200),
    (r#"["get",{"url":"/soon/1"}]"#, 200),
    (r#"["get",{"url":"/soon/700"}]"#, 200),
    (r#"["get",{"url":"/late"}]"#, 503),
    (r#"["get",{"url":"/panic"}]"#, 500),
    (r#"["get",{"url":"/panic/later"}]"#, 500),
    (r#"["post",{"url":"/numbers","data":[1,2,3]}]"#, 200),
    (r#"["post",{"url":"/numbers","data":[1,2,300]}]"#, 422),
    (r#"["post",{"url":"/numbers"}]"#, 415),
    (r#"["get",{"url":"/missing"}]"#, 404),
    (r#"["put",{"url":"/hello"}]"#, 405),
    (r#"["get",{"url":"hello"}]"#, 400),
    (r#"["get",{"url":7}]"#, 400),
    (r#"["get",null]"#, 400),
    (r#"["get"]"#, 400),
    (r#"["get",{"url":"/hello"},{"url":"/hello"}]"#, 400),
    (r#"["post",{"url":"/numbers","data":{"_placeholder":true,"num":0}}]"#, 422),
];

#[derive(Deserialize)]
struct Reply {
    #[serde(rename = "statusCode")]
    status: u16,
}

/// One client: how many of its requests were answered, by status; none if it left.
async fn client(router: Router, seed: u64) -> (usize, BTreeMap<u16, usize>) {
    let mut rng = Rng::with_seed(seed);
    let mut socket = pipe::connect(&router, &[]).await;
    socket.send(Message::text("40")).await.expect("an open socket");
    while !next(&mut socket).await.starts_with("40") {}

    let count = rng.usize(1..150);
    let leaves = rng.usize(..5) == 0;
    let mut asked = BTreeMap::new();
    for id in 0..count {
        let (packet, status) = KINDS[rng.usize(..KINDS.len())];
        if rng.usize(..20) == 0 {
            // It asks for no ack.
            socket.feed(Message::text(format!("42{packet}"))).await.expect("an open socket");
            continue;
        }
        asked.insert(id, status);
        socket.feed(Message::text(format!("42{id}{packet}"))).await.expect("an open socket");
        if rng.usize(..10) == 0 {
            socket.flush().await.expect("an open socket");
        }
    }
    socket.flush().await.expect("an open socket");
    if leaves {
        // In the middle of its answers, by a word or without one.
        for _ in 0..rng.usize(..=asked.len().min(10)) {
            next(&mut socket).await;
        }
        if rng.bool() {
            let _ = socket.send(Message::text("41")).await;
        }
        return (count, BTreeMap::new());
    }
    let mut statuses = BTreeMap::new();
    while !asked.is_empty() {
        let (id, status) = acked(&next(&mut socket).await);
        let expected = asked.remove(&id).unwrap_or_else(|| panic!("{id} was acked twice, or never asked"));
        assert!(status == expected || status == 429, "{id}: {status} instead of {expected}");
        *statuses.entry(status).or_default() += 1;
    }
    // Nothing is on its way any more: the next packet is the next ack.
    socket.send(Message::text(r#"42999["get",{"url":"/hello"}]"#)).await.expect("an open socket");
    assert_eq!(acked(&next(&mut socket).await), (999, 200));
    (count, statuses)
}

fn acked(packet: &str) -> (usize, u16) {
    let (id, json) = packet.split_at(packet.find('[').expect("an array"));
    let id = id.strip_prefix("43").expect("an ack").parse().expect("a number");
    let [reply]: [Reply; 1] = serde_json::from_str(json).expect("one reply");
    (id, reply.status)
}

/// The next packet that is an ack, or the answer to the CONNECT.
async fn next(socket: &mut WebSocketStream<DuplexStream>) -> String {
    loop {
        let message = timeout(Duration::from_secs(10), socket.next()).await.expect("a packet in time");
        let Some(Ok(Message::Text(text))) = message else { panic!("the socket ended: {message:?}") };
        match text.as_str() {
            "2" => socket.send(Message::text("3")).await.expect("an open socket"),
            // Who asked for no ack is told of what could not be read by an event.
            text if text.starts_with("42[\"sails:parseError\"") || text.starts_with('0') => {}
            text => return text.to_owned(),
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[tokio::test(start_paused = true)]
async fn each_request_has_one_ack() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(PLANNED) {
            before(info);
        }
    }));
    let (sender, io) = oneshot::channel();
    let app = App::new(())
        .mount(routes![hello, soon, late, panics, panics_later, numbers])
        .timeout(Duration::from_secs(1))
        .max_in_flight(16)
        .socketio(move |io| drop(sender.send(io.clone())));
    let router = app.into_router().expect("a sound application");
    let io = io.await.expect("the application is built");
    let tasks = Handle::current().metrics().num_alive_tasks();

    let requests = usize::try_from(setting("CATAMARAN_ACKED_REQUESTS", 10_000)).expect("a number of requests");
    let mut seeds = Rng::with_seed(setting("CATAMARAN_SEED", 3));
    let (mut asked, mut statuses) = (0, BTreeMap::<u16, usize>::new());
    let mut clients = FuturesUnordered::new();
    while asked < requests {
        clients.push(client(router.clone(), seeds.u64(..)));
        if clients.len() == 20 {
            let (count, answered) = clients.next().await.expect("one of twenty");
            asked += count;
            answered.into_iter().for_each(|(status, count)| *statuses.entry(status).or_default() += count);
        }
    }
    drop(clients);
    println!("{asked} requests, acks by status: {statuses:?}");
    for status in [200, 400, 404, 405, 415, 422, 429, 500, 503] {
        assert!(statuses.contains_key(&status), "no {status} among {statuses:?}");
    }
    let gone = async {
        while !io.sockets().is_empty() || Handle::current().metrics().num_alive_tasks() > tasks {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), gone).await.expect("no socket and no task is left");
}
