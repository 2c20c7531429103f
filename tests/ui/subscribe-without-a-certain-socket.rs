use catamaran::{Ctx, Event, action, channel};
use serde::Serialize;

#[derive(Event, Serialize)]
pub enum RoomEvent {
    Closed,
}

#[channel("room:{id}", event = RoomEvent)]
pub struct Room {
    pub id: u64,
}

#[action(get "/rooms/{id}")]
async fn watch(ctx: Ctx, id: u64) {
    let _ = ctx.subscribe(&Room { id }).await;
}

fn main() {}
