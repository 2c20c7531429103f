use catamaran::action;

#[action(get "/rooms/{id}/feed")]
async fn feed() {}

fn main() {}
