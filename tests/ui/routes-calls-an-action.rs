use catamaran::{Table, action, routes};

#[action(get "/x")]
async fn x() {}

fn main() {
    let _: Table<()> = routes![x()];
}
