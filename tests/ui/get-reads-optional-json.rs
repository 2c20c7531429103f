use axum::Json;
use catamaran::action;

#[action(get "/x")]
async fn x(body: Option<Json<u64>>) { drop(body) }

fn main() {}
