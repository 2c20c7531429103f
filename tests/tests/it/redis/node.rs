//! One server of an application, and a client of it that asks for positions.

use std::time::Duration;

use catamaran::{App, Hub, PublishOutcome, Redis, prelude::*};
use catamaran_tests::backends::redis::RedisServer;
use serde::Serialize;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Packet, Server, get, within};

/// How long a test may leave a client unread, which answers no ping then.
const REST: Duration = Duration::from_secs(60);

/// Keeps a few events for whoever comes back.
#[channel("room:{id}", event = Line, history = 100)]
pub(crate) struct Room {
    pub(crate) id: u64,
}

/// Keeps little, and not for long.
#[channel("note:{id}", event = Line, history = 100, history_bytes = 2000, history_seconds = 3600)]
pub(crate) struct Note {
    pub(crate) id: u64,
}

/// Keeps nothing.
#[channel("tick:{id}", event = Line)]
pub(crate) struct Tick {
    pub(crate) id: u64,
}

#[derive(Event, Serialize)]
#[event(name = "line")]
pub(crate) struct Line(pub(crate) u64);

#[controller("/{id}")]
mod channels {
    use super::*;

    #[action(get "/room")]
    pub(crate) async fn room(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
        ctx.subscribe(&Room { id }).await?;
        Ok(())
    }

    #[action(get "/tick")]
    pub(crate) async fn tick(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
        ctx.subscribe(&Tick { id }).await?;
        Ok(())
    }
}

pub(crate) struct Node {
    pub(crate) hub: Hub,
    pub(crate) server: Server,
}

impl Node {
    /// A server that has reached its Redis.
    pub(crate) async fn start(url: String) -> Self {
        Self::of(Redis::connect(url)).await
    }

    pub(crate) async fn of(redis: Redis) -> Self {
        let node = Self::alone(redis).await;
        node.up().await;
        node
    }

    /// A server that may not have reached its Redis.
    pub(crate) async fn alone(redis: Redis) -> Self {
        let app = App::new(()).mount(routes![channels]).heartbeat(REST, REST).broker(redis);
        let hub = app.hub();
        Self { hub, server: Server::start(app).await }
    }

    /// Waits until this server reaches its Redis.
    pub(crate) async fn up(&self) {
        self.until(PublishOutcome::Delivered).await;
    }

    /// Waits until this server knows that it does not reach its Redis.
    pub(crate) async fn down(&self) {
        self.until(PublishOutcome::LocalOnly).await;
    }

    async fn until(&self, expected: PublishOutcome) {
        let nobody = Tick { id: u64::MAX };
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        within(&format!("{expected:?}"), async {
            while self.hub.publish(&nobody, Line(0)).await.expect("it is JSON") != expected {
                pause.tick().await;
            }
        })
        .await;
    }

    /// Publishes to a room what nobody may miss.
    pub(crate) async fn publish(&self, room: u64, number: u64) {
        assert_eq!(self.try_publish(room, number).await, PublishOutcome::Delivered);
    }

    pub(crate) async fn try_publish(&self, room: u64, number: u64) -> PublishOutcome {
        self.hub.publish(&Room { id: room }, Line(number)).await.expect("it is JSON")
    }

    /// A client that is in a room from now on.
    pub(crate) async fn client(&self, name: &str, room: u64) -> Reader {
        let mut reader = Reader::connect(self, name).await;
        reader.join(&format!("/{room}/room")).await;
        reader
    }

    /// How a client comes back that had this position in a room.
    pub(crate) async fn resume(&self, name: &str, room: u64, epoch: &Value, offset: u64) -> (String, Reader) {
        let mut reader = Reader::connect(self, name).await;
        let positions = json!({ format!("room:{room}"): [epoch, offset] }).to_string();
        let answer = reader.client.resume(&format!("/{room}/room"), &positions).await;
        let outcome = answer.channels[format!("room:{room}")][2].as_str().expect("an outcome").to_owned();
        (outcome, reader)
    }
}

/// Waits until all servers have shown twice that they live, and so have heard of each other.
pub(crate) async fn beats(redis: &RedisServer) {
    let signs = || {
        let nodes = redis.ask(&["ZRANGE", "{catamaran}:nodes", "0", "-1", "WITHSCORES"]);
        nodes.lines().skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut pause = tokio::time::interval(Duration::from_millis(5));
    for _ in 0..2 {
        let before = signs();
        within("signs of life", async {
            while signs().iter().any(|sign| before.contains(sign)) {
                pause.tick().await;
            }
        })
        .await;
    }
}

/// A client that asks for positions.
pub(crate) struct Reader {
    client: Client,
}

impl Reader {
    pub(crate) async fn connect(node: &Node, name: &str) -> Self {
        Self { client: Client::resuming(&node.server, &format!("{name}-0123456789abcdef")).await }
    }

    /// Subscribes by a request.
    pub(crate) async fn join(&mut self, url: &str) -> Answer {
        let answer = self.client.ask(&get(url)).await;
        assert_eq!(answer.status, 200);
        answer
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Value {
        match within("an event", self.client.next()).await {
            Packet::Event(frame) => serde_json::from_str(&frame).expect("JSON"),
            other => panic!("{other:?} is no event"),
        }
    }

    /// The next event is this line of this room.
    pub(crate) async fn hears(&mut self, room: u64, offset: u64, number: u64) {
        assert_eq!(self.next().await, json!(["$", format!("room:{room}"), offset, "line", number]));
    }

    /// The next event is this line, from this server alone.
    pub(crate) async fn hears_uncounted(&mut self, number: u64) {
        assert_eq!(self.next().await, json!(["line", number]));
    }

    /// The next event is a gap: the epoch and the offset after it.
    pub(crate) async fn hears_gap(&mut self, channel: &str) -> (Value, u64) {
        let gap = self.next().await;
        assert_eq!((&gap[0], &gap[1]), (&json!("$gap"), &json!(channel)), "{gap}");
        (gap[2].clone(), gap[3].as_u64().expect("an offset"))
    }
}
