use catamaran::{Ctx, Socket, action};

pub struct Room {
    pub id: u64,
}

#[action(get "/rooms/{id}")]
async fn watch(ctx: Ctx<Socket>, id: u64) {
    let _ = ctx.subscribe(&Room { id }).await;
}

fn main() {}
