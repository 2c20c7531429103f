//! Sends one event to many sockets at once, by a room of socketioxide, which writes the packet once.
//!
//! A room names no socket whose queue was full. So its sockets are those whose queues certainly have a place; any other is sent the
//! event by itself, into the same queue, until its queue has places again.

use std::{fmt::Display, sync::Arc};

use catamaran_pubsub::{Delivery, Group, Outlet, Subscriber};
use futures_util::FutureExt;
use serde::Serialize;
use socketioxide::{BroadcastError, SocketError, socket::Sid};

use super::{
    frame::{Arguments, Frame, packet_bytes, plain},
    outlet::{Place, SocketOutlet},
};
use crate::logged;

/// How many sockets are worth a room.
const WORTH: usize = 3;

/// The sockets of one channel, by what their clients understand.
#[derive(Default)]
pub(super) struct Rooms {
    plain: Room,
    positions: Room,
}

/// Sockets that are sent the same packets.
#[derive(Default)]
struct Room {
    /// The name of socketioxide's room, which nobody else has; made when it is first needed.
    name: Option<String>,
    members: Vec<Option<Member>>,
    /// Where there is no member.
    free: Vec<usize>,
}

struct Member {
    outlet: Arc<SocketOutlet>,
    /// It is in socketioxide's room.
    inside: bool,
}

impl Group for Rooms {
    fn add(&mut self, subscriber: &Subscriber) -> Option<usize> {
        let outlet: Arc<SocketOutlet> = Arc::downcast(subscriber.outlet()).ok()?;
        Some(match outlet.knows_positions() {
            false => 2 * self.plain.add(outlet),
            true => 2 * self.positions.add(outlet) + 1,
        })
    }

    fn remove(&mut self, place: usize) {
        let room = if place.is_multiple_of(2) { &mut self.plain } else { &mut self.positions };
        room.remove(place / 2);
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) {
        let frame = Frame::Delivery(delivery);
        match plain(&frame) {
            Some(message) if self.plain.is_worth_it() => {
                self.plain.emit(delivery, &message.name, &Arguments(message), packet_bytes(message));
            }
            _ => self.plain.deliver(delivery),
        }
        if self.positions.is_worth_it() {
            self.positions.emit(delivery, frame.name(), &frame, frame.bytes());
        } else {
            self.positions.deliver(delivery);
        }
    }
}

impl Room {
    fn add(&mut self, outlet: Arc<SocketOutlet>) -> usize {
        let member = Some(Member { outlet, inside: false });
        let Some(place) = self.free.pop() else {
            self.members.push(member);
            return self.members.len() - 1;
        };
        self.members[place] = member;
        place
    }

    fn remove(&mut self, place: usize) {
        let Some(mut member) = self.members.get_mut(place).and_then(Option::take) else { return };
        if let Some(name) = &self.name {
            member.leave(name);
        }
        self.free.push(place);
    }

    fn is_worth_it(&self) -> bool {
        self.members.len() - self.free.len() >= WORTH
    }

    /// Sends a delivery to each member by itself.
    fn deliver(&self, delivery: &Delivery<'_>) {
        self.members.iter().flatten().for_each(|member| member.outlet.deliver(delivery));
    }

    /// Sends a delivery, which is this packet of so many bytes, to all members that have a place for it at once, and to the others
    /// alone.
    fn emit(&mut self, delivery: &Delivery<'_>, event: &str, data: &impl Serialize, bytes: usize) {
        let name = self.name.get_or_insert_with(|| Sid::new().to_string());
        let mut inside = None;
        for member in self.members.iter_mut().flatten() {
            match member.outlet.place(bytes) {
                Place::Sure if member.enter(name) => inside = Some(&member.outlet),
                Place::Sure | Place::Gone => member.leave(name),
                Place::Unsure => {
                    member.leave(name);
                    member.outlet.deliver(delivery);
                }
            }
        }
        let Some(socket) = inside.and_then(|outlet| outlet.socket()) else { return };
        // With the adapter in memory it never waits.
        match socket.within(name.clone()).emit(event, data).now_or_never() {
            Some(Ok(())) => {}
            // The clients of those that are closed learn it from the end of their connections.
            Some(Err(BroadcastError::Socket(errors))) if errors.iter().all(|e| matches!(e, SocketError::Closed)) => {}
            Some(Err(error)) => self.end(&logged::error(&error)),
            None => self.end(&"it waits"),
        }
    }

    /// Ends the members that may have missed a packet.
    fn end(&self, error: &dyn Display) {
        tracing::error!(%error, "room broadcast failed, its sockets are disconnected");
        self.members.iter().flatten().filter(|member| member.inside).for_each(|member| member.outlet.disconnect());
    }
}

impl Member {
    /// Enters the room; false if the socket is gone.
    fn enter(&mut self, room: &str) -> bool {
        if !self.inside
            && let Some(socket) = self.outlet.socket()
        {
            socket.join(room.to_owned());
            self.inside = true;
        }
        self.inside
    }

    fn leave(&mut self, room: &str) {
        if std::mem::take(&mut self.inside)
            && let Some(socket) = self.outlet.socket()
        {
            socket.leave(room.to_owned());
        }
    }
}
