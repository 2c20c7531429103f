use catamaran::Event;

#[derive(Event)]
pub union Both {
    a: u8,
    b: i8,
}

fn main() {}
