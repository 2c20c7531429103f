use catamaran::action;

#[action(GET "/x")]
async fn x() {}

fn main() {}
