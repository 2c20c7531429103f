use catamaran::Event;

#[derive(Event)]
pub enum RoomEvent {
    Closed,
}

fn main() {}
