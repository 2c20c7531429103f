//! Each of these actions has one mistake, and each mistake has one error.

use axum::Json;
use catamaran::{Ctx, Http, Socket, action, controller, routes};

#[controller("/x")]
mod x {
    use super::*;

    #[action(GET "/1")]
    pub async fn one() {}

    #[action(get "2")]
    pub async fn two() {}

    #[action(get "/3")]
    pub fn three() {}

    #[action(get "/{id}")]
    pub async fn four() {}

    #[action(get "/{id}/5")]
    pub async fn five(idd: u64) -> String {
        idd.to_string()
    }

    #[action(get "/6")]
    pub async fn six(_: Json<u64>) {}

    #[action(get "/7")]
    pub async fn seven<T>() {}

    #[action(get "/8")]
    pub async fn eight(_: Ctx<Http>, _: Ctx<Socket>) {}

    #[action("/9")]
    pub async fn nine() {}

    #[action]
    pub async fn ten() {}
}

fn main() {
    let _: catamaran::Table<()> = routes![x];
}
