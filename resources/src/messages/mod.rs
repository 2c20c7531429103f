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
    __resources::{EncodedEvent, Except, Gated},
    History, Hub,
};
use serde_json::value::RawValue;

pub(crate) use self::{following::Following, gate::Changes, transfer::write};

/// How many changes of a resource are kept for clients that come back.
const KEPT: History = History::of(1024);

/// The channel of a resource.
fn channel(identity: &str) -> Gated {
    Gated::new(identity, KEPT)
}

/// Publishes a change, as [`transfer::write`] has it, to all sockets but one.
pub(crate) async fn publish(hub: &Hub, identity: &str, change: Box<RawValue>, except: Option<Except>) {
    hub.publish_behind(&channel(identity), EncodedEvent::new(identity, change), except).await;
}

/// Publishes a change of a row in the outbox; false if it may not have reached the bus. With the same id once more it is the
/// same event, and nobody is told twice.
pub(crate) async fn publish_once(
    hub: &Hub,
    id: (u64, u64),
    identity: &str,
    change: Box<RawValue>,
    except: Option<Except>,
) -> bool {
    hub.publish_once(id, &channel(identity), EncodedEvent::new(identity, change), except).await
}
