use catamaran::{Event, channel};

#[derive(Event, serde::Serialize)]
struct Noted;

#[channel("lobby", event = "Noted")]
struct Lobby;

fn main() {}
