use catamaran::{Event, channel};
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
}

#[channel("lobby", event = RoomEvent, history = 9, history_since = yesterday)]
pub struct Lobby;

fn main() {}
