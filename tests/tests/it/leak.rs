//! Sockets that come and go leave nothing behind.

use std::{
    future::Future,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{HeaderMap, StatusCode};
use catamaran::{TransportType, prelude::*};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::{Ask, Client, Eio, Packet, Server, canary, get, until};

/// Says how many cycles to run, 10,000 unless set; 50,000 took 17 s on four cores without optimizations, and the process
/// stayed between 31 and 33 MiB.
const CYCLES: &str = "CATAMARAN_LEAK_CYCLES";
/// Set in the process that measures.
const MEASURES: &str = "CATAMARAN_LEAK_MEASURES";

static WAITING: AtomicUsize = AtomicUsize::new(0);
static VISITORS: AtomicUsize = AtomicUsize::new(0);
static CONNECTED: AtomicUsize = AtomicUsize::new(0);

struct Waiting;

impl Waiting {
    fn new() -> Self {
        WAITING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A channel for each visitor, so that what a channel leaves behind adds up.
#[channel("visitor:{number}", event = Greeting)]
struct Visitor {
    number: usize,
}

#[derive(Event, Serialize)]
enum Greeting {
    Hello,
}

#[controller("/")]
mod actions {
    use super::*;

    #[action(get "/hello/{number}")]
    pub(crate) async fn hello(ctx: Ctx<Socket>, number: usize) -> catamaran::Result<&'static str> {
        ctx.subscribe(&Visitor { number }).await?;
        ctx.publish(&Visitor { number }, Greeting::Hello).await?;
        Ok("hello")
    }

    #[action(get "/wait")]
    pub(crate) async fn wait() {
        let _waiting = Waiting::new();
        std::future::pending().await
    }
}

/// The memory of this process in KiB, without the pages of its binary: those come as code runs for the first time.
pub(crate) fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a figure for it");
    anonymous.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Subscribes each socket to a channel of its own, and refuses those that ask for it.
async fn connected(ctx: Ctx<Socket>, headers: HeaderMap) -> catamaran::Result {
    ctx.subscribe(&Visitor { number: VISITORS.fetch_add(1, Ordering::SeqCst) }).await?;
    if headers.contains_key("x-refuse") {
        return Err(catamaran::Error::new(StatusCode::FORBIDDEN, "as you wish"));
    }
    CONNECTED.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

async fn disconnected() {
    CONNECTED.fetch_sub(1, Ordering::SeqCst);
}

/// Connects, subscribes, and goes, in one of the ways in which clients go.
async fn cycle(server: Arc<Server>, nth: usize) {
    let eio = if nth.is_multiple_of(2) { Eio::V3 } else { Eio::V4 };
    // Of Engine.IO 4 socketioxide keeps one that is refused until its connect timeout, 45 s, whether it is there or not.
    if nth / 2 % 4 == 3 && eio == Eio::V3 {
        let mut client = Client::open(server.address, "/socket.io", eio, &[("x-refuse", "1")]).await;
        assert!(matches!(client.receive().await, Packet::Other(refused) if refused.starts_with("44")));
        return client.drop_connection();
    }
    let mut client = Client::with(&server, eio, &[]).await;
    let visitor = VISITORS.fetch_add(1, Ordering::SeqCst);
    assert_eq!(client.ask(&get(format!("/hello/{visitor}"))).await.status, 200);
    match nth / 2 % 4 {
        0 => client.send("41").await,
        1 => client.drop_connection(),
        _ => {
            client.start(&get("/wait")).await;
            client.drop_connection();
        }
    }
}

/// Lets clients come and go in 50 lanes.
async fn side_by_side<F>(server: &Arc<Server>, cycles: usize, cycle: fn(Arc<Server>, usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    const LANES: usize = 50;
    let mut clients = JoinSet::new();
    for lane in 0..LANES {
        let server = server.clone();
        clients.spawn(async move {
            for nth in (lane..cycles).step_by(LANES) {
                cycle(server.clone(), nth).await;
            }
        });
    }
    clients.join_all().await;
    until("all sockets to be gone", || server.io.sockets().is_empty()).await;
    until("all requests to be dropped", || WAITING.load(Ordering::SeqCst) == 0).await;
    until("all ends to be told", || CONNECTED.load(Ordering::SeqCst) == 0).await;
}

/// Whether this is the process that measures; else runs the test in one, since the others of this binary would disturb its
/// figures.
fn measures(name: &str) -> bool {
    if std::env::var_os(MEASURES).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("the path of this test");
    let status = Command::new(this)
        .args(["--exact", &format!("leak::{name}"), "--nocapture"])
        .env(MEASURES, "1")
        .env_remove(canary::VARIABLE)
        .status();
    assert!(status.expect("this test runs again").success());
    false
}

fn cycles() -> usize {
    std::env::var(CYCLES).map_or(10_000, |cycles| cycles.parse().expect("a number of cycles"))
}

/// Runs the cycles in ten parts, and compares the memory after the seventh and after the last, which may be so many KiB
/// more.
fn measure<F>(app: App<()>, cycles: usize, most: usize, cycle: fn(Arc<Server>, usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let app = app.mount(routes![actions]).on_connect(connected).on_disconnect(disconnected);
        let server = Arc::new(Server::start(app).await);
        let mut figures = Vec::new();
        for _ in 0..10 {
            side_by_side(&server, cycles / 10, cycle).await;
            figures.push(memory());
        }
        println!("KiB after each tenth of {cycles} cycles: {figures:?}");
        let grown = figures[9].saturating_sub(figures[6]);
        assert!(grown < most, "the last three tenths took {grown} KiB more");
    });
}

#[test]
fn sockets_that_come_and_go_leave_nothing_behind() {
    if measures("sockets_that_come_and_go_leave_nothing_behind") {
        let cycles = cycles();
        // The allocator's own caches grow at first, and longer on a busy machine. A leak of the least of a socket's parts,
        // 1 KiB each time, would be 3 MiB in the last tenths of 10,000 cycles.
        measure(App::new(()), cycles, 1024 + cycles / 20, cycle);
    }
}

/// Opens a session by long-polling, subscribes in it, and never polls again.
async fn abandon(server: Arc<Server>, _nth: usize) {
    const URL: &str = "/socket.io/?EIO=4&transport=polling";
    let open = server.http(&get(URL)).await.json();
    let open: Value = serde_json::from_str(&open.as_str().expect("text")[1..]).expect("JSON");
    let url = format!("{URL}&sid={}", open["sid"].as_str().expect("an id"));
    let visitor = VISITORS.fetch_add(1, Ordering::SeqCst);
    let subscribe = format!(r#"420["get",{{"url":"/hello/{visitor}"}}]"#);
    for packet in ["40", &subscribe, r#"421["get",{"url":"/wait"}]"#] {
        // Where it takes long, the session may have ended before.
        server.http(&Ask::new("post", &url).header("content-type", "text/plain").data(packet)).await;
    }
}

#[test]
fn abandoned_polling_sessions_leave_nothing_behind() {
    const BEAT: Duration = Duration::from_millis(300);
    if measures("abandoned_polling_sessions_leave_nothing_behind") {
        let both = [TransportType::Websocket, TransportType::Polling];
        let app = App::new(()).transports(both).heartbeat(BEAT, BEAT);
        // Enough that the 4,096 idle streams and names are there before the last tenths. In those of 50,000 it was 0.6 MiB; a
        // session that is left has its head, its queues and its tasks, more than 4 KiB.
        let cycles = 8_000;
        measure(app, cycles, 2048 + cycles / 5, abandon);
    }
}
