//! Publishing: to which channels, without whom, and what became of it.

#[cfg(test)]
mod tests;

use std::{marker::PhantomData, pin::Pin};

use axum::response::{IntoResponse, Response};

use super::{
    Hub,
    channel::Channel,
    cluster::SendError,
    command::Command,
    entry::{Excluded, Target},
    event::{EncodeError, Event},
    message::Message,
    names::ChannelConflict,
};
use crate::{Ctx, Error, Socket, ctx::Via};

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is on its way to all subscribers.
    Delivered,
    /// Other servers could not be reached: it is on its way to the subscribers of this one, and the others will be told
    /// that they may have missed something.
    LocalOnly,
    /// The connection to other servers broke: it is on its way to all subscribers or to none.
    Unknown,
}

/// Why an event was published nowhere. As a response it is what its cause is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It cannot be written as JSON.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The name of one of its channels belongs to another type.
    #[error(transparent)]
    Conflict(#[from] ChannelConflict),
}

impl IntoResponse for PublishError {
    fn into_response(self) -> Response {
        Error::from(self).into_response()
    }
}

/// An event that is about to be published: `hub.publish(&room, event).and(&user).except(&socket).await?`.
///
/// However many channels it goes to, a socket receives it once.
#[derive(Debug)]
#[must_use = "nothing is published until it is awaited"]
pub struct Publish<'a, E> {
    hub: &'a Hub,
    message: Result<Message, EncodeError>,
    to: Result<Vec<Target>, ChannelConflict>,
    except: Vec<Excluded>,
    event: PhantomData<fn(E)>,
}

/// An event on its way.
pub type Publishing<'a> = Pin<Box<dyn Future<Output = Result<Published, PublishError>> + Send + 'a>>;

impl<E: Event> Publish<'_, E> {
    /// Publishes to this channel too; to several by one call for each.
    pub fn and<C: Channel<Event = E> + ?Sized>(mut self, channel: &C) -> Self {
        match (&mut self.to, self.hub.streams().target(channel)) {
            (Ok(to), Ok(target)) if to.iter().all(|to| to.channel != target.channel) => to.push(target),
            (Ok(_), Err(conflict)) => self.to = Err(conflict),
            _ => {}
        }
        self
    }

    /// Leaves one socket out, most often the one whose request publishes; its client does not hear of the event later
    /// either.
    pub fn except(mut self, socket: &Socket) -> Self {
        self.except.push(Excluded::of(socket.peer()));
        self
    }
}

impl<'a, E> IntoFuture for Publish<'a, E> {
    type Output = Result<Published, PublishError>;
    type IntoFuture = Publishing<'a>;

    fn into_future(self) -> Publishing<'a> {
        let Self { hub, message, to, except, .. } = self;
        Box::pin(async move { Ok(hub.streams().publish(to?, message?, except).await) })
    }
}

/// An event that is about to go to every socket: `hub.blast(&event).except(&socket).await?`.
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Blast<'a> {
    hub: &'a Hub,
    message: Result<Message, EncodeError>,
    except: Vec<Excluded>,
}

/// An event on its way to every socket.
pub type Blasting<'a> = Pin<Box<dyn Future<Output = Result<usize, SendError>> + Send + 'a>>;

impl Blast<'_> {
    /// Leaves one socket out.
    pub fn except(mut self, socket: &Socket) -> Self {
        self.except.push(Excluded::of(socket.peer()));
        self
    }
}

impl<'a> IntoFuture for Blast<'a> {
    type Output = Result<usize, SendError>;
    type IntoFuture = Blasting<'a>;

    fn into_future(self) -> Blasting<'a> {
        let Self { hub, message, except } = self;
        Box::pin(async move { Ok(hub.everywhere(Command::blast(&message?, &except)).await?) })
    }
}

impl Hub {
    /// Publishes an event to a channel: each socket that is subscribed to it receives it once, in the order of
    /// publishing. A socket that is too slow to take it is cut off, so that it does not miss one in silence.
    ///
    /// ```
    /// use catamaran::{Hub, Socket, Untyped, UntypedEvent};
    ///
    /// async fn say(hub: Hub, socket: Socket) -> catamaran::Result {
    ///     let event = UntypedEvent::new("said", &"hi")?;
    ///     hub.publish(&Untyped::new("room:7"), event).and(&Untyped::new("lobby")).except(&socket).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON, or the name of a channel belongs to another type.
    #[expect(clippy::needless_pass_by_value, reason = "an event is made to be published")]
    pub fn publish<C: Channel + ?Sized>(&self, channel: &C, event: C::Event) -> Publish<'_, C::Event> {
        let (to, except) = (self.streams().target(channel).map(|target| vec![target]), Vec::new());
        Publish { hub: self, message: event.message(), to, except, event: PhantomData }
    }

    /// Sends an event to every socket of all servers, at most once, and says how many there were; no position counts it.
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON, or not all servers could be reached.
    pub fn blast<E: Event>(&self, event: &E) -> Blast<'_> {
        Blast { hub: self, message: event.message(), except: Vec::new() }
    }
}

impl<T: Via> Ctx<T> {
    /// Publishes an event to a channel; see [`Hub::publish`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn publish<C: Channel + ?Sized>(&self, channel: &C, event: C::Event) -> Publish<'_, C::Event> {
        self.hub().publish(channel, event)
    }
}
