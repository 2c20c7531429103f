//! Resources as clients see them: the same tests on each database.

#[allow(unreachable_pub)]
mod models;

use catamaran::prelude::*;
use models::{pet, toy, user, friendship, pet_toy};

#[tokio::test]
async fn x() {
    let r = catamaran_resources::Resources::open("sqlite::memory:").await.unwrap();
    r.sync(|s| s.register(user::Entity).register(friendship::Entity).register(toy::Entity).register(pet::Entity).register(pet_toy::Entity)).await.unwrap();
    let app = App::new(r).mount(routes![user, pet, toy]);
    for route in app.routes() { println!("{route}"); }
}
