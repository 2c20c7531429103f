use axum::body::Bytes;
use catamaran::action;

#[action(get "/x")]
async fn x(_: Bytes) {}

fn main() {}
