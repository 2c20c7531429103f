use catamaran::action;

#[action(get "/x")]
fn x() {}

fn main() {}
