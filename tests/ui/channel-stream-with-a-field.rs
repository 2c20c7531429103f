use catamaran::{Event, channel};
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
}

#[channel("room:{id}", event = RoomEvent, stream = "rooms:{id}")]
pub struct Room {
    pub id: u64,
}

fn main() {}
