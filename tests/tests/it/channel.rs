//! What `#[channel]` and `#[derive(Event)]` write, seen from a user's crate.

// A user writes `pub`.
#![allow(unreachable_pub)]

use catamaran::{Channel, Event, History, RawChannel, channel};
use serde::Serialize;
use serde_json::{Value, json};

#[channel("room:{id}", event = RoomEvent, history = 256)]
pub struct Room {
    pub id: u64,
}

#[channel("pet:{shop}:{type}", event = RoomEvent, history = 2 * 8, history_seconds = 60, stream = "pet")]
pub struct Pet<'a> {
    pub r#type: u32,
    pub shop: &'a str,
}

#[channel("lobby", event = Notice)]
pub struct Lobby;

#[channel(
    "user:{0}",
    event = Notice,
    history = 9,
    history_since = subscribe,
    history_seconds = 3600,
    history_bytes = 1000
)]
pub struct User(pub String);

#[derive(Event, Serialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum RoomEvent {
    Said {
        from_user: String,
        #[serde(skip)]
        internal: u8,
    },
    UserLeft(u64),
    Moved(u8, Option<u8>),
    Closed,
    #[event(name = "room:renamed")]
    Renamed(String),
}

#[derive(Event, Serialize)]
#[event(name = "note")]
pub struct Notice {
    text: String,
}

#[derive(Event, Serialize)]
pub struct ServerTime<T>(T);

/// The event's name and arguments, as JSON.
fn frame(event: &impl Event) -> Value {
    let message = event.message().unwrap().to_string();
    serde_json::from_str(&message).unwrap()
}

#[test]
fn a_channel_has_a_name_a_history_and_a_stream() {
    assert_eq!(Room { id: 7 }.name(), "room:7");
    assert_eq!((Room::PATTERN, Room::HISTORY, Room::STREAM), ("room:{id}", History::of(256), None));
    assert_eq!((Pet { shop: "north", r#type: 3 }).name(), "pet:north:3");
    assert_eq!((Pet::HISTORY, Pet::STREAM), (History::of(16).seconds(60), Some("pet")));
    assert_eq!((Lobby.name(), Lobby::HISTORY), ("lobby".to_owned(), History::NONE));
    assert_eq!(User::HISTORY, History::of(9).bytes(1000).seconds(3600).since_subscribe());
    assert_eq!(RawChannel::new("anything:at all").name(), "anything:at all");
}

#[test]
fn two_values_never_share_a_name() {
    assert_eq!(User("a:b".into()).name(), "user:a%3Ab");
    assert_eq!(User("a%3Ab".into()).name(), "user:a%253Ab");
    assert_ne!(Pet { shop: "a:1", r#type: 2 }.name(), Pet { shop: "a", r#type: 12 }.name());
}

#[test]
fn an_event_is_its_variant_in_camel_case_and_what_stands_inside() {
    assert_eq!(
        frame(&RoomEvent::Said { from_user: "ada".into(), internal: 1 }),
        json!(["said", { "fromUser": "ada" }])
    );
    assert_eq!(frame(&RoomEvent::UserLeft(7)), json!(["userLeft", 7]));
    assert_eq!(frame(&RoomEvent::Moved(1, None)), json!(["moved", 1, null]));
    assert_eq!(frame(&RoomEvent::Closed), json!(["closed"]));
    assert_eq!(frame(&RoomEvent::Renamed("hall".into())), json!(["room:renamed", "hall"]));
}

#[test]
fn a_struct_is_an_event_too() {
    assert_eq!(frame(&Notice { text: "hello".into() }), json!(["note", { "text": "hello" }]));
    assert_eq!(frame(&ServerTime(12.5)), json!(["serverTime", 12.5]));
}
