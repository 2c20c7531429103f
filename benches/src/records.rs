//! Records of a table, over HTTP and over sockets: beside axum, socketioxide and SeaORM by hand, and beside Sails.

use std::{
    cell::Cell,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use catamaran_tests::backends::postgres;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use crate::{
    backends,
    client::{Http, Socket},
    rounds::{Plan, Rounds},
    serve,
    server::{self, Server},
};

const CLIENTS: usize = 4;
/// How many records there are before the first round.
const RECORDS: usize = 100;
const PAGE: usize = 30;
/// After this a change was not told.
const LATE: Duration = Duration::from_secs(20);
const SAILS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sails");

pub(crate) async fn run(plan: Plan) {
    if !backends::found("taskset") {
        return;
    }
    let with_sails = backends::npm(Path::new(SAILS));
    for database in [Database::Own, Database::Postgres] {
        if database == Database::Postgres && !backends::has_postgres() {
            continue;
        }
        let mut rivals = Vec::new();
        for kind in [Kind::Catamaran, Kind::ByHand, Kind::Sails] {
            if kind != Kind::Sails || with_sails {
                rivals.push(Rival::start(kind, database).await);
            }
        }
        println!("  {database:?}");
        measure(plan, &rivals).await;
    }
}

async fn measure(plan: Plan, rivals: &[Rival]) {
    for rival in rivals {
        let mut client = Client::connect(rival, Way::Http).await;
        for number in 0..RECORDS {
            client.ask(Verb::Create, number).await;
        }
    }
    for way in [Way::Http, Way::Socket] {
        for verb in [Verb::FindOne, Verb::Find, Verb::Create, Verb::Update] {
            compare(plan, rivals, way, verb, false).await;
        }
        for verb in [Verb::Create, Verb::Update] {
            compare(plan, rivals, way, verb, true).await;
        }
    }
}

/// Measures all servers in turn.
async fn compare(plan: Plan, rivals: &[Rival], way: Way, verb: Verb, subscribed: bool) {
    let mut figures = vec![(Vec::new(), Vec::new()); rivals.len()];
    for round in 0..plan.rounds {
        for turn in 0..rivals.len() {
            // Another begins each round.
            let turn = (turn + round) % rivals.len();
            let (cpu, time) = load(plan, &rivals[turn], way, verb, subscribed).await;
            figures[turn].0.push(cpu);
            figures[turn].1.push(time);
        }
    }
    let subscribed = if subscribed { ", 1 subscriber" } else { "" };
    let name = format!("{way:?} {verb:?}{subscribed}");
    let ours = figures[0].clone();
    for (rival, (cpu, time)) in rivals.iter().zip(figures).skip(1) {
        let name_of = format!("{:?}", rival.kind);
        Rounds::of(ours.0.clone(), cpu).print_ratio_to(&name_of, &format!("{name}, CPU"), "µs");
        Rounds::of(ours.1.clone(), time).print_ratio_to(&name_of, &format!("{name}, time"), "µs");
    }
}

/// Sends as fast as answers come, and gives the microseconds of the server's CPU and of time per request.
async fn load(plan: Plan, rival: &Rival, way: Way, verb: Verb, subscribed: bool) -> (f64, f64) {
    let subscriber = if subscribed { Some(Subscriber::connect(rival).await) } else { None };
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(rival, way).await);
    }
    let earlier = rival.asked.get();
    let (before, start) = (rival.server.cpu(), Instant::now());
    let mut asking = JoinSet::new();
    for (at, mut client) in clients.into_iter().enumerate() {
        asking.spawn(async move {
            let mut asked = 0;
            while asked == 0 || start.elapsed() < plan.time {
                // Each client changes a record of its own, and never to what it is already, also from an earlier round: a change
                // to the same is not told.
                client.ask(verb, at + CLIENTS * (earlier + asked + 1)).await;
                asked += 1;
            }
            // The connection stays until the server's time was read.
            (client, asked)
        });
    }
    let finished = asking.join_all().await;
    let time = start.elapsed();
    let asked: usize = finished.iter().map(|(_, asked)| asked).sum();
    rival.asked.set(earlier + asked);
    if let Some(subscriber) = subscriber {
        subscriber.has_heard(asked).await;
    }
    let cpu = rival.server.cpu() - before;
    (cpu.as_secs_f64() * 1e6 / asked as f64, time.as_secs_f64() * 1e6 / asked as f64)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Catamaran,
    ByHand,
    Sails,
}

/// Where the records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Database {
    /// In a file: of SQLite, and for Sails of its own adapter.
    Own,
    Postgres,
}

/// A server with a database of its own.
struct Rival {
    kind: Kind,
    server: Server,
    files: PathBuf,
    /// How often it was asked by all clients of all rounds.
    asked: Cell<usize>,
    _postgres: Option<postgres::Server>,
}

impl Rival {
    async fn start(kind: Kind, database: Database) -> Self {
        let files = std::env::temp_dir().join(format!("catamaran-bench-{}-{kind:?}-{database:?}", std::process::id()));
        fs::create_dir(&files).expect("a folder for a database");
        let (postgres, url) = match (database, kind) {
            (Database::Postgres, _) => {
                let postgres = postgres::Server::start();
                let url = postgres.url();
                // The table is the same for all.
                serve::records::open(&url).await;
                (Some(postgres), url)
            }
            (Database::Own, Kind::Sails) => (None, files.display().to_string()),
            (Database::Own, _) => (None, format!("sqlite://{}/pets.db", files.display())),
        };
        // Each connection to SQLite has a thread. Between cores, to wake it takes longer than the statement, and how long
        // depends on what else runs there.
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]);
        match kind {
            Kind::Catamaran => command.arg(server::program()).args(["serve", "resources", &url]),
            Kind::ByHand => command.arg(server::program()).args(["serve", "records", &url]),
            Kind::Sails => command.args(["node", &format!("{SAILS}/server.js"), &url]).env("NODE_ENV", "production"),
        };
        Self { kind, server: Server::of(&mut command), files, asked: Cell::new(0), _postgres: postgres }
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    async fn socket(&self) -> Socket<TcpStream> {
        match self.kind {
            Kind::Sails => Socket::connect_to_sails(self.address()).await,
            _ => Socket::connect(self.address()).await,
        }
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // It fails only if the folder is gone already.
        let _ = fs::remove_dir_all(&self.files);
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Http,
    Socket,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    FindOne,
    Find,
    Create,
    Update,
}

impl Verb {
    /// The request with this number: its method, its path, and its body.
    fn request(self, number: usize) -> (&'static str, String, Value) {
        let id = number % PAGE + 1;
        match self {
            Self::FindOne => ("get", format!("/pet/{id}"), json!({})),
            Self::Find => ("get", format!("/pet?limit={PAGE}"), json!({})),
            Self::Create => ("post", "/pet".into(), json!({"age": number, "name": "Rex"})),
            Self::Update => ("patch", format!("/pet/{}", number % CLIENTS + 1), json!({"age": number})),
        }
    }

    /// The same, as the server by hand is asked over a socket.
    fn event(self, number: usize) -> Value {
        let (_, _, data) = self.request(number);
        match self {
            Self::FindOne => json!(["find_one", number % PAGE + 1]),
            Self::Find => json!(["find", {"limit": PAGE}]),
            Self::Create => json!(["create", data]),
            Self::Update => json!(["update", {"id": number % CLIENTS + 1, "patch": data}]),
        }
    }

    fn check(self, number: usize, body: &Value) {
        match self {
            // Sails' adapter of Postgres has the numbers of `bigint` as text.
            Self::FindOne => {
                assert_eq!(body["id"].to_string().trim_matches('"'), (number % PAGE + 1).to_string(), "{body}");
            }
            Self::Find => assert_eq!(body.as_array().map(Vec::len), Some(PAGE), "{body}"),
            Self::Create | Self::Update => assert_eq!((&body["age"], &body["name"]), (&json!(number), &json!("Rex"))),
        }
    }
}

/// Who asks one thing after the other.
enum Client {
    Http(Http),
    Socket(Kind, Box<Socket<TcpStream>>),
}

impl Client {
    async fn connect(rival: &Rival, way: Way) -> Self {
        match way {
            Way::Http => Self::Http(Http::connect(rival.address()).await),
            Way::Socket => Self::Socket(rival.kind, Box::new(rival.socket().await)),
        }
    }

    async fn ask(&mut self, verb: Verb, number: usize) {
        let (method, path, data) = verb.request(number);
        let body = match self {
            Self::Http(http) => {
                let (method, data) = (method.to_uppercase(), data.to_string());
                let body = if method == "GET" { "" } else { &data };
                let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
                let answer = http.fetch(&format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
                serde_json::from_str(&answer).expect("JSON")
            }
            Self::Socket(kind, socket) => {
                let event = match kind {
                    Kind::ByHand => verb.event(number),
                    _ => json!([method, {"method": method, "url": path, "headers": {}, "data": data}]),
                };
                let ack = socket.request(&event.to_string()).await;
                serde_json::from_str::<Value>(&ack).expect("JSON")[0]["body"].take()
            }
        };
        verb.check(number, &body);
    }
}

/// A socket that hears of all changes.
struct Subscriber {
    kind: Kind,
    heard: watch::Receiver<usize>,
    reading: AbortHandle,
}

impl Subscriber {
    async fn connect(rival: &Rival) -> Self {
        let mut socket = rival.socket().await;
        let event = match rival.kind {
            Kind::ByHand => json!(["watch", {}]),
            _ => json!(["get", {"method": "get", "url": "/pet?sort=id%20ASC", "headers": {}, "data": {}}]),
        };
        socket.request(&event.to_string()).await;
        let (sender, heard) = watch::channel(0);
        let reading = tokio::spawn(async move {
            loop {
                if socket.next().await.starts_with(r#"42["pet","#) {
                    sender.send_modify(|heard| *heard += 1);
                }
            }
        });
        Self { kind: rival.kind, heard, reading: reading.abort_handle() }
    }

    /// Waits until it has heard of this many changes.
    async fn has_heard(mut self, changes: usize) {
        let kind = self.kind;
        let all = self.heard.wait_for(|heard| *heard >= changes);
        tokio::time::timeout(LATE, all)
            .await
            .unwrap_or_else(|_| panic!("{kind:?} tells of all"))
            .expect("the subscriber stays connected");
        assert_eq!(*self.heard.borrow(), changes, "each change is told once");
        self.reading.abort();
    }
}
