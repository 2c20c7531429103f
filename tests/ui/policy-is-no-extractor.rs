use catamaran::{action, routes};

struct NotAPolicy;

#[action(get "/x")]
async fn x() {}

fn main() {
    let _: catamaran::Table<()> = routes![x => NotAPolicy];
}
