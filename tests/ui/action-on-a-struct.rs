use catamaran::action;

#[action(get "/x")]
struct X;

fn main() {}
