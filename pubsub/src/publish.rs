//! Publishing: an event on its way to the broker, and to the subscribers of this server if it does not get there.

use tokio::time::timeout;

use super::{
    broker::Sent,
    entry::{Destination, Excluded, Id, Node, PublishedEvent, Target},
    environment,
    event::EncodedEvent,
    registry::StreamRegistry,
    resync::LATE,
};

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is on its way to all subscribers.
    Delivered,
    /// Other servers could not be reached: it is on its way to the subscribers of this one, and the others will be told
    /// that they may have missed something.
    LocalOnly,
    /// The connection to other servers broke: it is on its way to all subscribers or to none.
    Unknown,
}

impl StreamRegistry {
    /// Sends an event to the subscribers of its channels, those of other servers too.
    pub async fn publish(&self, mut to: Vec<Target>, message: EncodedEvent, except: Vec<Excluded>) -> PublishOutcome {
        // Nobody can be subscribed there, and a broker may keep the name.
        let limit = self.max_channel_bytes();
        to.retain(|target| target.channel.len() <= limit || self.warn_of_long_name(target));
        if to.is_empty() {
            return PublishOutcome::Delivered;
        }
        match self.bring(self.next_id(), to, message, except).await {
            Sent::Counted(_) => PublishOutcome::Delivered,
            Sent::Not(entry) => {
                for Destination { target, .. } in &entry.destinations {
                    if let Some(stream) = self.known().find_or_note(&target.stream) {
                        stream.lock().deliver_uncounted(&entry, &target.channel);
                    }
                    // If the broker is back already, it was not asked since for what this node delivered on its own.
                    if !self.is_down() {
                        self.renew(self.stream(&target.stream));
                    }
                }
                PublishOutcome::LocalOnly
            }
            Sent::Unknown => PublishOutcome::Unknown,
        }
    }

    /// Publishes what has an id already; false if it may not have reached the broker, in which case nobody here gets it
    /// either. PublishOutcome again, by any server, a subscriber of a filtered channel receives it once.
    pub async fn publish_once(
        &self,
        (node, number): (u64, u64),
        to: Target,
        message: EncodedEvent,
        except: Vec<Excluded>,
    ) -> bool {
        let id = Id { node: Node(node), number };
        matches!(self.bring(id, vec![to], message, except).await, Sent::Counted(_))
    }

    /// Brings an event to the broker, and waits until this node has it back.
    pub(crate) async fn bring(&self, id: Id, to: Vec<Target>, message: EncodedEvent, except: Vec<Excluded>) -> Sent {
        let destinations = to.into_iter().map(|target| Destination { target, position: None }).collect();
        let sent =
            self.broker().publish(PublishedEvent { id, message, except, destinations, at: environment::now() }).await;
        if !self.is_joined() {
            // The broker in memory has it applied before it returns.
            return sent;
        }
        if let Sent::Counted(entry) = &sent {
            for Destination { target, position } in &entry.destinations {
                if let Some((stream, position)) = self.find(&target.stream).zip(position.as_ref())
                    && timeout(LATE, stream.has_applied(position, || self.is_down())).await.is_err()
                {
                    self.renew(stream);
                }
            }
        }
        sent
    }
}
