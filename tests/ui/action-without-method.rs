use catamaran::action;

#[action("/x")]
async fn x() {}

fn main() {}
