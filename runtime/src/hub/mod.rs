//! Channels: who is subscribed, and how what is published reaches them.

mod channel;
mod event;
mod members;
mod message;
mod peer;

use std::{convert::Infallible, pin::Pin, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse, Response},
};
pub use channel::{Channel, Untyped, UntypedEvent, escape};
pub use event::{EncodeError, Event, message};
pub(crate) use members::Members;
pub use message::Message;
pub(crate) use peer::Peer;

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
pub struct Hub(Arc<Members>);

impl Hub {
    /// Sends an event to all sockets that are subscribed to a channel: at most once, and to each of them in the order of
    /// publishing. A socket that is too slow to take it is cut off, so that it does not miss one in silence.
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON.
    // It waits for nothing today; with several servers it will.
    #[allow(clippy::unused_async)]
    pub async fn publish<C: Channel + ?Sized>(&self, channel: &C, event: C::Event) -> Result<(), EncodeError> {
        let message = event.message()?;
        self.0.publish(&channel.name(), &message);
        Ok(())
    }

    pub(crate) fn members(&self) -> &Members {
        &self.0
    }
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
pub type Subscribing<'a> = Pin<Box<dyn Future<Output = Result<(), SubscribeError>> + Send + 'a>>;

impl RequestSocket {
    /// Subscribes this socket to a channel; once more changes nothing.
    ///
    /// # Errors
    ///
    /// If the socket is gone.
    pub fn subscribe<C: Channel + ?Sized>(&self, channel: &C) -> Subscribing<'_> {
        let name = channel.name();
        Box::pin(async { if self.hub().members().add(name, self.peer()) { Ok(()) } else { Err(SubscribeError) } })
    }

    /// Ends this socket's subscription to a channel, if there is one.
    #[allow(clippy::unused_async)]
    pub async fn unsubscribe<C: Channel + ?Sized>(&self, channel: &C) {
        self.hub().members().remove(&channel.name(), self.id());
    }

    /// Sends an event to this socket alone.
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON.
    pub fn emit<E: Event>(&self, event: &E) -> Result<(), EncodeError> {
        self.peer().send(&event.message()?);
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
