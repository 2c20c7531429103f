use catamaran::action;

#[action(get "/{*rest}/tail")]
async fn x(rest: String) -> String {
    rest
}

fn main() {}
