use catamaran::action;

#[action(get "/x", policy = Admin)]
async fn x() {}

fn main() {}
