use catamaran::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Gap,
    Error,
}

fn main() {}
