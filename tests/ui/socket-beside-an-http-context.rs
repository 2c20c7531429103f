use catamaran::{Ctx, Http, Socket, action};

#[action(get "/x")]
async fn x(_: Ctx<Http>, _: Socket) {}

fn main() {}
