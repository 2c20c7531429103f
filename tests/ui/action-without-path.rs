use catamaran::action;

#[action(get)]
async fn x() {}

fn main() {}
