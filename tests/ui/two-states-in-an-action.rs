use axum::extract::State;
use catamaran::action;

#[derive(Clone)]
pub struct Db;

#[derive(Clone)]
pub struct Cache;

#[action(get "/one")]
async fn one(_: State<Db>, _: State<Cache>) {}

fn main() {}
