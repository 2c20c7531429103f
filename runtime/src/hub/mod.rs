//! Channels: who is subscribed, and how what is published reaches them.
//!
//! The hub of one server. What is published goes to the bus, and comes back from it to the streams, which send it on.

mod backlog;
mod channel;
mod close;
mod cluster;
mod command;
mod entry;
mod environment;
mod event;
mod expiry;
mod flow;
mod frame;
pub(crate) mod gate;
mod held;
mod history;
mod live;
mod log;
mod members;
mod message;
mod names;
mod peer;
mod publish;
mod readers;
mod sent;
#[cfg(test)]
mod simulation;
mod sockets;
mod stream;
mod streams;
mod subscription;

use std::{fmt, pin::Pin, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse, Response},
};
pub use channel::{Channel, Untyped, UntypedEvent, escape};
pub use close::TagError;
#[cfg(test)]
pub(crate) use cluster::RESERVED;
pub use cluster::{Everywhere, SendError, Unreached};
use command::Command;
pub(crate) use entry::{Alias, Copy, Entry, Excluded, Id, Node, Place, Position, Target};
pub(crate) use environment::RandomState;
pub use event::{EncodeError, Event, message};
pub use expiry::AuthExpiry;
pub(crate) use flow::Flow;
use frame::Frame;
pub use history::History;
pub use log::Outcome;
pub use members::{Channels, Finding, Listing, MembersError, Moving};
pub use message::Message;
pub use names::ChannelConflict;
pub(crate) use names::Shape;
pub(crate) use peer::Peer;
pub use publish::{Blast, Blasting, Publish, PublishError, Published, Publishing};
pub(crate) use sent::{Received, Resume};
use streams::Streams;
#[cfg(any(test, feature = "postgres", feature = "redis"))]
pub(crate) use streams::epoch;
pub(crate) use streams::{MAX_CHANNEL_BYTES, MAX_SUBSCRIPTIONS, epoch_of};
pub(crate) use subscription::{Settled, Subscriptions};

use crate::{
    Ctx, Error, RequestSocket,
    ctx::{HasSocket, Via},
};

/// The channels of an application: what any task publishes through.
///
/// Actions have it in their context. Actions and axum handlers take it as an extractor, and a task holds a clone.
///
/// The extractor is that of the [`App`](crate::App) that the route belongs to. In a router outside one it refuses with a 500
/// whose code is `outside_app`, and so do [`Ctx`], [`RequestSocket`], [`AuthExpiry`] and
/// [`ClientAddr`](crate::ClientAddr). A test of such a router adds the layer `axum::Extension(hub)`.
///
/// ```
/// use catamaran::{Hub, Untyped, UntypedEvent};
///
/// async fn tick(hub: Hub) -> catamaran::Result {
///     hub.publish(&Untyped::new("clock"), UntypedEvent::new("tick", &())?).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Hub(Arc<Streams>);

impl Hub {
    /// Finds the socket with this id **on this server**; `None` if it is not connected here.
    ///
    /// [`subscribe`](Self::subscribe), [`unsubscribe`](Self::unsubscribe), [`channels`](Self::channels) and
    /// [`emit_to`](Self::emit_to) find it on whichever server it is.
    pub fn socket(&self, id: &str) -> Option<RequestSocket> {
        let peer = self.0.sockets().get(id)?;
        Some(RequestSocket::outside_request(peer.handshake()?, peer, self.clone()))
    }

    /// Sends an event to the socket with this id, on whichever server it is, at most once; false if there is none.
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON, or if the socket was not found and not all servers could be reached.
    pub fn emit_to<E: Event>(&self, id: &str, event: &E) -> Emitting<'_> {
        let (peer, message) = (self.0.sockets().get(id), event.message());
        let socket = id.to_owned();
        Box::pin(async move {
            let message = message?;
            if let Some(peer) = peer {
                peer.send(&Frame::Event(&message));
                return Ok(true);
            }
            Ok(self.streams().of_socket(Command::Emit { socket, event: (&message).into() }).await?.count > 0)
        })
    }

    /// How many sockets **of this server** have been cut off so far because they read too slowly; see
    /// [`App::max_backlog_bytes`](crate::App::max_backlog_bytes).
    pub fn slow_sockets(&self) -> u64 {
        self.0.sockets().slow()
    }

    /// The hub of the application that a request came through, for an extractor that does nothing without one.
    pub(crate) fn of_request<'a>(parts: &'a Parts, extractor: &'static str) -> Result<&'a Self, Error> {
        parts.extensions.get().ok_or_else(|| Error::outside_app(extractor))
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.0
    }
}

/// Without what it holds: all sockets, the names of their clients, and the events that are kept.
impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Default for Hub {
    /// The hub of an application with one server.
    fn default() -> Self {
        Self(Streams::new())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Hub {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::of_request(parts, "Hub").cloned()
    }
}

impl IntoResponse for EncodeError {
    fn into_response(self) -> Response {
        Error::from(self).into_response()
    }
}

/// Why a socket could not be subscribed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The socket is gone.
    #[error("the socket is gone")]
    Gone,
    /// It has as many subscriptions as [`App::max_subscriptions`](crate::App::max_subscriptions) allows. As a response,
    /// also by `?` in an action, it is a 409 that says so.
    #[error("a socket has at most {0} subscriptions")]
    TooMany(usize),
    /// The name of the channel belongs to another type.
    #[error(transparent)]
    Conflict(#[from] ChannelConflict),
    /// The name of the channel has more bytes than [`App::max_channel_bytes`](crate::App::max_channel_bytes) allows. As a
    /// response it is a 400 that says so.
    #[error("the name of a channel has at most {0} bytes, and this one has more: send shorter values")]
    NameTooLong(usize),
}

impl IntoResponse for SubscribeError {
    fn into_response(self) -> Response {
        Error::from(self).into_response()
    }
}

/// An event on its way to one socket; whether it was found.
pub type Emitting<'a> = Pin<Box<dyn Future<Output = Result<bool, SendError>> + Send + 'a>>;

/// A subscription under way.
///
/// Its type has a name because an `async fn` with bounds gives three errors for one wrong argument.
pub type Subscribing<'a> = Pin<Box<dyn Future<Output = Result<Outcome, SubscribeError>> + Send + 'a>>;

impl RequestSocket {
    /// Subscribes this socket to a channel; once more changes nothing.
    ///
    /// What is published from now on reaches the socket, and nothing of it before the ack of this request; so an action
    /// subscribes first, and then reads. It counts once the action answers with a status below 400. The outcome says
    /// whether a client that comes back has missed nothing, in which case the action may spare its reads.
    ///
    /// A HEAD request has no effect, so it subscribes nothing: the outcome is [`Fresh`](Outcome::Fresh).
    ///
    /// # Errors
    ///
    /// If the socket is gone, has too many subscriptions, the name of the channel is too long, or it belongs to another type.
    pub fn subscribe<C: Channel + ?Sized>(&self, channel: &C) -> Subscribing<'_> {
        let target = self.hub().streams().target(channel);
        Box::pin(async move { self.subscriptions().add(self.hub().streams(), self.peer(), target?, None).await })
    }

    /// Ends this socket's subscription to a channel, if there is one. A channel whose name belongs to another type is none
    /// of the socket's, which the log says. A HEAD request unsubscribes nothing.
    #[allow(clippy::unused_async)]
    pub async fn unsubscribe<C: Channel + ?Sized>(&self, channel: &C) {
        match self.hub().streams().target(channel) {
            Ok(target) => self.subscriptions().remove(self.hub().streams(), self.peer(), &target.channel),
            Err(conflict) => tracing::error!(%conflict, "unsubscribe ignored: channel of another type"),
        }
    }

    /// Lists the names of the channels that this socket is subscribed to, in alphabetical order; also those that its own
    /// request has just subscribed it to. What it follows of `catamaran-resources` is not among them.
    ///
    /// [`Hub::channels`] does so by the id of a socket, on all servers.
    ///
    /// ```
    /// # use catamaran::{Hub, Untyped, test::TestSocket};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> catamaran::Result {
    /// let ada = TestSocket::new(&Hub::default());
    /// ada.socket().subscribe(&Untyped::new("lobby")).await?;
    /// assert_eq!(ada.socket().channels(), ["lobby"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn channels(&self) -> Vec<String> {
        let mut channels = self.peer().channels();
        channels.extend(self.subscriptions().pending());
        channels.sort_unstable();
        channels.dedup();
        channels
    }

    /// Sends an event to this socket alone.
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON.
    pub fn emit<E: Event>(&self, event: &E) -> Result<(), EncodeError> {
        self.peer().send(&Frame::Event(&event.message()?));
        Ok(())
    }
}

impl<T: Via> Ctx<T> {
    /// Subscribes the requesting socket to a channel; see [`RequestSocket::subscribe`].
    ///
    /// # Errors
    ///
    /// If the socket is gone, has too many subscriptions, the name of the channel is too long, or it belongs to another type.
    pub fn subscribe<C: Channel + ?Sized>(&self, channel: &C) -> Subscribing<'_>
    where
        Self: HasSocket,
    {
        self.certain().subscribe(channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::TestSocket;

    fn room(name: &str) -> Untyped {
        Untyped::new(name)
    }

    fn event(text: &str) -> UntypedEvent {
        UntypedEvent::new("said", text).unwrap()
    }

    #[tokio::test]
    async fn members_are_counted_listed_moved_and_removed() {
        let hub = Hub::default();
        let (mut ada, mut bob) = (TestSocket::new(&hub), TestSocket::new(&hub));
        ada.socket().subscribe(&room("a")).await.unwrap();
        bob.socket().subscribe(&room("a")).await.unwrap();
        bob.socket().subscribe(&room("b")).await.unwrap();
        for (name, count) in [("a", 2), ("b", 1), ("c", 0)] {
            assert_eq!(hub.count(&room(name)).await.unwrap(), count);
        }
        assert_eq!(hub.members(&room("b")).await.unwrap(), [bob.socket().id()]);

        assert_eq!(hub.add_members(&room("a"), &room("b")).await.unwrap(), 2);
        hub.publish(&room("b"), event("to both")).await.unwrap();
        assert_eq!(hub.remove_members(&room("b"), &room("a")).await.unwrap(), 2);
        hub.publish(&room("a"), event("to nobody")).await.unwrap();
        hub.empty(&room("b")).await.unwrap();
        hub.publish(&room("b"), event("to nobody")).await.unwrap();
        for socket in [&mut ada, &mut bob] {
            assert_eq!(socket.received(), [r#"["said","to both"]"#]);
        }
        drop(ada);
        assert_eq!(hub.streams().sockets().all().len(), 1);
    }

    #[tokio::test]
    async fn an_event_reaches_one_socket_or_all() {
        let hub = Hub::default();
        let (mut ada, mut bob) = (TestSocket::new(&hub), TestSocket::new(&hub));
        assert!(hub.emit_to(ada.socket().id(), &event("to ada")).await.unwrap());
        assert!(!hub.emit_to("nobody", &event("to nobody")).await.unwrap());
        assert_eq!(hub.blast(&event("to all")).await.unwrap(), 2);
        ada.socket().subscribe(&room("a")).await.unwrap();
        bob.socket().subscribe(&room("a")).await.unwrap();
        hub.publish(&room("a"), event("to bob")).except(ada.socket()).await.unwrap();
        assert_eq!(ada.received(), [r#"["said","to ada"]"#, r#"["said","to all"]"#]);
        assert_eq!(bob.received(), [r#"["said","to all"]"#, r#"["said","to bob"]"#]);
    }
}
