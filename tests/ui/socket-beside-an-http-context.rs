use catamaran::{Ctx, Http, RequestSocket, action};

#[action(get "/x")]
async fn x(_: Ctx<Http>, _: RequestSocket) {}

fn main() {}
