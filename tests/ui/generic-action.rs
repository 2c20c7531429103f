use catamaran::action;

#[action(get "/x")]
async fn x<T>() {}

fn main() {}
