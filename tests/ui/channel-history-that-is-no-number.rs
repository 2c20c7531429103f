use catamaran::{Event, channel};
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
}

#[channel("lobby", event = RoomEvent, history = "many")]
pub struct Lobby;

fn main() {}
