use catamaran::action;

#[action(get "/:id")]
async fn x(id: u64) -> String {
    id.to_string()
}

fn main() {}
