use catamaran::action;

#[action(get "/str")]
async fn str() -> &'static str {
    let text: &str = "text";
    let _ = text;
    "str"
}

fn main() {}
