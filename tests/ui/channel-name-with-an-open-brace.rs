use catamaran::{Event, channel};
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
}

#[channel("room:{id", event = RoomEvent)]
pub struct Room;

fn main() {}
