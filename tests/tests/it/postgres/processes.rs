//! Servers in processes of their own, which are paused and stopped.

use std::time::Duration;

use catamaran_tests::backends::postgres::Server as Backend;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    process::Process,
    support::{Ask, Client, Eio, Packet, get, http, post, within},
};

/// Longer than the others believe a server that shows no life, and wait for its answer.
const GIVEN_UP: Duration = Duration::from_secs(30);

async fn start(backend: &Backend, name: &str) -> Process {
    start_with(backend, name, None).await
}

async fn start_with(backend: &Backend, name: &str, heartbeat: Option<&str>) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-app"));
    command.arg(name).env("DATABASE_URL", backend.url()).env_remove("REDIS_URL");
    let process = Process::start(command.envs(heartbeat.map(|seconds| ("HEARTBEAT_SECONDS", seconds)))).await;
    within("the bus", async {
        while http(process.address, &get("/health/ready")).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    process
}

/// The answer of a server about all servers.
async fn all(process: &Process, ask: Ask) -> Value {
    http(process.address, &ask).await.json()
}

/// Waits until a server believes that it is alone.
async fn is_alone(process: &Process) {
    let alone = async {
        while all(process, get("/channels/1/count")).await["unreached"] != Value::Null {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GIVEN_UP, alone).await.expect("it is alone");
}

/// A client with the tag `login`, subscribed to `kept:1`.
async fn subscriber(process: &Process) -> Client {
    let mut client = Client::open(process.address, "/socket.io", Eio::V4, &[]).await;
    client.send(r#"40{"tag":"login","catamaran":{"client":"bob-0123456789abcdef"}}"#).await;
    assert!(matches!(client.receive().await, Packet::Other(connected) if connected.starts_with("40")));
    assert_eq!(client.ask(&get("/channels/1/kept")).await.status, 200);
    client
}

fn close(tag: &str) -> Ask {
    Ask::new("delete", format!("/sockets/tagged/{tag}"))
}

#[tokio::test]
async fn paused_server_closes_before_it_delivers() {
    let backend = Backend::start();
    // The stopped server must not find that its client answered no ping.
    let (here, there) = (start(&backend, "here").await, start_with(&backend, "there", Some("60")).await);
    let mut client = subscriber(&there).await;
    // The closing that matters has a higher offset in its stream than the event that follows it.
    for _ in 0..5 {
        assert_eq!(all(&here, close("nobody")).await, json!({"sockets": 0, "unreached": null}));
    }
    there.signal("STOP").await;
    is_alone(&here).await;
    assert_eq!(all(&here, close("login")).await, json!({"sockets": 0, "unreached": null}));
    let mut writer = Client::open(here.address, "/socket.io", Eio::V4, &[]).await;
    writer.enter().await;
    let numbers = r#"{"writer":"w","id":1,"from":0,"count":1}"#;
    assert_eq!(writer.ask(&post("/numbers", numbers)).await.json(), json!([["delivered", "delivered"]]));
    there.signal("CONT").await;
    let mut reason = None;
    loop {
        match client.next().await {
            Packet::Event(event) if event.starts_with(r#"["$left""#) => reason = Some(event),
            Packet::Event(event) => panic!("delivered before the closing: {event}"),
            Packet::Other(packet) if packet == "41" => break,
            Packet::Closed => panic!("cut off, not closed"),
            _ => {}
        }
    }
    assert_eq!(reason.as_deref(), Some(r#"["$left",null,"logged out"]"#));
}

#[tokio::test]
async fn paused_server_reports_a_missed_epoch() {
    let backend = Backend::start();
    // The stopped server must not find that its client answered no ping.
    let (here, there) = (start(&backend, "here").await, start_with(&backend, "there", Some("60")).await);
    let mut client = subscriber(&there).await;
    there.signal("STOP").await;
    is_alone(&here).await;
    let admin = backend.client().await;
    let turn = "select catamaran.attach(1, 'kept:1'::bytea, null, null, 0, 'fresh')";
    admin.query(turn, &[]).await.unwrap();
    // The cleaner deletes the notice, as it does when it is ten seconds old.
    admin.execute("update catamaran.entries set at = at - interval '1 minute' where body is null", &[]).await.unwrap();
    let notices = "select count(*) from catamaran.entries where body is null";
    within("the cleaner", async {
        while admin.query_one(notices, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    there.signal("CONT").await;
    loop {
        match client.next().await {
            Packet::Event(event) if event.starts_with(r#"["$gap","kept:1""#) => break,
            Packet::Closed => panic!("closed without a gap"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn stopped_server_is_not_waited_for() {
    let backend = Backend::start();
    let (here, there) = (start(&backend, "here").await, start(&backend, "there").await);
    assert_eq!(all(&here, get("/channels/1/count")).await, json!({"sockets": 0, "unreached": null}));
    there.signal("TERM").await;
    there.end().await;
    assert_eq!(all(&here, get("/channels/1/count")).await, json!({"sockets": 0, "unreached": null}));
}

#[tokio::test]
async fn another_server_cleans_for_one_that_hangs() {
    let backend = Backend::start();
    let admin = backend.client().await;
    let cleaned = async || {
        let publish = include_str!("publish.sql");
        admin.batch_execute(publish).await.unwrap();
        let old = "update catamaran.entries set at = at - interval '1 minute'";
        admin.execute(old, &[]).await.unwrap();
        let cleaned = async {
            while admin.query_one("select count(*) from catamaran.entries", &[]).await.unwrap().get::<_, i64>(0) > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(GIVEN_UP, cleaned).await.expect("an empty table");
    };
    let here = start(&backend, "here").await;
    cleaned().await;
    let there = start(&backend, "there").await;
    // Its connections stay open, as those of a machine that is gone do for hours.
    here.signal("STOP").await;
    cleaned().await;
    here.signal("CONT").await;
    drop(there);
}
