use catamaran::action;

#[action(get "a")]
async fn x() {}

fn main() {}
