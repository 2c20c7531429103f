use catamaran::{Ctx, Http, action};

type Web = Ctx<Http>;

#[action(get "/x")]
async fn x(_: Ctx, _: Web) {}

fn main() {}
