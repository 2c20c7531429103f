use catamaran::action;

#[action(get "/users/<id>")]
async fn x(id: u64) -> String { id.to_string() }

fn main() {}
