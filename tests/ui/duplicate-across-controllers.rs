use catamaran::{action, controller, routes};

#[controller("/chat")]
mod chat {
    use super::*;

    #[action(get "/hello")]
    pub async fn hello() {}
}

#[controller("/")]
mod home {
    use super::*;

    #[action(get "/chat/hello")]
    pub async fn shadow() {}
}

fn main() {
    let _: catamaran::Table<()> = routes![chat, home];
}
