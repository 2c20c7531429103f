use catamaran::{action, actions};

actions! { "/users", list }

#[action(get "/")]
pub async fn list() {}

fn main() {}
