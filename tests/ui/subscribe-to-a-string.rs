use catamaran::{Ctx, Socket, action};

#[action(get "/rooms")]
async fn watch(ctx: Ctx<Socket>) {
    let _ = ctx.subscribe("rooms").await;
}

fn main() {}
