use catamaran::action;

#[action(get "/rooms/{id}/posts")]
async fn posts(idd: u64) -> String {
    idd.to_string()
}

fn main() {}
