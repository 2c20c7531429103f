//! What happened to a subscriber. How that looks on the wire is the business of its [`Outlet`](crate::Outlet).

use crate::{event::EncodedEvent, position::Position};

/// What a subscriber is told.
#[derive(Debug)]
pub enum Delivery<'a> {
    /// An event to this subscriber alone, which no position counts.
    Event(&'a EncodedEvent),
    /// An event of a channel.
    Entry {
        /// The channel.
        channel: &'a str,
        /// The event's offset in the channel's stream.
        offset: u64,
        /// The event.
        message: &'a EncodedEvent,
    },
    /// An event of a channel that the client was sent as one of another channel: only its position is new.
    Advance {
        /// The channel.
        channel: &'a str,
        /// The event's offset.
        offset: u64,
    },
    /// Events of a channel that the client had not received.
    Replay {
        /// The channel.
        channel: &'a str,
        /// The events, in their order.
        entries: &'a [Replayed<'a>],
        /// Whether another replay of the same channel follows.
        more: bool,
    },
    /// The client may have missed something. Only one that understands positions is sent this; another is disconnected.
    Gap {
        /// The channel.
        channel: &'a str,
        /// Where the subscription goes on.
        top: &'a Position,
        /// Why.
        reason: GapReason,
    },
    /// The server made the subscriber a member of a channel, outside a request.
    Joined {
        /// The channel.
        channel: &'a str,
        /// What follows this position is delivered.
        position: &'a Position,
    },
    /// The subscription ended, outside a request.
    Left {
        /// The channel.
        channel: &'a str,
        /// Why.
        reason: LeftReason,
    },
}

/// Why a client may have missed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// Something was lost on its way, delivered on another server alone, or is for another viewer than the socket's last.
    Missed,
    /// What the client had not received is no longer kept.
    NotRetained,
}

/// Why a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftReason {
    /// The application took the subscriber out of the channel.
    Removed,
    /// The subscriber's own task, outside a request, ended the subscription.
    Unsubscribed,
    /// The authorization of its request ended.
    Expired,
}

/// An event of a replay; without a message if the client was sent it as one of another channel.
#[derive(Debug)]
pub struct Replayed<'a> {
    /// The event's offset in the channel's stream.
    pub offset: u64,
    /// The event.
    pub message: Option<&'a EncodedEvent>,
}

impl Replayed<'_> {
    /// Returns about how many bytes it takes in a packet.
    pub fn bytes(&self) -> usize {
        self.message.map_or(0, EncodedEvent::bytes)
    }
}
