use catamaran::{action, controller, routes};

#[controller("/x")]
mod x {
    use super::*;

    #[allow(non_camel_case_types)]
    pub enum line {}

    #[action(get "/lines")]
    pub async fn lines() {}

    #[action(get "/line")]
    pub async fn line() {
        let _: Option<line> = None;
    }
}

fn main() {
    let _: catamaran::Table<()> = routes![x];
}
