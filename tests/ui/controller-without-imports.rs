use axum::Json;
use catamaran::{action, controller};

#[controller("/x")]
mod x {
    #[action(get "/one")]
    pub async fn one() -> Json<u8> {
        Json(1)
    }

    #[action(get "/two")]
    pub async fn two() -> Json<u8> {
        Json(2)
    }

    #[action(get "/three")]
    pub async fn three() -> Json<u8> {
        Json(3)
    }
}

fn main() {}
