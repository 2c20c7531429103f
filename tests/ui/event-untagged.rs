use catamaran::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
#[serde(untagged)]
pub enum RoomEvent {
    Closed,
}

fn main() {}
