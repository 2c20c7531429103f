use axum::extract::State;
use catamaran::{action, controller};

#[derive(Clone)]
pub struct Db;

#[derive(Clone)]
pub struct Cache;

#[controller("/x")]
mod x {
    use super::*;

    #[action(get "/one")]
    pub async fn one(_: State<Db>) {}

    #[action(get "/two")]
    pub async fn two(_: State<Cache>) {}
}

fn main() {}
