use catamaran::{action, controller};

#[controller("x/{id}")]
mod x {
    use super::*;

    #[action(get "/y")]
    pub async fn y(id: u64) -> String {
        id.to_string()
    }
}

fn main() {}
