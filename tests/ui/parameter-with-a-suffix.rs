use catamaran::action;

#[action(get "/{name}.png")]
async fn x() {}

fn main() {}
