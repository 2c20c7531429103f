//! What one socket may do, and for how long; and what is said of sockets that come.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use catamaran::{Error, TransportType, metrics, prelude::*};
use metrics_exporter_prometheus::PrometheusBuilder;
use socketioxide::extract::SocketRef;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Eio, Packet, Server, get, until, within};

/// Short, for tests that wait for its end.
const BEAT: Duration = Duration::from_millis(200);

#[action(get "/hello")]
async fn hello() -> &'static str {
    "hello"
}

#[action(get "/gate")]
async fn gate() {
    std::future::pending().await
}

fn app() -> App<()> {
    App::new(()).mount(routes![hello, gate])
}

#[tokio::test]
async fn messages_above_the_rate_are_refused_before_they_are_read() {
    let server = Server::start(app().max_messages_per_second(1)).await;
    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::with(&server, eio, &[]).await;
        // Ten seconds' worth at once.
        let ids = [0; 14].map(|_| get("/hello"));
        let mut statuses = Vec::new();
        for ask in &ids {
            statuses.push(client.ask(ask).await.status);
        }
        let refused = statuses.iter().filter(|status| **status == 429).count();
        assert!(statuses[..10].iter().all(|status| *status == 200) && refused >= 1, "{statuses:?}");
        // Not even what is wrong with it is looked at.
        let answers = [client.ask(&get("no path")).await, client.ask(&get("no path")).await];
        let answer = answers.iter().find(|answer| answer.status == 429).expect("one too many");
        assert_eq!((answer.json()["code"].as_str(), &*answer.headers["retry-after"]), (Some("rate_limited"), "1"));
        assert!(answer.message().contains("at most 1 requests a second"), "{}", answer.message());
        // Another socket has a count of its own.
        assert_eq!(Client::with(&server, eio, &[]).await.ask(&get("/hello")).await.status, 200);
        within("room for another", async { while client.ask(&get("/hello")).await.status != 200 {} }).await;
    }
}

#[tokio::test]
async fn default_rate_takes_thousands_of_messages_at_once() {
    let server = Server::start(app()).await;
    let mut client = Client::connect(&server).await;
    let mut ids = Vec::new();
    for _ in 0..5000 {
        ids.push(client.buffer(&get("no path")).await);
    }
    client.flush().await;
    for id in ids {
        let answer = client.ack(id).await;
        assert_ne!(answer.json()["code"], "rate_limited", "{answer:?}");
    }
}

/// Reads what is sent to a raw client until its connection ends, and pings meanwhile, as Engine.IO 3 does.
async fn ping_until_closed(client: &mut Client) {
    within("the end of the connection", async {
        let mut pings = tokio::time::interval(BEAT / 4);
        loop {
            tokio::select! {
                _ = pings.tick() => { client.try_send(Message::text("2")).await; }
                packet = client.receive() => if packet == Packet::Closed { break },
            }
        }
    })
    .await;
}

#[tokio::test]
async fn refused_client_that_pings_is_closed() {
    let refuse = async || -> catamaran::Result { Err(Error::new(StatusCode::FORBIDDEN, "closed today")) };
    let server = Server::start(app().on_connect(refuse).heartbeat(BEAT, BEAT)).await;
    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::open(server.address, "/socket.io", eio, &[]).await;
        if eio == Eio::V4 {
            client.send("40").await;
        }
        assert!(matches!(client.receive().await, Packet::Other(text) if text.starts_with("44")));
        ping_until_closed(&mut client).await;
    }
}

#[tokio::test]
async fn connection_that_no_socket_uses_is_closed() {
    let server = Server::start(app().idle_timeout(5 * BEAT).heartbeat(BEAT, BEAT)).await;
    for eio in [Eio::V3, Eio::V4] {
        let mut left = Client::with(&server, eio, &[]).await;
        left.send("41").await;
        ping_until_closed(&mut left).await;
        let mut sent_away = Client::with(&server, eio, &[]).await;
        ping_until_closed(&mut sent_away).await;
    }
}

#[tokio::test]
async fn connection_of_another_namespace_stays() {
    let app = app().heartbeat(BEAT, BEAT).socketio(|io| {
        io.ns("/own", async |socket: SocketRef| {
            socket.on("ask", async |socket: SocketRef| socket.emit("here", &()).expect("room for an event"));
        });
    });
    let server = Server::start(app).await;
    let mut client = Client::connect(&server).await;
    client.send("40/own,").await;
    assert!(matches!(client.next().await, Packet::Other(text) if text.starts_with("40/own,")));
    client.send("41").await;
    let mut beats = tokio::time::interval(BEAT);
    for _ in 0..6 {
        beats.tick().await;
        client.send(r#"42/own,["ask"]"#).await;
        assert!(matches!(client.next().await, Packet::Event(text) if text.starts_with("/own,[\"here\"")));
    }
}

#[tokio::test]
async fn idle_socket_is_closed_and_an_active_one_is_not() {
    let minute = Duration::from_secs(60);
    // No ping, since nobody reads for the one that waits.
    let app = app().idle_timeout(5 * BEAT).timeout(minute).heartbeat(minute, minute);
    let server = Server::start(app).await;
    let mut waiting = Client::resuming(&server, "0123456789abcdef").await;
    waiting.start(&get("/gate")).await;
    for client in [None, Some("fedcba9876543210")] {
        let mut idle = match client {
            Some(name) => Client::resuming(&server, name).await,
            None => Client::connect(&server).await,
        };
        assert_eq!(idle.ask(&get("/hello")).await.status, 200);
        if client.is_some() {
            assert_eq!(idle.next().await, Packet::Event(r#"["$left",null,"idle"]"#.into()));
        }
        assert_eq!(idle.next().await, Packet::Other("41".into()));
        // One that stays is cut off.
        assert_eq!(idle.next().await, Packet::Closed);
    }
    assert_eq!(waiting.ask(&get("/hello")).await.status, 200);
}

#[tokio::test]
async fn socket_is_ended_after_its_lifetime_whatever_it_does() {
    let server = Server::start(app().max_lifetime(BEAT)).await;
    let mut ours = Client::resuming(&server, "0123456789abcdef").await;
    assert_eq!(ours.next().await, Packet::Event(r#"["$drain",{"after_ms":0}]"#.into()));
    let mut standard = Client::connect(&server).await;
    within("the end of the connection", async {
        while standard.try_send(Message::text(r#"42["get",{"url":"/hello"}]"#)).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    while ours.next().await != Packet::Closed {}
}

#[tokio::test]
async fn sockets_that_come_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = ::metrics::set_default_local_recorder(&recorder);
    let prometheus = recorder.handle();
    let connected = async |headers: axum::http::HeaderMap| -> StatusCode {
        if headers.contains_key("x-refuse") { StatusCode::FORBIDDEN } else { StatusCode::OK }
    };
    let server = Server::start(app().on_connect(connected)).await;
    let _first = Client::connect(&server).await;
    let _second = Client::with(&server, Eio::V3, &[]).await;
    let mut refused = Client::open(server.address, "/socket.io", Eio::V4, &[("x-refuse", "1")]).await;
    refused.send("40").await;
    assert!(matches!(refused.receive().await, Packet::Other(text) if text.starts_with("44")));
    let crowded = Server::start(app().max_connections(1)).await;
    let _only = Client::connect(&crowded).await;
    let mut turned_away = TcpStream::connect(crowded.address).await.expect("the server accepts");
    let mut answer = String::new();
    within("the refusal", turned_away.read_to_string(&mut answer)).await.expect("it is closed");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let page = || prometheus.render();
    until("the counts", || page().contains(&format!("{} 3", metrics::ACCEPTED))).await;
    assert!(page().contains(&format!("{} 1", metrics::REFUSED_CONNECTIONS)), "{}", page());
    assert!(page().contains(&format!(r#"{}{{status="403"}} 1"#, metrics::REFUSED)), "{}", page());
}

#[tokio::test]
async fn old_websockets_and_extensions_are_not_negotiated() {
    let server = Server::start(app()).await;
    let upgrade = |version: &str| {
        let request = Request::get("/socket.io/?EIO=4&transport=websocket")
            .header("host", server.address.to_string())
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", version)
            .header("sec-websocket-extensions", "permessage-deflate; client_max_window_bits");
        server.send(request.body(Body::empty()).expect("a request"))
    };
    let response = upgrade("13").await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert!(!response.headers().contains_key("sec-websocket-extensions"), "{:?}", response.headers());
    for old in ["0", "7", "8", "14", "13, 8", ""] {
        let refused = upgrade(old).await;
        assert_eq!(refused.status(), StatusCode::UPGRADE_REQUIRED, "{old}");
        assert_eq!([&refused.headers()["sec-websocket-version"], &refused.headers()["upgrade"]], ["13", "websocket"]);
    }
}

#[tokio::test]
async fn polls_are_not_stored_and_scripts_are_not_sniffed() {
    let server = Server::start(app().transports([TransportType::Websocket, TransportType::Polling])).await;
    let polling = "/socket.io/?EIO=4&transport=polling";
    let strange = get(polling).header("origin", "http://evil.example");
    for ask in [get(polling), strange, get("/socket.io/?EIO=9&transport=polling"), get("/socket.io/")] {
        let answer = server.http(&ask).await;
        assert_eq!(answer.headers["cache-control"], "no-store", "{ask:?}: {answer:?}");
    }
    let script = server.http(&get("/catamaran.io.js")).await;
    let cookie = server.http(&get("/__getcookie")).await;
    for answer in [script, cookie] {
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{:?}", answer.headers);
    }
}
