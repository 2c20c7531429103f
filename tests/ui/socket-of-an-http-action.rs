use catamaran::{Ctx, Http, action};

#[action(get "/export")]
async fn export(ctx: Ctx<Http>) {
    ctx.socket();
}

fn main() {}
