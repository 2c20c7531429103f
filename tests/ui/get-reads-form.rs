use axum::Form;
use catamaran::action;

#[action(get "/x")]
async fn x(_: Form<Vec<(String, String)>>) {}

fn main() {}
