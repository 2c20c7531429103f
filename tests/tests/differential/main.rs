//! An action cannot tell the transports apart: generated requests are put to two copies of one application, to one over
//! HTTP and to the other over a socket, and everything that can be seen of them afterwards must be equal.
//!
//! `CATAMARAN_DIFFERENTIAL_REQUESTS` says how many (4,000), `CATAMARAN_SEED` which ones.

mod bugs;
mod drivers;
mod requests;
mod world;

use std::{
    collections::BTreeMap,
    fmt::Write,
    io, panic,
    sync::{Arc, Mutex, Once},
};

use bugs::{BUGS, Bug};
use drivers::{Answer, Http, Socket};
use requests::{Ask, Requests, SECRET, Sequence, Step};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};
use world::{World, application};

/// Where the transports may differ, and why. There is nothing else.
const DECLARED: [(&str, &str); 5] = [
    ("connection", "is about the connection"),
    ("content-length", "an ack has no length"),
    ("date", "the server adds it to HTTP"),
    ("set-cookie", "must not reach a script; the socket keeps the cookie itself"),
    ("transfer-encoding", "is about the connection"),
];

/// The content types that the kind of an ack's body already says.
const IMPLIED: [&str; 3] = ["application/json", "text/plain; charset=utf-8", "application/octet-stream"];

/// What only HTTP answers: the server's own paths.
const OF_THE_SERVER: [&str; 2] = ["/socket.io/", "/catamaran.io.js"];

/// The two copies, each with somebody who watches what is published.
struct Copies {
    http: (World, axum::Router, Socket),
    socket: (World, axum::Router, Socket),
}

impl Copies {
    async fn new(bug: Option<Bug>) -> Self {
        let copy = async |bug| {
            let world = World::default();
            let router = application(&world, bug);
            let mut watcher = Socket::connect(&router, None).await;
            assert_eq!(watcher.ask(&plain("get", "/feed")).await.status, 200);
            (world, router, watcher)
        };
        Self { http: copy(None).await, socket: copy(bug).await }
    }

    /// Runs one sequence on both; an error tells the first difference.
    async fn run(&mut self, sequence: &Sequence, statuses: &mut BTreeMap<u16, usize>) -> Result<usize, String> {
        for (world, _, _) in [&self.http, &self.socket] {
            *world.lock() = sequence.memory.clone();
        }
        let mut http = Http { router: self.http.1.clone(), cookie: sequence.cookie.map(str::to_owned) };
        let mut socket = Socket::connect(&self.socket.1, sequence.cookie).await;
        let mut asked = 0;
        // Who the client is in the end shows what became of its cookie.
        let last = Step::Ask(plain("get", "/me"));
        for step in sequence.steps.iter().chain([&last]) {
            let Step::Ask(ask) = step else {
                for (world, _, _) in [&self.http, &self.socket] {
                    world.lock().sessions.values_mut().for_each(|session| session.expired = true);
                }
                continue;
            };
            let path = ask.url.split(['?', '#']).next().expect("a first part");
            if OF_THE_SERVER.contains(&path) {
                continue;
            }
            asked += 1;
            let over_socket = socket.ask(ask).await;
            match http.ask(ask).await {
                Ok(over_http) => {
                    *statuses.entry(over_http.status).or_default() += 1;
                    same("the answer", &comparable(over_socket), &comparable(over_http), ask)?;
                }
                Err(status) => same("the status of what HTTP cannot carry", &over_socket.status, &status, ask)?,
            }
            same("what the application knows", &*self.socket.0.lock(), &*self.http.0.lock(), ask)?;
            let (heard_socket, heard_http) = (heard(&mut self.socket.2).await, heard(&mut self.http.2).await);
            same("what was published", &heard_socket, &heard_http, ask)?;
        }
        Ok(asked)
    }
}

/// What the watcher heard; its own ack comes after every event before it. A request that is refused at once costs least.
async fn heard(watcher: &mut Socket) -> Vec<String> {
    assert_eq!(watcher.send_event(r#"["get"]"#).await.status, 400);
    std::mem::take(&mut watcher.events)
}

fn plain(method: &'static str, url: &str) -> Ask {
    Ask { method, url: url.into(), headers: Vec::new(), data: None }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, socket: &T, http: &T, ask: &Ask) -> Result<(), String> {
    if socket == http {
        return Ok(());
    }
    Err(format!("{what} differs after {ask:.400?}\n  socket {socket:.1500?}\n  http   {http:.1500?}"))
}

/// What is left to compare of an answer.
fn comparable(mut answer: Answer) -> Answer {
    answer.headers.retain(|name, value| {
        let implied = name == "content-type" && IMPLIED.contains(&value.as_str());
        !implied && !DECLARED.iter().any(|(declared, _)| declared == name)
    });
    answer
}

/// Runs sequences until so many requests were compared. The error tells the first difference and how it came about.
async fn compare(bug: Option<Bug>, seed: u64, requests: usize) -> Result<BTreeMap<u16, usize>, (usize, String)> {
    let mut generator = Requests(fastrand::Rng::with_seed(seed));
    let mut copies = Copies::new(bug).await;
    let mut statuses = BTreeMap::new();
    let mut compared = 0;
    while compared < requests {
        let sequence = generator.sequence();
        match copies.run(&sequence, &mut statuses).await {
            Ok(asked) => compared += asked,
            Err(difference) => {
                let mut story =
                    format!("{difference}\n\nseed {seed}, after {compared} requests, cookie {:?}\n", sequence.cookie);
                for step in &sequence.steps {
                    writeln!(story, "  {step:.200?}").expect("a string takes it");
                }
                return Err((compared, story));
            }
        }
    }
    Ok(statuses)
}

/// The panics of the application are planned; those of the test must be seen.
fn quiet_planned_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let planned = info.payload_as_str().is_some_and(|text| text.starts_with(world::PLANNED));
            if !planned {
                before(info);
            }
        }));
    });
}

/// One test at a time: what a log hears is decided once for the whole process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[tokio::test(start_paused = true)]
async fn the_transports_cannot_be_told_apart() {
    let _alone = ALONE.lock().await;
    quiet_planned_panics();
    let requests = usize::try_from(setting("CATAMARAN_DIFFERENTIAL_REQUESTS", 4000)).expect("a number of requests");
    let seed = setting("CATAMARAN_SEED", 20_261_122);
    let statuses = compare(None, seed, requests).await.unwrap_or_else(|(_, difference)| panic!("{difference}"));
    println!("{requests} requests compared, by status: {statuses:?}");
    for status in [200, 201, 202, 204, 205, 303, 304, 400, 401, 404, 405, 413, 415, 418, 422, 500, 503] {
        assert!(statuses.contains_key(&status), "no {status} among {statuses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_planted_bug_is_found() {
    let _alone = ALONE.lock().await;
    quiet_planned_panics();
    for bug in BUGS {
        match compare(Some(bug), 7, 10_000).await {
            Ok(_) => panic!("{bug:?} was not found"),
            Err((after, _)) => println!("{bug:?} was found after {after} requests"),
        }
    }
}

/// A log that is kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics here").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Everything that any crate logs at the lowest level while requests are answered over both transports.
async fn logged(filter: &str, requests: usize) -> String {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_ansi(false);
    let listening = tracing::subscriber::set_default(subscriber.with_writer(log.clone()).finish());
    tracing::callsite::rebuild_interest_cache();
    compare(None, 11, requests).await.unwrap_or_else(|(_, difference)| panic!("{difference}"));
    drop(listening);
    let bytes = log.0.lock().expect("nobody panics here").clone();
    String::from_utf8(bytes).expect("text")
}

/// The libraries that write to the facade `log` are heard too. One of them writes whole messages, and axum quotes what it rejects;
/// docs/security.md says to switch both off.
#[tokio::test(start_paused = true)]
async fn no_log_has_what_clients_say_in_confidence() {
    let _alone = ALONE.lock().await;
    quiet_planned_panics();
    // It fails if a log is there already, which would be heard as well.
    let _ = tracing_log::LogTracer::init();
    log::set_max_level(log::LevelFilter::Trace);
    let all = logged("trace,tungstenite=off,tokio_tungstenite=off,axum::rejection=off", 2000).await;
    assert!(all.lines().count() > 2000, "the log was heard");
    let told: Vec<_> = all.lines().filter(|line| line.contains(SECRET)).take(3).collect();
    assert!(told.is_empty(), "{told:#?}");
    assert!(!all.contains(['\0', '\u{1b}', '\r']), "a control character of a client");
    let by_tungstenite = logged("tungstenite=trace", 100).await;
    assert!(by_tungstenite.contains(SECRET), "the warning in docs/security.md is out of date");
}
