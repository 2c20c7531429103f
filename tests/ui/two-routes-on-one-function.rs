use catamaran::action;

#[action(get "/one")]
#[action(get "/two")]
async fn x() {}

fn main() {}
