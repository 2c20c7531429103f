//! Which servers of the application are there.

use std::time::Duration;

use catamaran::MembersError;
use catamaran_tests::backends::redis::RedisServer;

use futures_util::future::join_all;
use tokio::process::Command;

use super::node::{Node, Room};
use crate::{
    process::Process,
    support::{get, http, within},
};

/// Between two looks at something.
const PAUSE: Duration = Duration::from_millis(5);
const NODES: &str = "{catamaran}:nodes";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_for_five_seconds_is_not_waited_for() {
    let redis = RedisServer::start();
    let [one, two] = [Node::start(redis.url()).await, Node::start(redis.url()).await];
    let _ada = two.client("ada", 7).await;
    let all_answer = async {
        let mut pause = tokio::time::interval(PAUSE);
        while one.hub.count(&Room { id: 7 }).await.ok() != Some(1) {
            pause.tick().await;
        }
    };
    // Before it has joined the others, the new server does not answer.
    within("both servers to answer", all_answer).await;

    let now = redis.ask(&["TIME"]);
    let now = format!("{}000", now.lines().next().unwrap());
    redis.ask(&["ZADD", NODES, &now, "00000000000000ff"]);
    let Err(MembersError::UnreachedServers(unreached)) = one.hub.count(&Room { id: 7 }).await else {
        panic!("a server that never answers is named");
    };
    assert_eq!(unreached.servers, ["00000000000000ff"]);
    let forgotten = async { while one.hub.count(&Room { id: 7 }).await.is_err() {} };
    within("the silent server to be forgotten", forgotten).await;
    assert_eq!(redis.ask(&["ZCARD", NODES]), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_says_so() {
    let redis = RedisServer::start();
    let [one, two] = [Node::start(redis.url()).await, Node::start(redis.url()).await];
    assert_eq!(redis.ask(&["ZCARD", NODES]), "2");
    drop(two);
    let mut pause = tokio::time::interval(PAUSE);
    within("the other to leave", async {
        // It is not forgotten for its silence.
        while !redis.ask(&["INFO", "commandstats"]).contains("cmdstat_zrem:calls=1,") {
            pause.tick().await;
        }
    })
    .await;
    assert_eq!(redis.ask(&["ZCARD", NODES]), "1");
    one.publish(7, 1).await;
}

/// A server in a process of its own, which has reached its Redis.
async fn start_process(redis: &RedisServer) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-app"));
    let process = Process::start(command.arg("other").env("REDIS_URL", redis.url())).await;
    let mut pause = tokio::time::interval(PAUSE);
    within("the bus", async {
        while http(process.address, &get("/health/ready")).await.status != 200 {
            pause.tick().await;
        }
    })
    .await;
    process
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_servers_are_not_waited_for() {
    const STOPS: usize = 20;
    const AT_ONCE: usize = 5;
    let redis = RedisServer::start();
    let one = Node::start(redis.url()).await;
    for _ in 0..STOPS / AT_ONCE {
        let others = join_all((0..AT_ONCE).map(|_| start_process(&redis))).await;
        assert_eq!(redis.ask(&["ZCARD", NODES]), (1 + AT_ONCE).to_string());
        for other in &others {
            other.signal("TERM").await;
        }
        join_all(others.into_iter().map(Process::end)).await;
        assert_eq!(one.hub.count(&Room { id: 7 }).await.unwrap(), 0);
        assert_eq!(one.hub.close_tagged("login", "logged out").await.unwrap(), 0);
    }
}
