use catamaran::{action, actions};

#[derive(Clone)]
pub struct Db;

mod users {
    use super::*;

    actions! { "/users" => list, state = Db }

    #[action(get "/")]
    pub async fn list() {}
}

fn main() {}
