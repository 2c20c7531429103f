//! The hub: all that an application does with its channels outside a request.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{extract::FromRequestParts, http::request::Parts};
use catamaran_pubsub::{
    Answer, Backend, Cluster, Command, Delivery, EncodedEvent, PublishOutcome, StreamRegistry, Target,
};

use super::{
    channel::{self, Channel},
    errors::{MembersError, SendError, UnreachedServers},
    event::Event,
    filtered::{Except, Gated},
    names::{ChannelConflict, Kind, Names},
    publish::{Blast, Publish},
};
use crate::{Error, Socket, socketio::SocketSubscriber};

/// The channels of an application: what any task publishes through.
///
/// Actions have it in their context. Actions and axum handlers take it as an extractor, and a task holds a clone.
///
/// The extractor is that of the [`App`](crate::App) that the route belongs to. In a router outside one it refuses with a 500
/// whose code is `outside_app`, and so do [`Ctx`](crate::Ctx), [`Socket`], [`AuthExpiry`](crate::AuthExpiry) and
/// [`ClientAddr`](crate::ClientAddr). A test of such a router adds the layer `axum::Extension(hub)`.
///
/// ```
/// use catamaran::{Hub, RawChannel, RawEvent};
///
/// async fn tick(hub: Hub) -> catamaran::Result {
///     hub.publish(&RawChannel::new("clock"), RawEvent::new("tick", &())?).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    cluster: Arc<Cluster>,
    names: Names,
    /// How many slow consumers were disconnected.
    slow_sockets: Arc<AtomicU64>,
}

/// The future of a method of [`Hub`], [`Ctx`](crate::Ctx) or [`Socket`]; it does nothing until it is awaited.
pub type HubFuture<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

impl Hub {
    /// Finds the socket with this id **on this server**; `None` if it is not connected here.
    ///
    /// [`subscribe`](Self::subscribe), [`unsubscribe`](Self::unsubscribe), [`channels`](Self::channels) and
    /// [`emit_to`](Self::emit_to) find it on whichever server it is.
    pub fn socket(&self, id: &str) -> Option<Socket> {
        let socket = SocketSubscriber::of(self.registry().sockets().get(id)?)?;
        Some(Socket::outside_request(socket.handshake()?, socket, self.clone()))
    }

    /// Sends an event to the socket with this id, on whichever server it is, at most once; false if there is none.
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON, or if the socket was not found and not all servers could be reached.
    pub fn emit_to<E: Event>(&self, id: &str, event: &E) -> HubFuture<'_, bool, SendError> {
        let (here, message) = (self.registry().sockets().get(id), event.message());
        let socket = id.to_owned();
        Box::pin(async move {
            let event = message?;
            if let Some(here) = here {
                here.send(&Delivery::Event(&event));
                return Ok(true);
            }
            Ok(self.of_socket(Command::Emit { socket, event }).await?.count > 0)
        })
    }

    /// How many sockets **of this server** have been cut off so far because they read too slowly; see
    /// [`App::max_backlog_bytes`](crate::App::max_backlog_bytes).
    pub fn slow_sockets(&self) -> u64 {
        self.0.slow_sockets.load(Ordering::Relaxed)
    }

    /// Publishes an event to a channel: each socket that is subscribed to it receives it once, in the order of
    /// publishing. A socket that is too slow to take it is cut off, so that it does not miss one in silence.
    ///
    /// ```
    /// use catamaran::{Hub, Socket, RawChannel, RawEvent};
    ///
    /// async fn say(hub: Hub, socket: Socket) -> catamaran::Result {
    ///     let event = RawEvent::new("said", &"hi")?;
    ///     hub.publish(&RawChannel::new("room:7"), event).and(&RawChannel::new("lobby")).except(&socket).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON, or the name of a channel belongs to another type.
    #[expect(clippy::needless_pass_by_value, reason = "an event is made to be published")]
    pub fn publish<C: Channel + ?Sized>(&self, channel: &C, event: C::Event) -> Publish<'_, C::Event> {
        Publish::new(self, self.target(channel), event.message())
    }

    /// Sends an event to every socket of all servers, at most once, and says how many there were; no position counts it.
    ///
    /// # Errors
    ///
    /// If the event cannot be written as JSON, or not all servers could be reached.
    pub fn blast<E: Event>(&self, event: &E) -> Blast<'_> {
        Blast::new(self, event.message())
    }

    /// Subscribes the socket with this id to a channel, on whichever server it is; false if there is none. Idempotent.
    ///
    /// The subscription is active when this returns. The catamaran client is told of the channel; no request renews the
    /// subscription after a reconnect.
    ///
    /// ```
    /// use catamaran::{Hub, RawChannel};
    ///
    /// async fn invite(hub: Hub, socket_id: &str) -> catamaran::Result<bool> {
    ///     Ok(hub.subscribe(socket_id, &RawChannel::new("lobby")).await?)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// If the socket has too many subscriptions, if the name of the channel is too long or belongs to another type, or if the
    /// socket was not found and not all servers could be reached.
    pub fn subscribe<C: Channel + ?Sized>(&self, id: &str, channel: &C) -> HubFuture<'_, bool, MembersError> {
        let (to, socket) = (self.target(channel), id.to_owned());
        Box::pin(async move {
            let (to, limit) = (to?, self.registry().max_channel_bytes());
            if to.channel.len() > limit {
                return Err(MembersError::NameTooLong(limit));
            }
            let Answer { count, full, .. } = self.of_socket(Command::Subscribe { socket, to }).await?;
            if full { Err(MembersError::TooMany(self.registry().max_subscriptions())) } else { Ok(count > 0) }
        })
    }

    /// Ends the subscription of the socket with this id to a channel, on whichever server it is; false if there is no such
    /// socket.
    ///
    /// # Errors
    ///
    /// If the name of the channel belongs to another type, or if the socket was not found and not all servers could be
    /// reached.
    pub fn unsubscribe<C: Channel + ?Sized>(&self, id: &str, channel: &C) -> HubFuture<'_, bool, MembersError> {
        let (from, socket) = (self.target(channel), id.to_owned());
        Box::pin(async move {
            let from = from?.channel.as_ref().into();
            Ok(self.of_socket(Command::Unsubscribe { socket, from }).await?.count > 0)
        })
    }

    /// Lists the names of the channels that the socket with this id is subscribed to, on whichever server it is; `None` if
    /// there is no such socket. See [`Socket::channels`](crate::Socket::channels).
    ///
    /// # Errors
    ///
    /// If the socket was not found and not all servers could be reached.
    pub fn channels(&self, id: &str) -> HubFuture<'_, Option<Vec<String>>, UnreachedServers> {
        let socket = id.to_owned();
        Box::pin(async move {
            let Answer { count, channels, .. } = self.of_socket(Command::Channels { socket }).await?;
            Ok((count > 0).then_some(channels))
        })
    }

    /// The ids of the sockets that are subscribed to a channel, in no order.
    ///
    /// # Errors
    ///
    /// If not all servers could be asked, or the name of the channel belongs to another type. A server that has died counts
    /// as one of them for 5 seconds.
    pub fn members<C: Channel + ?Sized>(&self, channel: &C) -> HubFuture<'_, Vec<String>, MembersError> {
        let of = self.target(channel);
        Box::pin(async move { Ok(self.everywhere(Command::List { of: of? }).await?.sockets) })
    }

    /// How many sockets are subscribed to a channel.
    ///
    /// # Errors
    ///
    /// If not all servers could be asked, where the error says how many there are on the others; or if the name of the
    /// channel belongs to another type.
    pub fn count<C: Channel + ?Sized>(&self, channel: &C) -> HubFuture<'_, usize, MembersError> {
        let of = self.target(channel);
        Box::pin(async move { Ok(self.everywhere(Command::Count { of: of? }).await?.count) })
    }

    /// Subscribes all members of one channel to another, too, and says how many there are.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached, or the name of a channel belongs to another type.
    pub fn add_members<A: Channel + ?Sized, B: Channel + ?Sized>(
        &self,
        of: &A,
        to: &B,
    ) -> HubFuture<'_, usize, MembersError> {
        let (of, to) = (self.target(of), self.target(to));
        Box::pin(async move { Ok(self.everywhere(Command::Add { of: of?, to: to? }).await?.count) })
    }

    /// Takes all members of one channel out of another, and says how many there are.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached, or the name of a channel belongs to another type.
    pub fn remove_members<A: Channel + ?Sized, B: Channel + ?Sized>(
        &self,
        of: &A,
        from: &B,
    ) -> HubFuture<'_, usize, MembersError> {
        let (of, from) = (self.target(of), self.target(from));
        Box::pin(async move {
            let from = from?.channel.as_ref().into();
            Ok(self.everywhere(Command::Remove { of: of?, from }).await?.count)
        })
    }

    /// Takes all members out of a channel, and says how many there were.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached, or the name of the channel belongs to another type.
    pub fn empty<C: Channel + ?Sized>(&self, channel: &C) -> HubFuture<'_, usize, MembersError> {
        self.remove_members(channel, channel)
    }

    /// Takes all members of a channel out of every channel that they are in, this one included, and says how many there
    /// were.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached, or the name of the channel belongs to another type.
    pub fn leave_all<C: Channel + ?Sized>(&self, channel: &C) -> HubFuture<'_, usize, MembersError> {
        let of = self.target(channel);
        Box::pin(async move { Ok(self.everywhere(Command::LeaveAll { of: of? }).await?.count) })
    }

    /// Closes every socket that has this [`tag`](Socket::tag), for a reason that its client is told, and says how
    /// many there were.
    ///
    /// They leave all of their channels: nothing that is published afterwards reaches them, and what their requests are
    /// subscribing to does not count. New requests of theirs do not start; those under way have a second to be answered,
    /// such as the one that logs out. Our client raises `lost` with the reason, and like other clients does not come back
    /// by itself; whoever does comes through [`App::on_connect`](crate::App::on_connect).
    ///
    /// Revoke the login first, so that none of them can come back by it.
    ///
    /// ```
    /// use catamaran::{Hub, prelude::*};
    ///
    /// /// In `on_connect`, once the user is known.
    /// async fn connected(ctx: Ctx<Socket>) -> catamaran::Result {
    ///     ctx.socket().tag("user:7")?;
    ///     Ok(())
    /// }
    ///
    /// #[action(post "/logout")]
    /// async fn log_out(hub: Hub) {
    ///     if let Err(error) = hub.close_tagged("user:7", "logged out").await {
    ///         tracing::warn!(servers = ?error.servers, "these close the sockets of user 7 when they come back");
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// If not all servers could be reached. Those that were not do it when they come back, before they deliver anything that
    /// was published meanwhile; a server that is away for more than an hour lets all its sockets in anew instead.
    pub fn close_tagged(&self, tag: &str, reason: &str) -> HubFuture<'_, usize, UnreachedServers> {
        let command = Command::CloseTagged { tag: tag.to_owned(), reason: reason.to_owned() };
        Box::pin(async move { Ok(self.everywhere(command).await?.count) })
    }

    /// As [`close_tagged`](Self::close_tagged), for every socket that is subscribed to a channel or about to be.
    ///
    /// # Errors
    ///
    /// As there, and if the name of the channel belongs to another type.
    pub fn close_members<C: Channel + ?Sized>(&self, channel: &C, reason: &str) -> HubFuture<'_, usize, MembersError> {
        let of = self.target(channel);
        let reason = reason.to_owned();
        Box::pin(async move { Ok(self.everywhere(Command::CloseMembers { of: of?, reason }).await?.count) })
    }

    /// Publishes to a channel behind gates, to all or to all but one.
    #[doc(hidden)]
    pub async fn publish_behind(
        &self,
        channel: &Gated,
        message: EncodedEvent,
        except: Option<Except>,
    ) -> PublishOutcome {
        self.registry().publish(vec![channel.target.clone()], message, except.into_iter().collect()).await
    }

    /// Publishes to a channel behind gates what has an id already; false if it may not have reached the bus, in which case
    /// nobody here gets it either. Published once more, by whichever server, it reaches nobody twice.
    #[doc(hidden)]
    pub async fn publish_once(
        &self,
        id: (u64, u64),
        channel: &Gated,
        message: EncodedEvent,
        except: Option<Except>,
    ) -> bool {
        self.registry().publish_once(id, channel.target.clone(), message, except.into_iter().collect()).await
    }

    /// Whether the bus cannot be reached, so that what is published is for this server alone.
    #[doc(hidden)]
    pub fn is_alone(&self) -> bool {
        self.registry().is_down()
    }

    /// Joins this hub to those of other servers.
    pub(crate) fn join(&self, backend: Backend) -> Result<(), String> {
        self.0.cluster.join(backend)
    }

    /// Returns where a channel is: the one way to it for all that an application does with it.
    pub(crate) fn target<C: Channel + ?Sized>(&self, channel: &C) -> Result<Target, ChannelConflict> {
        let target = channel::target(channel);
        // A name that is too long has no subscribers, so nobody can be mistaken in it, and it must not be kept.
        if let Some(kind) = Kind::of::<C>()
            && target.channel.len() <= self.registry().max_channel_bytes()
        {
            self.claim(&target, kind)?;
        }
        Ok(target)
    }

    /// Refuses a name that belongs to another type.
    pub(super) fn claim(&self, target: &Target, kind: Kind) -> Result<(), ChannelConflict> {
        self.0.names.claim(target, kind, |stream, channel| self.registry().is_used(stream, channel))
    }

    pub(super) fn names(&self) -> &Names {
        &self.0.names
    }

    pub(super) async fn everywhere(&self, command: Command) -> Result<Answer, UnreachedServers> {
        Ok(self.0.cluster.everywhere(command).await?)
    }

    pub(super) async fn of_socket(&self, command: Command) -> Result<Answer, UnreachedServers> {
        Ok(self.0.cluster.of_socket(command).await?)
    }

    /// The hub of the application that a request came through, for an extractor that does nothing without one.
    pub(crate) fn of_request<'a>(parts: &'a Parts, extractor: &'static str) -> Result<&'a Self, Error> {
        parts.extensions.get().ok_or_else(|| Error::outside_app(extractor))
    }

    pub(crate) fn registry(&self) -> &StreamRegistry {
        self.0.cluster.registry()
    }

    pub(crate) fn slow_counter(&self) -> Arc<AtomicU64> {
        self.0.slow_sockets.clone()
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
        Self(Arc::new(Shared { cluster: Cluster::new(), names: Names::default(), slow_sockets: Arc::default() }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Hub {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::of_request(parts, "Hub").cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RawChannel, RawEvent, test::TestSocket};

    fn room(name: &str) -> RawChannel {
        RawChannel::new(name)
    }

    fn event(text: &str) -> RawEvent {
        RawEvent::new("said", text).unwrap()
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
        assert_eq!(hub.registry().sockets().all().len(), 1);
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
