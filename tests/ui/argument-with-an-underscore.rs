use catamaran::action;

#[action(get "/{id}")]
async fn x(_id: u64) {}

fn main() {}
