use catamaran::action;

#[action(get "/{id:int}")]
async fn x(id: u64) -> String { id.to_string() }

fn main() {}
