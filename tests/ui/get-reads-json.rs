use axum::Json;
use catamaran::action;

#[action(get "/x")]
async fn x(_: Json<u64>) {}

fn main() {}
