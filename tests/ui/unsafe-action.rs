use catamaran::action;

#[action(get "/x")]
async unsafe fn x() {}

fn main() {}
