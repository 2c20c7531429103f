//! A controller of another crate, for tests that mount it.

use catamaran::{action, actions};

actions! { "/elsewhere" => list, show }

/// Lists everything.
#[action(get "/")]
pub async fn list() -> &'static str {
    "everything"
}

/// Shows one.
#[action(get "/{name}")]
pub async fn show(name: String) -> String {
    name
}
