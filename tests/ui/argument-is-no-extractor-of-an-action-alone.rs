use catamaran::{action, routes};

pub struct NotAnExtractor;

#[action(get "/x")]
async fn x(_: NotAnExtractor) {}

fn main() {
    let _: catamaran::Table<()> = routes![x];
}
