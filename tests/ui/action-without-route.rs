use catamaran::action;

#[action]
async fn x() {}

fn main() {}
