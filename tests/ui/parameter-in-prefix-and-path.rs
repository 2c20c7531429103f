use catamaran::{action, controller};

#[controller("/rooms/{id}")]
mod rooms {
    use super::*;

    #[action(get "/posts/{id}")]
    pub async fn post(id: u64) -> String {
        id.to_string()
    }
}

fn main() {}
