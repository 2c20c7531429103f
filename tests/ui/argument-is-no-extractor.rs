use catamaran::{action, controller};

pub struct NotAnExtractor;

#[controller("/x")]
mod x {
    use super::*;

    #[action(post "/first")]
    pub async fn first(_: NotAnExtractor, _: String) {}

    #[action(post "/last")]
    pub async fn last(_: axum::http::Method, _: NotAnExtractor) {}
}

fn main() {}
