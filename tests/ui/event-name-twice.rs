use catamaran::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
    #[event(name = "closed")]
    Shut,
}

fn main() {}
