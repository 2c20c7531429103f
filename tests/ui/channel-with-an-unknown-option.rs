use catamaran::{Event, channel};
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
}

#[channel("lobby", event = RoomEvent, keep = 5)]
pub struct Lobby;

fn main() {}
