//! Change messages: what sockets are told of the records that they asked for.
//!
//! Each resource has one channel, and on it goes every change of its records, whole. What a socket hears of it its gate decides,
//! by the policy of the resource.

mod following;
mod gate;
#[cfg(test)]
mod tests;
mod transfer;
mod verb;

use catamaran::{
    __resources::{Gated, Message},
    History, Hub, RequestSocket,
};

pub(crate) use self::{following::Following, gate::Changes};
use crate::{Meta, engine};

/// How many changes of a resource are kept for clients that come back.
const KEPT: History = History::of(1024);

/// The channel of a resource.
fn channel(meta: &Meta) -> Gated {
    Gated::new(meta.identity(), KEPT)
}

/// Tells the servers what a write changed. The socket whose request it was has its answer.
pub(crate) async fn tell(hub: &Hub, changes: &engine::Changes, except: Option<&RequestSocket>) {
    // While the records are held, so that everybody hears of them in the order of the commits.
    for change in changes.iter() {
        let message = Message::new(change.meta.identity(), transfer::write(change));
        hub.publish_behind(&channel(change.meta), message, except).await;
    }
}
