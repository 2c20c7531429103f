#![deny(warnings)]

use catamaran::{action, controller, routes};

#[controller("/x")]
mod x {
    use super::*;

    #[cfg(not(false))]
    #[action(get "/")]
    pub async fn here() {}

    #[cfg(any())]
    #[action(get "/")]
    pub async fn not_here() {}

    #[action(get "/after")]
    #[cfg(any())]
    pub async fn not_after(_: NoSuchType) {}
}

pub(crate) fn main() {
    let table: catamaran::Table<()> = routes![x];
    assert_eq!(table.routes.len(), 1);
}
