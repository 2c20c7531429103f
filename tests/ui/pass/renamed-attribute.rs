#![deny(warnings)]

use catamaran::{action as endpoint, controller, routes};

#[controller("/x")]
mod x {
    use super::*;

    #[endpoint(get "/one")]
    pub async fn one() {}

    #[catamaran::action(get "/two")]
    pub async fn two() {}
}

pub(crate) fn main() {
    let table: catamaran::Table<()> = routes![x];
    assert_eq!(table.routes[0].path, "/x/one");
    assert_eq!(table.routes[1].path, "/x/two");
}
