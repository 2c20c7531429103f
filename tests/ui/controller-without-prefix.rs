use catamaran::{action, controller, routes};

#[controller]
mod x {
    use super::*;

    #[action(get "/{id}")]
    pub async fn x(id: u64) -> String {
        id.to_string()
    }
}

fn main() {
    let _: catamaran::Table<()> = routes![x];
}
