use catamaran::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    #[event(rename = "shut")]
    Closed,
}

fn main() {}
