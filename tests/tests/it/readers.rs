//! Clients as the tests of slow ones need them: over long-polling, and on a slow line.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::support::{Answer, Ask, Body, Client, Packet, get, http};

pub(crate) async fn subscribe(client: &mut Client) -> Answer {
    let answer = client.ask(&get("/news")).await;
    assert_eq!(answer.status, 200);
    answer
}

/// The number of an event, with a position or without.
#[track_caller]
pub(crate) fn number(packet: &Packet) -> u64 {
    let Packet::Event(event) = packet else { panic!("expected an event, got {packet:.200?}") };
    let event: Value = serde_json::from_str(event).expect("JSON");
    event.as_array().and_then(|event| event.last()).expect("an argument")["number"].as_u64().expect("a number")
}

/// A line to the server that brings 1,000 bytes a second from there.
pub(crate) async fn slow_line(server: SocketAddr) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let mut line = JoinSet::new();
    line.spawn(async move {
        let (client, _) = listener.accept().await.expect("the client");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let server = socket.connect(server).await.expect("the server");
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
            (client.into_split(), server.into_split());
        let back = async {
            let (mut pace, mut bytes) = (interval(Duration::from_millis(100)), [0; 100]);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                pace.tick().await;
                to_client.write_all(&bytes[..count]).await.expect("the client reads");
            }
        };
        tokio::select! {
            () = back => {}
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        }
    });
    (address, line)
}

/// A client of Engine.IO 4 over long-polling, subscribed.
pub(crate) struct Poller {
    address: SocketAddr,
    pub(crate) session: String,
    kept: Vec<String>,
}

impl Poller {
    pub(crate) async fn subscribe(address: SocketAddr) -> Self {
        let opened = http(address, &get("/socket.io/?EIO=4&transport=polling")).await.json();
        let opened: Value = serde_json::from_str(&opened.as_str().expect("text")[1..]).expect("JSON");
        let session = opened["sid"].as_str().expect("an id").to_owned();
        let mut poller = Self { address, session, kept: Vec::new() };
        assert_eq!(poller.send("40").await.status, 200);
        while !poller.next().await.starts_with("40") {}
        poller.send(r#"421["get",{"url":"/news"}]"#).await;
        assert!(poller.next().await.starts_with("431["));
        poller
    }

    fn url(&self) -> String {
        format!("/socket.io/?EIO=4&transport=polling&sid={}", self.session)
    }

    pub(crate) async fn send(&self, packet: &str) -> Answer {
        http(self.address, &Ask::new("post", self.url()).header("content-type", "text/plain").data(packet)).await
    }

    /// The next packet that is no ping. Pings are answered.
    async fn next(&mut self) -> String {
        loop {
            while self.kept.is_empty() {
                let Body::Json(text) = http(self.address, &get(self.url())).await.body else { panic!("no packets") };
                let text: String = serde_json::from_str(&text).expect("text");
                self.kept = text.split('\u{1e}').map(str::to_owned).collect();
            }
            let packet = self.kept.remove(0);
            if packet != "2" {
                return packet;
            }
            self.send("3").await;
        }
    }

    pub(crate) async fn number(&mut self) -> u64 {
        let packet = self.next().await;
        number(&Packet::Event(packet.strip_prefix("42").expect("an event").to_owned()))
    }
}
