//! Who is subscribed to which channel.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{message::Message, peer::Peer};

/// The subscriptions of all sockets of this process.
///
/// One lock covers them, and a publish holds it while it sends, which never waits: so all subscribers of a channel
/// receive its events in one order.
#[derive(Debug, Default)]
pub(crate) struct Members {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// The subscribers of each channel that has any, by their ids.
    channels: HashMap<String, HashMap<String, Peer>>,
    /// The channels of each socket that has any.
    sockets: HashMap<String, HashSet<String>>,
}

impl Members {
    /// Subscribes a socket; false if it is gone.
    pub(crate) fn add(&self, channel: String, peer: &Peer) -> bool {
        let mut table = self.lock();
        // `remove_all` runs after the socket was marked as gone, so it finds what was added before.
        if peer.is_gone() {
            return false;
        }
        table.sockets.entry(peer.id().to_owned()).or_default().insert(channel.clone());
        table.channels.entry(channel).or_default().insert(peer.id().to_owned(), peer.clone());
        true
    }

    pub(crate) fn remove(&self, channel: &str, id: &str) {
        let mut table = self.lock();
        table.leave(channel, id);
        if let Some(channels) = table.sockets.get_mut(id) {
            channels.remove(channel);
            if channels.is_empty() {
                table.sockets.remove(id);
            }
        }
    }

    /// Takes a socket out of all its channels.
    pub(crate) fn remove_all(&self, id: &str) {
        let mut table = self.lock();
        for channel in table.sockets.remove(id).unwrap_or_default() {
            table.leave(&channel, id);
        }
    }

    /// Sends a message to the subscribers of a channel.
    pub(crate) fn publish(&self, channel: &str, message: &Message) {
        let table = self.lock();
        for peer in table.channels.get(channel).into_iter().flat_map(HashMap::values) {
            peer.send(message);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn leave(&mut self, channel: &str, id: &str) {
        if let Some(peers) = self.channels.get_mut(channel) {
            peers.remove(id);
            if peers.is_empty() {
                self.channels.remove(channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{self, UnboundedReceiver};

    use super::*;

    fn message(text: &str) -> Message {
        let argument = serde_json::value::to_raw_value(text).unwrap();
        Message { name: "said".into(), arguments: vec![argument] }
    }

    fn peer(id: &str) -> (Peer, UnboundedReceiver<Message>) {
        let (sender, inbox) = mpsc::unbounded_channel();
        (Peer::of_inbox(id.into(), sender), inbox)
    }

    fn received(inbox: &mut UnboundedReceiver<Message>) -> Vec<String> {
        std::iter::from_fn(|| inbox.try_recv().ok()).map(|message| message.arguments[0].get().to_owned()).collect()
    }

    #[test]
    fn a_subscriber_receives_what_its_channel_gets_while_it_is_in_it() {
        let members = Members::default();
        let ((ada, mut to_ada), (bob, mut to_bob)) = (peer("ada"), peer("bob"));
        assert!(members.add("room:1".into(), &ada));
        assert!(members.add("room:1".into(), &ada));
        members.publish("room:1", &message("one"));
        assert!(members.add("room:1".into(), &bob));
        members.publish("room:1", &message("two"));
        members.publish("room:2", &message("elsewhere"));
        members.remove("room:1", "ada");
        members.publish("room:1", &message("three"));
        assert_eq!(received(&mut to_ada), [r#""one""#, r#""two""#]);
        assert_eq!(received(&mut to_bob), [r#""two""#, r#""three""#]);
    }

    #[test]
    fn a_socket_that_is_gone_leaves_nothing_behind() {
        let members = Members::default();
        let (ada, _inbox) = peer("ada");
        assert!(members.add("a".into(), &ada));
        assert!(members.add("b".into(), &ada));
        ada.mark_gone();
        members.remove_all("ada");
        assert!(!members.add("c".into(), &ada));
        let table = members.lock();
        assert!(table.channels.is_empty() && table.sockets.is_empty());
    }
}
