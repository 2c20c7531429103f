//! Channels: who receives what is published, over real connections.

use catamaran::prelude::*;
use serde::Serialize;

use crate::support::{Ask, Body, Client, Eio, Packet, Server, get, post, until};

/// How many events one request publishes, to overrun whoever does not read.
const FLOOD: usize = 200;

#[channel("room:{id}", event = RoomEvent)]
struct Room {
    id: u64,
}

#[derive(Event, Serialize)]
enum RoomEvent {
    Said { text: String },
    Moved(i32, i32),
    Closed,
}

#[controller("/rooms/{id}")]
mod rooms {
    use axum::Json;

    use super::*;

    #[action(get "/")]
    pub(crate) async fn watch(ctx: Ctx<Socket>, id: u64) -> catamaran::Result<&'static str> {
        ctx.subscribe(&Room { id }).await?;
        Ok("watching")
    }

    #[action(delete "/")]
    pub(crate) async fn leave(ctx: Ctx<Socket>, id: u64) {
        ctx.socket().unsubscribe(&Room { id }).await;
    }

    #[action(get "/leave")]
    pub(crate) async fn leave_by_get(ctx: Ctx<Socket>, id: u64) {
        ctx.socket().unsubscribe(&Room { id }).await;
    }

    #[action(post "/")]
    pub(crate) async fn say(ctx: Ctx, id: u64, Json(text): Json<String>) -> catamaran::Result {
        ctx.publish(&Room { id }, RoomEvent::Said { text }).await?;
        Ok(())
    }

    #[action(post "/close")]
    pub(crate) async fn close(hub: Hub, id: u64) -> catamaran::Result {
        hub.publish(&Room { id }, RoomEvent::Moved(1, -2)).await?;
        hub.publish(&Room { id }, RoomEvent::Closed).await?;
        Ok(())
    }

    /// Fills the send buffers of all that do not read.
    #[action(post "/flood")]
    pub(crate) async fn flood(ctx: Ctx, id: u64) -> catamaran::Result {
        for _ in 0..FLOOD {
            ctx.publish(&Room { id }, RoomEvent::Said { text: "x".repeat(40_000) }).await?;
        }
        Ok(())
    }
}

async fn start() -> Server {
    Server::start(App::new(()).mount(routes![rooms])).await
}

fn event(text: &str) -> Packet {
    Packet::Event(text.to_owned())
}

#[tokio::test]
async fn a_subscriber_receives_what_is_published_over_either_transport() {
    let server = start().await;
    for eio in [Eio::V3, Eio::V4] {
        let mut ada = Client::with(&server, eio, &[]).await;
        assert_eq!(ada.ask(&get("/rooms/7")).await.status, 200);
        assert_eq!(server.http(&post("/rooms/7", r#""over http""#)).await.status, 200);
        assert_eq!(ada.next().await, event(r#"["said",{"text":"over http"}]"#));
        let mut bob = Client::connect(&server).await;
        assert_eq!(bob.ask(&post("/rooms/8", r#""elsewhere""#)).await.status, 200);
        assert_eq!(bob.ask(&post("/rooms/7", r#""over a socket""#)).await.status, 200);
        assert_eq!(ada.next().await, event(r#"["said",{"text":"over a socket"}]"#));
        assert_eq!(bob.ask(&post("/rooms/7/close", "null")).await.status, 200);
        assert_eq!(ada.next().await, event(r#"["moved",1,-2]"#));
        assert_eq!(ada.next().await, event(r#"["closed"]"#));
    }
}

/// A HEAD has no effect, and no client repeats it after a reconnect.
#[tokio::test]
async fn head_subscribes_and_unsubscribes_nothing() {
    let server = start().await;
    for eio in [Eio::V3, Eio::V4] {
        let mut ada = Client::with(&server, eio, &[]).await;
        ada.ask(&get("/rooms/1")).await;
        let head = ada.ask(&Ask::new("head", "/rooms/2")).await;
        assert_eq!((head.status, &head.body), (200, &Body::None));
        server.http(&post("/rooms/2", r#""to nobody""#)).await;
        server.http(&post("/rooms/1", r#""to ada""#)).await;
        assert_eq!(ada.next().await, event(r#"["said",{"text":"to ada"}]"#));
        // After it a GET subscribes, and is the first to.
        ada.ask(&get("/rooms/2")).await;
        ada.ask(&Ask::new("head", "/rooms/2/leave")).await;
        server.http(&post("/rooms/2", r#""to her again""#)).await;
        assert_eq!(ada.next().await, event(r#"["said",{"text":"to her again"}]"#));
    }
    let mut ours = Client::resuming(&server, "ours").await;
    let head = ours.ask(&Ask::new("head", "/rooms/1")).await;
    assert!(head.channels.as_object().is_none_or(serde_json::Map::is_empty), "{head:?}");
}

#[tokio::test]
async fn a_subscription_ends_with_unsubscribe() {
    let server = start().await;
    let mut ada = Client::connect(&server).await;
    ada.ask(&get("/rooms/1")).await;
    ada.ask(&get("/rooms/2")).await;
    ada.ask(&Ask::new("delete", "/rooms/1")).await;
    server.http(&post("/rooms/1", r#""to nobody""#)).await;
    server.http(&post("/rooms/2", r#""to ada""#)).await;
    assert_eq!(ada.next().await, event(r#"["said",{"text":"to ada"}]"#));
}

#[tokio::test]
async fn a_subscriber_that_reads_too_slowly_is_cut_off_and_the_others_are_served() {
    let server = start().await;
    let mut slow = Client::connect(&server).await;
    slow.ask(&get("/rooms/7")).await;
    let mut quick = Client::connect(&server).await;
    quick.ask(&get("/rooms/7")).await;
    // Fifteen floods are more than the send buffer and the kernel's together hold.
    for _ in 0..15 {
        let ask = post("/rooms/7/flood", "null");
        // It reads meanwhile, or a busy machine makes it a slow one.
        let reads = async {
            for _ in 0..FLOOD {
                assert!(matches!(quick.next().await, Packet::Event(_)));
            }
        };
        let (flooded, ()) = tokio::join!(server.http(&ask), reads);
        assert_eq!(flooded.status, 200);
    }
    drop(quick);
    until("the slow one is gone", || server.io.sockets().is_empty()).await;
    let end = loop {
        match slow.next().await {
            Packet::Event(_) => {}
            end => break end,
        }
    };
    assert_eq!(end, Packet::Closed);
}
