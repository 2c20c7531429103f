#![deny(dead_code)]

use catamaran::{action, actions, routes};

mod users {
    use super::*;

    actions! { "/users" => list }

    #[action(get "/")]
    async fn list() {}

    #[action(get "/forgotten")]
    async fn forgotten() {}
}

fn main() {
    let _: catamaran::Table<()> = routes![users];
}
