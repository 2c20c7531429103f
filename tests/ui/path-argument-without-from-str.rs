use catamaran::action;

pub struct Id;

#[action(get "/rooms/{id}")]
async fn room(id: Id) {
    let _ = id;
}

fn main() {}
