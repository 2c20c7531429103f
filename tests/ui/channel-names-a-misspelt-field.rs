use catamaran::{Event, channel};
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
}

#[channel("room:{id}:{lang}", event = RoomEvent)]
pub struct Room {
    pub id: u64,
}

fn main() {}
