use catamaran::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
#[event(name = "room")]
pub enum RoomEvent {
    Closed,
}

fn main() {}
