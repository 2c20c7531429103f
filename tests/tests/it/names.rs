//! Two types of channel whose patterns give one name, as clients meet them.

use axum::Json;
use catamaran::{Hub, prelude::*};
use serde::Serialize;

use crate::support::{Body, Client, Packet, Server, get, post};

#[channel("room:{id}", event = RoomEvent, history = 100)]
struct Room {
    id: String,
}

#[channel("room:staff", event = StaffEvent)]
struct Staff;

#[derive(Event, Serialize)]
enum RoomEvent {
    Said { text: String },
}

#[derive(Event, Serialize)]
enum StaffEvent {
    Payroll { text: String },
}

#[action(get "/rooms/{id}")]
async fn watch(ctx: Ctx<Socket>, id: String) -> catamaran::Result {
    ctx.subscribe(&Room { id }).await?;
    Ok(())
}

#[action(post "/rooms/{id}")]
async fn say(hub: Hub, id: String, text: String) -> catamaran::Result {
    hub.publish(&Room { id }, RoomEvent::Said { text }).await?;
    Ok(())
}

/// Lists what the socket has once this request has subscribed it.
#[action(get "/watched/{id}")]
async fn watched(ctx: Ctx<Socket>, id: String) -> catamaran::Result<Json<Vec<String>>> {
    ctx.subscribe(&Room { id }).await?;
    Ok(Json(ctx.socket().channels()))
}

#[action(get "/staff")]
async fn watch_staff(ctx: Ctx<Socket>) -> catamaran::Result {
    ctx.subscribe(&Staff).await?;
    Ok(())
}

#[action(post "/staff")]
async fn pay(hub: Hub, text: String) -> catamaran::Result {
    hub.publish(&Staff, StaffEvent::Payroll { text }).await?;
    Ok(())
}

fn app() -> App<()> {
    App::new(()).mount(routes![watch, watched, say, watch_staff, pay])
}

#[tokio::test]
async fn room_named_like_another_channel_hears_nothing_of_it() {
    let server = Server::start(app()).await;
    let mut mallory = Client::connect(&server).await;
    assert_eq!(mallory.ask(&get("/rooms/staff")).await.status, 200);
    let refused = mallory.ask(&post("/staff", r#""salaries""#)).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (500, Some("channel_conflict")));
    // Neither type is named to a client.
    assert!(!refused.message().contains("Staff"), "{}", refused.message());
    assert_eq!(mallory.ask(&get("/staff")).await.status, 500);
    assert_eq!(mallory.ask(&post("/rooms/staff", r#""hi""#)).await.status, 200);
    assert_eq!(mallory.next().await, Packet::Event(r#"["said",{"text":"\"hi\""}]"#.to_owned()));
}

#[tokio::test]
async fn room_is_refused_the_name_of_a_channel_in_use() {
    let server = Server::start(app()).await;
    let (mut ada, mut mallory) = (Client::connect(&server).await, Client::connect(&server).await);
    assert_eq!(ada.ask(&get("/staff")).await.status, 200);
    assert_eq!(mallory.ask(&get("/rooms/staff")).await.status, 500);
    // The failed request leaves nothing, and the channel goes on.
    assert_eq!(ada.ask(&post("/staff", r#""salaries""#)).await.status, 200);
    assert_eq!(ada.next().await, Packet::Event(r#"["payroll",{"text":"\"salaries\""}]"#.to_owned()));
    assert_eq!(mallory.ask(&get("/rooms/7")).await.body, Body::None);
}

#[tokio::test]
async fn channels_of_a_socket_include_those_of_its_request() {
    let server = Server::start(app()).await;
    let mut ada = Client::connect(&server).await;
    assert_eq!(ada.ask(&get("/watched/b")).await.json(), serde_json::json!(["room:b"]));
    assert_eq!(ada.ask(&get("/watched/a")).await.json(), serde_json::json!(["room:a", "room:b"]));
    assert_eq!(ada.ask(&get("/watched/a")).await.json(), serde_json::json!(["room:a", "room:b"]));
}
