use catamaran::channel;

pub struct NotAnEvent;

#[channel("lobby", event = NotAnEvent)]
pub struct Lobby;

fn main() {}
