use catamaran::{Event, channel};
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
}

pub struct Id;

#[channel("room:{id}", event = RoomEvent)]
pub struct Room {
    pub id: Id,
}

fn main() {}
