use catamaran::Event;

#[derive(Event, serde::Serialize)]
enum Note {
    Added,
    #[serde(skip)]
    Hidden,
}

fn main() {}
