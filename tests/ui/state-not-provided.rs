use axum::extract::State;
use catamaran::{App, action, controller, routes};

#[derive(Clone)]
pub struct Db;

#[controller("/x")]
mod x {
    use super::*;

    #[action(get "/one")]
    pub async fn one(_: State<Db>) {}
}

fn main() {
    App::new(7_u8).mount(routes![x]);
}
