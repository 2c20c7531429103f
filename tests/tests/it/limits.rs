//! Connections that are too slow, or too many.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use catamaran::prelude::*;
use socketioxide::TransportType;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
    time::interval,
};

use crate::support::{Body, Client, Server, get, http, post, within};

#[controller("/")]
mod actions {
    use super::*;

    #[action(get "/hello")]
    pub(crate) async fn hello() -> &'static str {
        "hello"
    }

    #[action(post "/length")]
    pub(crate) async fn length(body: Bytes) -> String {
        body.len().to_string()
    }

    /// Does not look at its body.
    #[action(post "/ignore")]
    pub(crate) async fn ignore() {}
}

fn application() -> App<()> {
    App::new(()).mount(routes![actions])
}

/// Connections that the server has accepted: more at once than wait in its listener's queue would be reset.
async fn connect(server: &Server, connections: usize) -> Vec<TcpStream> {
    let mut all = Vec::new();
    while all.len() < connections {
        all.push(within("a connection", TcpStream::connect(server.address)).await.expect("the server listens"));
        if all.len() % 50 == 0 {
            // They are accepted in turn.
            assert_eq!(server.http(&get("/hello")).await.status, 200);
        }
    }
    all
}

/// Sends this, and then so many bytes each tenth of a second until there is an answer, or an end. Returns the answer.
async fn drip(stream: TcpStream, head: &str, bytes: usize) -> String {
    let (mut from, mut to) = stream.into_split();
    to.write_all(head.as_bytes()).await.expect("an open connection");
    let dripping = async {
        let mut pace = interval(Duration::from_millis(100));
        while to.write_all(&vec![b'x'; bytes]).await.is_ok() {
            pace.tick().await;
        }
        // The server no longer takes any; what it said before can still be read.
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let reading = async {
        let mut part = [0; 1024];
        while let Ok(count @ 1..) = from.read(&mut part).await {
            answer.extend_from_slice(&part[..count]);
        }
    };
    tokio::select! {
        () = dripping => {}
        () = within("the end of a slow connection", reading) => {}
    }
    String::from_utf8(answer).expect("text")
}

fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Without their limits, none of them had ended after 20 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slow_heads_and_slow_bodies_are_ended_and_nobody_else_is() {
    // The heartbeat is not what ends anybody here.
    let app = application().heartbeat(Duration::from_secs(30), Duration::from_secs(30));
    let server = Server::start(app.transports([TransportType::Websocket, TransportType::Polling])).await;
    let mut heads = JoinSet::new();
    for stream in connect(&server, 500).await {
        heads.spawn(async move { drip(stream, "GET /hello HTTP/1.1\r\nx-slow: ", 1).await });
    }
    let mut bodies = JoinSet::new();
    for stream in connect(&server, 100).await {
        bodies.spawn(async move { drip(stream, &head("/length", 100_000), 1).await });
    }
    // A slow body that keeps coming, and a socket.
    let slow = head("/length", 30_000).replace("host", "connection: close\r\nhost");
    let stream = connect(&server, 1).await.remove(0);
    let steady = tokio::spawn(async move { drip(stream, &slow, 250).await });
    let mut client = Client::connect(&server).await;
    // A poll waits for longer than any body may.
    let opened = server.http(&get("/socket.io/?EIO=3&transport=polling")).await.json();
    let session = opened.as_str().and_then(|opened| opened.split('"').nth(3)).expect("an id").to_owned();
    let poll = get(format!("/socket.io/?EIO=3&transport=polling&sid={session}"));
    assert_eq!(server.http(&poll).await.json(), "2:40");
    let address = server.address;
    let poll = tokio::spawn(async move { http(address, &poll).await });

    while let Some(answer) = bodies.join_next().await {
        let answer = answer.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"), "{answer:?}");
        assert_eq!(server.http(&get("/hello")).await.body, Body::text("hello"));
    }
    assert!(heads.join_all().await.iter().all(String::is_empty));
    assert_eq!(client.ask(&post("/length", "null")).await.status, 200);
    server.io.emit("late", &()).await.expect("two sockets");
    assert_eq!(poll.await.expect("an answer").json(), r#"15:42["late",null]"#);
    let answer = steady.await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("30000"), "{answer:?}");
}

/// What nobody waits for may come as slowly as it wants to: its answer is there at once, and with it the end.
#[tokio::test]
async fn a_slow_body_that_nobody_reads_holds_up_nothing() {
    let server = Server::start(application()).await;
    for (path, status) in [("/ignore", "200"), ("/missing", "404")] {
        let answer = drip(connect(&server, 1).await.remove(0), &head(path, 100_000), 1).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer:?}");
    }
}

/// Asks on a connection of its own; `None` if that is closed.
async fn ask(server: &Server) -> Option<String> {
    let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
    let mut answer = String::new();
    let asked = async {
        stream.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        stream.read_to_string(&mut answer).await
    };
    within("an answer, or an end", asked).await.ok()?;
    (!answer.starts_with("HTTP/1.1 503")).then_some(answer)
}

/// Clients that come and go have no more hooks than connections.
#[tokio::test]
async fn place_is_taken_until_on_disconnect_has_ended() {
    let (began, ends) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hook = (began.clone(), ends.clone());
    let app = application().max_connections(1).on_disconnect(async move |_: Socket| {
        hook.0.notify_one();
        hook.1.notified().await;
    });
    let server = Server::start(app).await;
    Client::connect(&server).await.drop_connection();
    within("the hook", began.notified()).await;
    assert_eq!(ask(&server).await, None);
    ends.notify_one();
    within("a place", async { while ask(&server).await.is_none() {} }).await;
}

#[tokio::test]
async fn connections_above_the_limit_are_refused_until_others_end() {
    for app in [application().max_connections(3), application().max_connections_per_address(3)] {
        let server = Server::start(app).await;
        let connect = || async { TcpStream::connect(server.address).await.expect("the server listens") };
        let mut client = Client::connect(&server).await;
        let (one, _two) = (connect().await, connect().await);
        let (mut refused, mut answer) = (connect().await, String::new());
        within("the refusal", refused.read_to_string(&mut answer)).await.expect("text");
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("connection: close"), "{answer:?}");
        assert_eq!(ask(&server).await, None);
        // Those that are there go on, also one that began as a request over HTTP.
        assert_eq!(client.ask(&get("/hello")).await.status, 200);

        // The place of each is free again when it has ended.
        drop(one);
        within("a place", async { while ask(&server).await.is_none() {} }).await;
        let _three = within("its place", async {
            loop {
                let mut three = connect().await;
                three.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("an open connection");
                if three.read(&mut [0; 12]).await.is_ok_and(|bytes| bytes == 12) && ask(&server).await.is_none() {
                    break three;
                }
            }
        })
        .await;
        client.drop_connection();
        within("the place of a socket", async { while ask(&server).await.is_none() {} }).await;
    }
}
