//! What an action does with the channels of a socket.

use std::sync::Arc;

use catamaran_pubsub::{self as pubsub, Delivery, EventFilter, Recovery, Target};

use super::{
    channel::Channel,
    errors::{SubscribeError, TagError},
    event::{EncodeError, Event},
    filtered::Gated,
    names::Kind,
    publish::Publish,
};
use crate::{
    Ctx, HubFuture, Socket,
    extract::ctx::{HasSocket, Via},
};

impl Socket {
    /// Subscribes this socket to a channel; once more changes nothing.
    ///
    /// What is published from now on reaches the socket, and nothing of it before the ack of this request; so an action
    /// subscribes first, and then reads. It counts once the action answers with a status below 400. The outcome says
    /// whether a client that comes back has missed nothing, in which case the action may spare its reads.
    ///
    /// A HEAD request has no effect, so it subscribes nothing: the outcome is [`Fresh`](Recovery::Fresh).
    ///
    /// # Errors
    ///
    /// If the socket is gone, has too many subscriptions, the name of the channel is too long, or it belongs to another type.
    pub fn subscribe<C: Channel + ?Sized>(&self, channel: &C) -> HubFuture<'_, Recovery, SubscribeError> {
        let target = self.hub().target(channel);
        Box::pin(async move { self.subscribe_to(target?, None).await })
    }

    /// Ends this socket's subscription to a channel, if there is one. A channel whose name belongs to another type is none
    /// of the socket's, which the log says. A HEAD request unsubscribes nothing.
    #[allow(clippy::unused_async)]
    pub async fn unsubscribe<C: Channel + ?Sized>(&self, channel: &C) {
        match self.hub().target(channel) {
            Ok(target) => self.subscriptions().remove(self.hub().registry(), self.subscriber(), &target.channel),
            Err(conflict) => tracing::error!(%conflict, "unsubscribe ignored: channel of another type"),
        }
    }

    /// Lists the names of the channels that this socket is subscribed to, in alphabetical order; also those that its own
    /// request has just subscribed it to. What it follows of `catamaran-resources` is not among them.
    ///
    /// [`Hub::channels`](crate::Hub::channels) does so by the id of a socket, on all servers.
    ///
    /// ```
    /// # use catamaran::{Hub, RawChannel, test::TestSocket};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> catamaran::Result {
    /// let ada = TestSocket::new(&Hub::default());
    /// ada.socket().subscribe(&RawChannel::new("lobby")).await?;
    /// assert_eq!(ada.socket().channels(), ["lobby"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn channels(&self) -> Vec<String> {
        let mut channels = self.subscriber().channels();
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
        self.subscriber().send(&Delivery::Event(&event.message()?));
        Ok(())
    }

    /// Marks this socket for [`Hub::close_tagged`](crate::Hub::close_tagged), until it is gone: with the user, say, or with the session. At most 16
    /// tags are kept, of 256 bytes each.
    ///
    /// It counts at once, in [`App::on_connect`](crate::App::on_connect) too, and whatever the request answers. If sockets with this
    /// tag were closed after this connection began, this socket is closed too: its login may have been read before the logout.
    /// The server remembers the last 1,024 closings, for an hour.
    ///
    /// # Errors
    ///
    /// If the socket is gone or is closed by this, has 16 tags, or the tag is longer than 256 bytes. Then it will not be closed with
    /// the others, so it must not be used as theirs.
    pub fn tag(&self, tag: impl Into<String>) -> Result<(), TagError> {
        Ok(self.hub().registry().tag(self.subscriber(), &tag.into())?)
    }

    /// Closes this socket, as [`Hub::close_tagged`](crate::Hub::close_tagged) does; false if it was gone.
    pub fn close(&self, reason: &str) -> bool {
        self.hub().registry().close(self.subscriber(), reason)
    }

    /// Subscribes this socket to a channel behind a gate, which is that of this subscription.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    #[doc(hidden)]
    pub async fn subscribe_behind(
        &self,
        channel: &Gated,
        gate: Arc<dyn EventFilter>,
    ) -> Result<Recovery, SubscribeError> {
        self.hub().claim(&channel.target, Kind::RESOURCE)?;
        self.subscribe_to(channel.target.clone(), Some(gate)).await
    }

    /// Subscribes to what has a name that this subscription may use.
    async fn subscribe_to(
        &self,
        target: Target,
        filter: Option<Arc<dyn EventFilter>>,
    ) -> Result<Recovery, SubscribeError> {
        let added = self.subscriptions().add(self.hub().registry(), self.subscriber(), target, filter).await;
        added.map_err(|error| match error {
            pubsub::SubscribeError::Gone => SubscribeError::Gone,
            pubsub::SubscribeError::TooMany(limit) => SubscribeError::TooMany(limit),
            pubsub::SubscribeError::NameTooLong(limit) => SubscribeError::NameTooLong(limit),
            pubsub::SubscribeError::OtherStream(target) => self.hub().names().stream_conflict(&target).into(),
        })
    }
}

impl<T: Via> Ctx<T> {
    /// Subscribes the requesting socket to a channel; see [`Socket::subscribe`].
    ///
    /// # Errors
    ///
    /// If the socket is gone, has too many subscriptions, the name of the channel is too long, or it belongs to another type.
    pub fn subscribe<C: Channel + ?Sized>(&self, channel: &C) -> HubFuture<'_, Recovery, SubscribeError>
    where
        Self: HasSocket,
    {
        self.certain().subscribe(channel)
    }

    /// Publishes an event to a channel; see [`Hub::publish`](crate::Hub::publish).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn publish<C: Channel + ?Sized>(&self, channel: &C, event: C::Event) -> Publish<'_, C::Event> {
        self.hub().publish(channel, event)
    }
}
