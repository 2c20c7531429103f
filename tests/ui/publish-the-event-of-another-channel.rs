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

#[derive(Event, Serialize)]
pub enum PetEvent {
    Fed,
}

#[action(post "/rooms/{id}")]
async fn close(ctx: Ctx, id: u64) {
    let _ = ctx.publish(&Room { id }, PetEvent::Fed).await;
}

fn main() {}
