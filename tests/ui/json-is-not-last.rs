use axum::{Json, extract::Query};
use catamaran::action;

#[action(post "/x")]
async fn x(_: Json<u64>, _: Query<Vec<(String, String)>>) {}

fn main() {}
