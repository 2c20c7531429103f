use catamaran::action;

#[action(get "/{name}.png")]
async fn x(name: String) -> String {
    name
}

fn main() {}
