use catamaran::{action, routes};

#[action(get "/files/{*rest}")]
async fn file(rest: String) -> String {
    rest
}

#[action(get "/files/{name}/meta")]
async fn meta(name: String) -> String {
    name
}

fn main() {
    let _: catamaran::Table<()> = routes![file, meta];
}
