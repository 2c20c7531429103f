use catamaran::{Event, channel};
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
}

#[channel("lobby", event = RoomEvent, history_seconds = 60)]
pub struct Lobby;

fn main() {}
