//! Publishing: to which channels, and without whom.

use std::marker::PhantomData;

use catamaran_pubsub::{Command, EncodedEvent, Excluded, PublishOutcome, Target};

use super::{
    Hub,
    channel::Channel,
    errors::{PublishError, SendError},
    event::{EncodeError, Event},
    names::ChannelConflict,
};
use crate::{HubFuture, Socket};

/// An event that is about to be published: `hub.publish(&room, event).and(&user).except(&socket).await?`.
///
/// However many channels it goes to, a socket receives it once.
#[derive(Debug)]
#[must_use = "nothing is published until it is awaited"]
pub struct Publish<'a, E> {
    hub: &'a Hub,
    message: Result<EncodedEvent, EncodeError>,
    to: Result<Vec<Target>, ChannelConflict>,
    except: Vec<Excluded>,
    event: PhantomData<fn(E)>,
}

impl<'a, E> Publish<'a, E> {
    pub(super) fn new(
        hub: &'a Hub,
        to: Result<Target, ChannelConflict>,
        message: Result<EncodedEvent, EncodeError>,
    ) -> Self {
        Self { hub, message, to: to.map(|target| vec![target]), except: Vec::new(), event: PhantomData }
    }
}

impl<E: Event> Publish<'_, E> {
    /// Publishes to this channel too; to several by one call for each.
    pub fn and<C: Channel<Event = E> + ?Sized>(mut self, channel: &C) -> Self {
        match (&mut self.to, self.hub.target(channel)) {
            (Ok(to), Ok(target)) if to.iter().all(|to| to.channel != target.channel) => to.push(target),
            (Ok(_), Err(conflict)) => self.to = Err(conflict),
            _ => {}
        }
        self
    }

    /// Leaves one socket out, most often the one whose request publishes; its client does not hear of the event later
    /// either.
    pub fn except(mut self, socket: &Socket) -> Self {
        self.except.push(socket.subscriber().excluded());
        self
    }
}

impl<'a, E> IntoFuture for Publish<'a, E> {
    type Output = Result<PublishOutcome, PublishError>;
    type IntoFuture = HubFuture<'a, PublishOutcome, PublishError>;

    fn into_future(self) -> HubFuture<'a, PublishOutcome, PublishError> {
        let Self { hub, message, to, except, .. } = self;
        Box::pin(async move { Ok(hub.registry().publish(to?, message?, except).await) })
    }
}

/// An event that is about to go to every socket: `hub.blast(&event).except(&socket).await?`.
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Blast<'a> {
    hub: &'a Hub,
    message: Result<EncodedEvent, EncodeError>,
    except: Vec<Excluded>,
}

impl<'a> Blast<'a> {
    pub(super) fn new(hub: &'a Hub, message: Result<EncodedEvent, EncodeError>) -> Self {
        Self { hub, message, except: Vec::new() }
    }

    /// Leaves one socket out.
    pub fn except(mut self, socket: &Socket) -> Self {
        self.except.push(socket.subscriber().excluded());
        self
    }
}

impl<'a> IntoFuture for Blast<'a> {
    type Output = Result<usize, SendError>;
    type IntoFuture = HubFuture<'a, usize, SendError>;

    fn into_future(self) -> HubFuture<'a, usize, SendError> {
        let Self { hub, message, except } = self;
        Box::pin(async move { Ok(hub.everywhere(Command::Blast { event: message?, except }).await?.count) })
    }
}
