use catamaran::{action, controller, routes};

#[controller("/rooms")]
mod rooms {
    use super::*;

    #[action(get "/{id}/feed")]
    pub async fn feed(id: u64) -> String {
        id.to_string()
    }
}

mod admin {
    use catamaran::{action, actions};

    actions! { "/rooms" => close }

    #[action(delete "/{room}/feed")]
    pub async fn close(room: u64) -> String {
        room.to_string()
    }
}

fn main() {
    let _: catamaran::Table<()> = routes![rooms, admin];
}
