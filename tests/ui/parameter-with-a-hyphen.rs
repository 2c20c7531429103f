use catamaran::action;

#[action(get "/{user-id}")]
async fn x(user_id: u64) -> String { user_id.to_string() }

fn main() {}
