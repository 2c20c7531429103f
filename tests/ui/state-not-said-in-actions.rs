use axum::extract::State;
use catamaran::{action, actions};

#[derive(Clone)]
pub struct Db;

actions! { "/x" => one }

#[action(get "/one")]
async fn one(_: State<Db>) {}

fn main() {}
