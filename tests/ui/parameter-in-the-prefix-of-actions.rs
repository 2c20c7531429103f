use catamaran::{action, actions};

actions! { "/rooms/{id}" => show }

#[action(get "/")]
pub async fn show() {}

fn main() {}
