use catamaran::{Event, channel};
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
}

#[channel("lobby", event = RoomEvent, history = 9, history_bytes = 0)]
pub struct Lobby;

fn main() {}
