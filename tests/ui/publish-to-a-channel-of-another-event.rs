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

#[channel("pet", event = PetEvent)]
pub struct Pet;

#[action(post "/rooms/{id}")]
async fn close(ctx: Ctx, id: u64) {
    let _ = ctx.publish(&Room { id }, RoomEvent::Closed).and(&Pet).await;
}

fn main() {}
