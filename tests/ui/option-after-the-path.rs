use catamaran::action;

#[action(get "/x", socket_only)]
async fn x() {}

fn main() {}
