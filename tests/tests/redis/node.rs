//! One server of an application, and a client of it that asks for positions.

use catamaran::{App, Hub, Published, Redis, prelude::*};
use catamaran_tests::backends::redis::RedisServer;
use serde::Serialize;
use serde_json::{Value, json};

use crate::support::{Client, Packet, Server, get, within};

/// Keeps more than any test publishes while nobody reads.
#[channel("room:{id}", event = Line, history = 1000)]
pub(crate) struct Room {
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

#[controller("/rooms/{id}")]
mod rooms {
    use super::*;

    #[action(get "/")]
    pub(crate) async fn watch(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
        ctx.subscribe(&Room { id }).await?;
        Ok(())
    }

    #[action(get "/ticks")]
    pub(crate) async fn ticks(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
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
    pub(crate) async fn start(redis: &RedisServer) -> Self {
        let node = Self::of(Redis::connect(redis.url())).await;
        node.up().await;
        node
    }

    pub(crate) async fn of(redis: Redis) -> Self {
        let app = App::new(()).mount(routes![rooms]).bus(redis);
        let hub = app.hub();
        Self { hub, server: Server::start(app).await }
    }

    /// Waits until this server reaches its Redis.
    pub(crate) async fn up(&self) {
        self.until(Published::Delivered).await;
    }

    /// Waits until this server knows that it does not reach its Redis.
    pub(crate) async fn down(&self) {
        self.until(Published::LocalOnly).await;
    }

    async fn until(&self, expected: Published) {
        let nobody = Tick { id: u64::MAX };
        let mut pause = tokio::time::interval(std::time::Duration::from_millis(5));
        within(&format!("{expected:?}"), async {
            while self.hub.publish(&nobody, Line(0)).await.expect("it is JSON") != expected {
                pause.tick().await;
            }
        })
        .await;
    }

    pub(crate) async fn publish(&self, room: u64, number: u64) {
        let published = self.hub.publish(&Room { id: room }, Line(number)).await;
        assert_eq!(published.expect("it is JSON"), Published::Delivered);
    }

    pub(crate) async fn subscriber(&self, client: &str, room: u64) -> Subscriber {
        let mut client = Client::resuming(&self.server, &format!("{client}-0123456789abcdef")).await;
        let answer = client.ask(&get(format!("/rooms/{room}"))).await;
        assert_eq!(answer.status, 200);
        let position = answer.channels[format!("room:{room}")].clone();
        Subscriber { client, channel: format!("room:{room}"), position }
    }
}

/// A client that is live in a room.
pub(crate) struct Subscriber {
    pub(crate) client: Client,
    channel: String,
    /// What the answer said: the epoch, the offset, and the outcome.
    pub(crate) position: Value,
}

impl Subscriber {
    /// The next frame.
    pub(crate) async fn next(&mut self) -> Value {
        let Packet::Event(frame) = within("an event", self.client.receive()).await else { panic!("an event") };
        serde_json::from_str(&frame).expect("JSON")
    }

    pub(crate) async fn hears(&mut self, offset: u64, number: u64) {
        assert_eq!(self.next().await, json!(["$", self.channel, offset, "line", number]));
    }
}
