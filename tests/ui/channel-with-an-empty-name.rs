use catamaran::{Event, channel};

#[derive(Event, serde::Serialize)]
struct Noted;

#[channel("", event = Noted)]
struct Lobby;

fn main() {}
