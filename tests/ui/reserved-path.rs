use catamaran::{action, routes};

#[action(get "/socket.iox")]
async fn fine() {}

#[action(get "/socket.io/status")]
async fn status() {}

fn main() {
    let _: catamaran::Table<()> = routes![fine, status];
}
