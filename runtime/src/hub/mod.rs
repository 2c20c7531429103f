//! Channels: who is subscribed, and how what is published reaches them.

mod backlog;
mod channel;
mod event;
mod frame;
mod message;
mod peer;
mod stream;
mod streams;
mod subscription;

use std::{convert::Infallible, pin::Pin, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse, Response},
};
pub use channel::{Channel, Untyped, UntypedEvent, escape};
pub use event::{EncodeError, Event, message};
use frame::Frame;
pub use message::Message;
pub(crate) use peer::Peer;
pub use stream::Outcome;
pub(crate) use stream::Position;
use stream::Retention;
use streams::{Streams, Target};
pub(crate) use subscription::{Resume, Settled, Subscriptions};

use crate::{
    Ctx, Error, RequestSocket,
    ctx::{HasSocket, Via},
};

/// The channels of an application: what any task publishes through.
///
/// Actions have it in their context. Actions and axum handlers take it as an extractor, and a task holds a clone.
///
/// ```
/// use catamaran::{Hub, Untyped, UntypedEvent};
///
/// async fn tick(hub: Hub) -> catamaran::Result {
///     hub.publish(&Untyped::new("clock"), UntypedEvent::new("tick", &())?).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Streams>);

impl Hub {
    /// Sends an event to all sockets that are subscribed to a channel, to each of them once and in the order of
    /// publishing. A socket that is too slow to take it is cut off, so that it does not miss one in silence.
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON.
    // It waits for nothing today; with several servers it will.
    #[allow(clippy::unused_async)]
    pub async fn publish<C: Channel + ?Sized>(&self, channel: &C, event: C::Event) -> Result<(), EncodeError> {
        self.0.publish(&target(channel), event.message()?, None);
        Ok(())
    }

    /// As [`publish`](Self::publish), to all but one socket: most often the one whose request published.
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON.
    #[allow(clippy::unused_async)]
    pub async fn publish_except<C: Channel + ?Sized>(
        &self,
        channel: &C,
        event: C::Event,
        socket: &RequestSocket,
    ) -> Result<(), EncodeError> {
        self.0.publish(&target(channel), event.message()?, Some(socket.peer()));
        Ok(())
    }

    /// Sends an event to every connected socket, at most once; no position counts it.
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON.
    pub fn blast<E: Event>(&self, event: &E) -> Result<(), EncodeError> {
        let message = event.message()?;
        self.0.connected().iter().for_each(|peer| peer.send(&Frame::Event(&message)));
        Ok(())
    }

    /// Sends an event to the socket with this id, at most once; false if there is none.
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON.
    pub fn emit_to<E: Event>(&self, id: &str, event: &E) -> Result<bool, EncodeError> {
        let message = event.message()?;
        let peer = self.0.socket(id);
        Ok(peer.inspect(|peer| peer.send(&Frame::Event(&message))).is_some())
    }

    /// The ids of the sockets that are subscribed to a channel, in no order.
    pub fn members<C: Channel + ?Sized>(&self, channel: &C) -> Vec<String> {
        self.0.members(&target(channel)).iter().map(|peer| peer.id().to_owned()).collect()
    }

    /// How many sockets are subscribed to a channel.
    pub fn count<C: Channel + ?Sized>(&self, channel: &C) -> usize {
        self.0.members(&target(channel)).len()
    }

    /// How many sockets of this server have been cut off so far because they read too slowly; see
    /// [`App::max_backlog_bytes`](crate::App::max_backlog_bytes).
    pub fn slow_sockets(&self) -> u64 {
        self.0.slow()
    }

    /// Subscribes all members of one channel to another, too.
    pub fn add_members<A: Channel + ?Sized, B: Channel + ?Sized>(&self, of: &A, to: &B) {
        for peer in self.0.members(&target(of)) {
            self.0.add(&peer, target(to), None);
        }
    }

    /// Takes all members of one channel out of another.
    pub fn remove_members<A: Channel + ?Sized, B: Channel + ?Sized>(&self, of: &A, from: &B) {
        for peer in self.0.members(&target(of)) {
            self.0.remove(&peer, &from.name(), "removed");
        }
    }

    /// Takes all members out of a channel.
    pub fn empty<C: Channel + ?Sized>(&self, channel: &C) {
        self.remove_members(channel, channel);
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.0
    }
}

fn target<C: Channel + ?Sized>(channel: &C) -> Target {
    let name: Arc<str> = channel.name().into();
    let stream = C::STREAM.map_or_else(|| name.clone(), |stream| format!("stream:{stream}").into());
    Target { channel: name, stream, retention: Retention { entries: C::HISTORY, age: None } }
}

impl<S: Send + Sync> FromRequestParts<S> for Hub {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

impl IntoResponse for EncodeError {
    fn into_response(self) -> Response {
        Error::from(self).into_response()
    }
}

/// The socket went away before it could be subscribed.
#[derive(Debug, thiserror::Error)]
#[error("the socket is gone")]
pub struct SubscribeError;

impl IntoResponse for SubscribeError {
    fn into_response(self) -> Response {
        Error::from(self).into_response()
    }
}

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
    /// # Errors
    ///
    /// If the socket is gone.
    pub fn subscribe<C: Channel + ?Sized>(&self, channel: &C) -> Subscribing<'_> {
        let target = target(channel);
        Box::pin(async move {
            let outcome = self.subscriptions().add(self.hub().streams(), self.peer(), target);
            outcome.ok_or(SubscribeError)
        })
    }

    /// Ends this socket's subscription to a channel, if there is one.
    #[allow(clippy::unused_async)]
    pub async fn unsubscribe<C: Channel + ?Sized>(&self, channel: &C) {
        self.subscriptions().remove(self.hub().streams(), self.peer(), &channel.name());
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
    /// Sends an event to all sockets that are subscribed to a channel; see [`Hub::publish`].
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON.
    pub async fn publish<C: Channel + ?Sized>(&self, channel: &C, event: C::Event) -> Result<(), EncodeError> {
        self.hub().publish(channel, event).await
    }

    /// Subscribes the requesting socket to a channel; see [`RequestSocket::subscribe`].
    ///
    /// # Errors
    ///
    /// If the socket is gone.
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
        assert_eq!((hub.count(&room("a")), hub.count(&room("b")), hub.count(&room("c"))), (2, 1, 0));
        assert_eq!(hub.members(&room("b")), [bob.socket().id()]);

        hub.add_members(&room("a"), &room("b"));
        hub.publish(&room("b"), event("to both")).await.unwrap();
        hub.remove_members(&room("b"), &room("a"));
        hub.publish(&room("a"), event("to nobody")).await.unwrap();
        hub.empty(&room("b"));
        hub.publish(&room("b"), event("to nobody")).await.unwrap();
        for socket in [&mut ada, &mut bob] {
            assert_eq!(socket.received(), [r#"["said","to both"]"#]);
        }
        drop(ada);
        assert_eq!(hub.streams().connected().len(), 1);
    }

    #[tokio::test]
    async fn an_event_reaches_one_socket_or_all() {
        let hub = Hub::default();
        let (mut ada, mut bob) = (TestSocket::new(&hub), TestSocket::new(&hub));
        assert!(hub.emit_to(ada.socket().id(), &event("to ada")).unwrap());
        assert!(!hub.emit_to("nobody", &event("to nobody")).unwrap());
        hub.blast(&event("to all")).unwrap();
        ada.socket().subscribe(&room("a")).await.unwrap();
        bob.socket().subscribe(&room("a")).await.unwrap();
        hub.publish_except(&room("a"), event("to bob"), ada.socket()).await.unwrap();
        assert_eq!(ada.received(), [r#"["said","to ada"]"#, r#"["said","to all"]"#]);
        assert_eq!(bob.received(), [r#"["said","to all"]"#, r#"["said","to bob"]"#]);
    }
}
