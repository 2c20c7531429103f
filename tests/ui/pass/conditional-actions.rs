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

#[action(get "/arguments/{id}")]
async fn arguments(#[cfg(not(false))] id: u64, #[cfg(any())] _never: NoSuchType) {
    assert!(id > 0);
}

pub(crate) fn main() {
    let table: catamaran::Table<()> = routes![x, #[cfg(any())] no_such_action, #[cfg(not(any()))] arguments];
    assert_eq!(table.routes.len(), 2);
}
