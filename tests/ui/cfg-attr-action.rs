use catamaran::{action, controller};

#[controller("/x")]
mod x {
    use super::*;

    #[action(get "/one")]
    pub async fn one() {}

    #[cfg_attr(all(), action(get "/two"))]
    pub async fn two() {}
}

fn main() {}
