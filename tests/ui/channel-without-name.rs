use catamaran::{Event, channel};
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
}

#[channel(event = RoomEvent)]
pub struct Lobby;

fn main() {}
