use catamaran::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Disconnect,
}

fn main() {}
