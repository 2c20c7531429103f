use catamaran::{Ctx, action};

#[action(get "/x")]
async fn x(ctx: &Ctx) { drop(ctx) }

fn main() {}
