use catamaran::{Any, Ctx, action};

#[action(get "/x")]
async fn x(_: Ctx<Any>) {}

fn main() {}
