use catamaran::action;

#[action(get "/rooms")]
async fn rooms(page: u64) -> String {
    page.to_string()
}

fn main() {}
