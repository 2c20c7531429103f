#![deny(warnings)]

use catamaran::{action, routes};

#[action(get "/kinds/{type}")]
async fn r#match(r#type: String) -> String {
    r#type
}

pub(crate) fn main() {
    let table: catamaran::Table<()> = routes![r#match];
    assert_eq!(table.routes[0].params, ["type"]);
    assert_eq!(table.routes[0].action, "match");
}
