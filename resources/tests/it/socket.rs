//! A Socket.IO client, as `sails.io.js` or ours would ask.

use std::{collections::VecDeque, pin::pin, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::world::World;

/// A client that asks one thing at a time, and keeps what it hears meanwhile.
pub(crate) struct Socket {
    wire: WebSocketStream<DuplexStream>,
    heard: VecDeque<Json>,
    /// Where it was in each channel, sent with each request.
    pub(crate) resume: Json,
}

impl Socket {
    /// Connects as a user, by a client that knows nothing of positions.
    pub(crate) async fn connect(world: &World, user: i64) -> Self {
        Self::say(world, user, "40".to_owned()).await
    }

    /// Connects as ours does.
    pub(crate) async fn ours(world: &World, user: i64, resume: Json) -> Self {
        Self::page(world, &format!("the client of user {user}"), user, resume).await
    }

    /// Connects as the catamaran client of this page, logged in as this user.
    pub(crate) async fn page(world: &World, page: &str, user: i64, resume: Json) -> Self {
        let connect = json!({"catamaran": {"client": page}});
        Self { resume, ..Self::say(world, user, format!("40{connect}")).await }
    }

    async fn say(world: &World, user: i64, connect: String) -> Self {
        let wire = catamaran_tests::pipe::connect(&world.router, &[("user", &user.to_string())]).await;
        let mut socket = Self { wire, heard: VecDeque::new(), resume: json!({}) };
        socket.send(connect).await;
        while !socket.packet().await.starts_with("40") {}
        socket
    }

    async fn send(&mut self, packet: String) {
        self.wire.send(packet.into()).await.expect("the server reads");
    }

    async fn packet(&mut self) -> String {
        tokio::time::timeout(Duration::from_secs(20), self.read()).await.expect("a packet")
    }

    async fn read(&mut self) -> String {
        loop {
            match self.wire.next().await {
                // Whoever answers no ping is cut off.
                Some(Ok(Message::Text(text))) if text == "2" => self.send("3".to_owned()).await,
                Some(Ok(Message::Text(text))) => return text.to_string(),
                end => panic!("the connection ended: {end:?}"),
            }
        }
    }

    /// Asks, and gives the ack.
    pub(crate) async fn ack(&mut self, method: &str, url: &str, data: Json) -> Json {
        let mut envelope = json!({"method": method, "url": url, "headers": {}, "data": data});
        if self.resume != json!({}) {
            envelope["resume"] = self.resume.clone();
        }
        let event = json!([method, envelope]);
        self.send(format!("421{event}")).await;
        loop {
            let packet = self.packet().await;
            if let Some(ack) = packet.strip_prefix("431") {
                let [ack]: [Json; 1] = serde_json::from_str(ack).expect("an ack");
                assert!(!ack.to_string().contains("s3cret"), "no answer tells a password: {ack}");
                return ack;
            }
            self.hear(&packet);
        }
    }

    /// Asks, and gives the status and the body.
    pub(crate) async fn ask(&mut self, method: &str, url: &str, data: Json) -> (u64, Json) {
        let ack = self.ack(method, url, data).await;
        (ack["statusCode"].as_u64().expect("a status"), ack["body"].clone())
    }

    /// Asks for what must succeed.
    pub(crate) async fn get(&mut self, url: &str) -> Json {
        let (status, body) = self.ask("get", url, json!({})).await;
        assert_eq!(status, 200, "{url}: {body}");
        body
    }

    fn hear(&mut self, packet: &str) {
        let Some(event) = packet.strip_prefix("42") else { return };
        assert!(!event.contains("s3cret"), "no message tells a password: {event}");
        self.heard.push_back(serde_json::from_str(event).expect("an event"));
    }

    /// The next event, whose arguments follow its name.
    pub(crate) async fn next(&mut self) -> Json {
        loop {
            if let Some(event) = self.heard.pop_front() {
                return event;
            }
            let packet = self.packet().await;
            self.hear(&packet);
        }
    }

    /// Hears what becomes of the toys, which had these labels, until they are as they are in the database: each change once, after the one
    /// before, or a gap. The server of a client without positions would disconnect it instead.
    pub(crate) async fn hears_each_label_once(&mut self, world: &World, mut labels: Vec<Json>) {
        let now = world.get("/toy").await;
        let now: Vec<_> = now.ok().as_array().expect("a list").iter().map(|toy| toy["label"].clone()).collect();
        while labels != now {
            let event = self.next().await;
            if event[0] == "$gap" {
                return;
            }
            let change = message(&event);
            let label = &mut labels[change["id"].as_u64().expect("a toy") as usize - 1];
            assert_eq!(change["previous"]["label"], *label, "{event}");
            label.clone_from(&change["data"]["label"]);
        }
    }

    /// Keeps what it hears until something else has happened, so that nothing waits for it.
    pub(crate) async fn hears_until(&mut self, done: impl Future) {
        let mut done = pin!(done);
        loop {
            tokio::select! {
                _ = &mut done => return,
                packet = self.read() => self.hear(&packet),
            }
        }
    }

    /// What it has heard when it is answered; all that was published before is among it.
    pub(crate) async fn heard(&mut self) -> Vec<Json> {
        self.ack("get", "/toy/none", json!({})).await;
        self.heard.drain(..).collect()
    }
}

/// The change message of an event, with or without a position.
pub(crate) fn message(event: &Json) -> &Json {
    event.as_array().and_then(|event| event.last()).expect("an argument")
}
