use catamaran::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
#[serde(rename_all_fields = "camelCase", tag = "kind")]
pub enum RoomEvent {
    Closed,
}

fn main() {}
