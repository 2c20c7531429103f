//! One socket that is live in a channel.

use std::sync::Arc;

use super::{
    entry::{Copy, Entry},
    expiry::Expiry,
    frame::Frame,
    gate::{Gate, Passing},
    log::Outcome,
    names::Shape,
    peer::Peer,
};
use crate::metrics;

/// A live subscription.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) peer: Peer,
    pub(super) outcome: Outcome,
    pub(super) since_subscribe: bool,
    /// What decides which events the socket is sent, if not all of them.
    pub(super) gate: Option<Arc<dyn Gate>>,
    /// Behind a gate, the offset that the client was told of last.
    pub(super) told: u64,
    /// That of the type by which it subscribed.
    pub(super) shape: Option<Shape>,
    /// When it ends.
    pub(super) expiry: Option<Expiry>,
}

/// After how many events that were not for it a client behind a gate is told how far it is.
pub(super) const UNTOLD: u64 = 64;

impl Live {
    /// Sends an entry of the channel, or what the gate makes of it.
    pub(super) fn send(&mut self, copy: &Copy) {
        if copy.leaves_out(&self.peer) {
            return;
        }
        if copy.target().is_foreign_to(self.shape) {
            return self.miss(copy);
        }
        let Some(gate) = &self.gate else { return self.peer.send_copy(copy, &copy.entry.message) };
        if let Some(message) = gate.pass(&Passing::of(&copy.entry, false)) {
            self.told = copy.offset();
            self.peer.send_copy(copy, &message);
        } else if copy.offset() >= self.told + UNTOLD {
            self.told = copy.offset();
            self.peer.send(&Frame::Advance { channel: copy.channel(), offset: self.told });
        }
    }

    /// Another server published this by another type of channel: what it is, these subscribers may not be meant to read.
    fn miss(&mut self, copy: &Copy) {
        let channel = &**copy.channel();
        tracing::error!(channel, "event withheld: two types of channel share this name, on two servers");
        self.outcome = Outcome::Gap;
        match self.peer.client().and(copy.position()) {
            Some(top) => {
                metrics::gap();
                self.peer.send(&Frame::Gap { channel, top, reason: "missed" });
            }
            None => self.peer.end(),
        }
    }

    /// Sends an entry that has no position.
    pub(super) fn send_uncounted(&self, entry: &Entry) {
        if entry.leaves_out(&self.peer) {
            return;
        }
        let Some(gate) = &self.gate else { return self.peer.send_uncounted(entry, &entry.message) };
        if let Some(message) = gate.pass(&Passing::of(entry, false)) {
            self.peer.send_uncounted(entry, &message);
        }
    }
}
