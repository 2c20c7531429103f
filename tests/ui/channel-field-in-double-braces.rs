use catamaran::{Event, channel};

#[derive(Event, serde::Serialize)]
struct Noted;

#[channel("room:{{id}}", event = Noted)]
struct Room {
    id: u64,
}

fn main() {}
