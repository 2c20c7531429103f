#![deny(warnings)]

use axum::extract::State;
use catamaran::{action, controller, routes};

#[derive(Clone)]
struct Db;

#[controller("/x")]
mod x {
    use super::*;

    #[action(get "/private")]
    async fn private(_: State<Db>) {}

    #[action(get "/restricted")]
    pub(super) async fn restricted() {}
}

pub(crate) fn main() {
    let table: catamaran::Table<Db> = routes![x];
    assert_eq!(table.routes.len(), 2);
}
