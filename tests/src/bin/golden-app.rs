//! The server whose frames `tests/js-client/golden.test.js` holds against those of Sails. It prints
//! `listening on http://127.0.0.1:PORT`, and stops on SIGTERM.

use std::{error::Error, sync::Arc};

use axum::extract::State;
use catamaran::{RawChannel, RawEvent, prelude::*};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

/// More than is held for a subscription that is not live yet.
const FLOOD: u64 = 5000;

/// A room of a ported Sails application.
fn room(name: &str) -> RawChannel {
    RawChannel::new(name)
}

/// What else a client may be subscribed to.
#[channel("moves", event = Move, history = 10)]
struct Moves;

#[derive(Event, Serialize)]
enum Move {
    Moved(i32, i32),
    Closed,
}

/// Lets the slow action go on.
#[derive(Clone, Default)]
struct Gate {
    entered: Arc<Notify>,
    open: Arc<Notify>,
}

#[controller("/")]
mod golden {
    use super::*;

    #[action(get "/join")]
    async fn join(ctx: Ctx<Socket>) -> catamaran::Result<&'static str> {
        ctx.subscribe(&room("r1")).await?;
        ctx.subscribe(&Moves).await?;
        Ok("joined")
    }

    #[action(get "/leave")]
    async fn leave(ctx: Ctx<Socket>) -> &'static str {
        ctx.socket().unsubscribe(&room("r1")).await;
        ctx.socket().unsubscribe(&Moves).await;
        "left"
    }

    #[action(post "/publish")]
    async fn publish(hub: Hub) -> catamaran::Result<&'static str> {
        let events = [
            ("news", json!({ "n": 1 })),
            ("message", json!({ "x": 1 })),
            ("p", Value::Null),
            ("p", json!("str")),
            ("p", json!(5)),
            ("p", json!([1, 2])),
            ("p", json!(false)),
            ("p", json!(0)),
            ("p", json!("")),
            ("p", json!([])),
            ("p", json!({ "deep": [{ "er": [null, true, -1.5] }] })),
            ("é😀", json!("é😀 \" \\ / \n \u{7} \u{2028}")),
            ("long", json!("x".repeat(70_000))),
        ];
        for (name, value) in events {
            hub.publish(&room("r1"), RawEvent::new(name, &value)?).await?;
        }
        hub.publish(&Moves, Move::Moved(1, -2)).await?;
        hub.publish(&Moves, Move::Closed).await?;
        hub.blast(&RawEvent::new("all", &json!({ "n": 2 }))?).await?;
        Ok("published")
    }

    /// To all but the socket that asks.
    #[action(post "/others")]
    async fn others(ctx: Ctx<Socket>, hub: Hub) -> catamaran::Result<&'static str> {
        hub.publish(&room("r1"), RawEvent::new("others", &1)?).except(ctx.socket()).await?;
        Ok("published")
    }

    /// Subscribes, and answers when it is told to.
    #[action(get "/slow")]
    async fn slow(ctx: Ctx<Socket>, State(gate): State<Gate>) -> catamaran::Result<&'static str> {
        ctx.subscribe(&room("r1")).await?;
        ctx.subscribe(&Moves).await?;
        gate.entered.notify_one();
        gate.open.notified().await;
        Ok("joined")
    }

    /// Waits until the slow action has subscribed.
    #[action(get "/entered")]
    async fn entered(State(gate): State<Gate>) {
        gate.entered.notified().await;
    }

    #[action(post "/open")]
    async fn open(State(gate): State<Gate>) {
        gate.open.notify_one();
    }

    #[action(post "/flood")]
    async fn flood(hub: Hub) -> catamaran::Result {
        for n in 0..FLOOD {
            hub.publish(&room("r1"), RawEvent::new("n", &n)?).await?;
        }
        Ok(())
    }

    /// Moves who is in one room into another, publishes there, and takes them out again.
    #[action(post "/move")]
    async fn move_members(hub: Hub) -> catamaran::Result {
        hub.add_members(&room("r1"), &room("r2")).await?;
        hub.publish(&room("r2"), RawEvent::new("moved", &"in")?).await?;
        hub.remove_members(&room("r1"), &room("r2")).await?;
        hub.publish(&room("r2"), RawEvent::new("moved", &"out")?).await?;
        hub.publish(&room("r1"), RawEvent::new("moved", &"done")?).await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let transports = [catamaran::TransportType::Polling, catamaran::TransportType::Websocket];
    App::new(Gate::default()).transports(transports).mount(routes![golden]).serve_on(listener).await?;
    Ok(())
}
