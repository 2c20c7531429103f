//! The members of a channel: counted, listed, and moved.

use std::pin::Pin;

use super::{Hub, channel::Channel, entry::Target};

/// Members of a channel that are being moved.
pub type Moving<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl Hub {
    /// The ids of the sockets that are subscribed to a channel, in no order.
    pub fn members<C: Channel + ?Sized>(&self, channel: &C) -> Vec<String> {
        self.streams().members(&Target::of(channel)).iter().map(|peer| peer.id().to_owned()).collect()
    }

    /// How many sockets are subscribed to a channel.
    pub fn count<C: Channel + ?Sized>(&self, channel: &C) -> usize {
        self.streams().members(&Target::of(channel)).len()
    }

    /// Subscribes all members of one channel to another, too.
    pub fn add_members<A: Channel + ?Sized, B: Channel + ?Sized>(&self, of: &A, to: &B) -> Moving<'_> {
        let (of, to) = (Target::of(of), Target::of(to));
        Box::pin(async move {
            for peer in self.streams().members(&of) {
                self.streams().add(&peer, to.clone(), None).await;
            }
        })
    }

    /// Takes all members of one channel out of another.
    pub fn remove_members<A: Channel + ?Sized, B: Channel + ?Sized>(&self, of: &A, from: &B) -> Moving<'_> {
        let (of, from) = (Target::of(of), Target::of(from));
        Box::pin(async move {
            for peer in self.streams().members(&of) {
                self.streams().remove(&peer, &from.channel, "removed");
            }
        })
    }

    /// Takes all members out of a channel.
    pub fn empty<C: Channel + ?Sized>(&self, channel: &C) -> Moving<'_> {
        self.remove_members(channel, channel)
    }

    /// Takes all members of a channel out of every channel that they are in, this one included.
    pub fn leave_all<C: Channel + ?Sized>(&self, channel: &C) -> Moving<'_> {
        let of = Target::of(channel);
        Box::pin(async move {
            for peer in self.streams().members(&of) {
                let channels: Vec<_> = peer.joined().keys().cloned().collect();
                for channel in channels {
                    self.streams().remove(&peer, &channel, "removed");
                }
            }
        })
    }
}
