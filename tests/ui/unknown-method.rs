use catamaran::action;

#[action(fetch "/x")]
async fn x() {}

fn main() {}
