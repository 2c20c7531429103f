use catamaran::{Event, channel};

#[derive(Event, serde::Serialize)]
struct Noted;

#[channel("lobby", event = Noted, history = 0)]
struct Lobby;

fn main() {}
