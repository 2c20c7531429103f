use catamaran::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
#[event(name = "$gap")]
pub struct Gap;

fn main() {}
