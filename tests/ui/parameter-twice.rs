use catamaran::action;

#[action(get "/{x}/{x}")]
async fn x(x: u64) -> String {
    x.to_string()
}

fn main() {}
