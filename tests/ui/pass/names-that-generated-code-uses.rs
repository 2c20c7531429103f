#![deny(warnings)]

use catamaran::{action, controller, routes};

#[controller("/x")]
mod x {
    use super::*;

    #[action(get "/{call}/{id}/{request}")]
    pub async fn id(id: u64, call: String, request: String, argument4: axum::http::Method) -> String {
        format!("{id}{call}{request}{argument4}")
    }

    #[action(get "/call/{state}")]
    pub async fn call(state: String) -> String {
        state
    }
}

pub(crate) fn main() {
    let table: catamaran::Table<()> = routes![x];
    assert_eq!(table.routes.len(), 2);
}
