//! The members of a channel: counted, listed, and moved, on all servers; and the channels of one socket.

use std::pin::Pin;

use axum::response::{IntoResponse, Response};

use super::{
    ChannelConflict, Hub, Unreached,
    channel::Channel,
    command::{Answer, Command},
};
use crate::Error;

/// Why the members of a channel could not be asked or moved. As a response it is what its cause is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MembersError {
    /// Not all servers could be reached; it was done on the others.
    #[error(transparent)]
    Unreached(#[from] Unreached),
    /// The name of the channel belongs to another type.
    #[error(transparent)]
    Conflict(#[from] ChannelConflict),
    /// The socket has as many subscriptions as [`App::max_subscriptions`](crate::App::max_subscriptions) allows. As a
    /// response it is a 409.
    #[error("a socket has at most {0} subscriptions")]
    TooMany(usize),
    /// The name of the channel has more bytes than [`App::max_channel_bytes`](crate::App::max_channel_bytes) allows. As a
    /// response it is a 400.
    #[error("the name of a channel has at most {0} bytes, and this one has more: send shorter values")]
    NameTooLong(usize),
}

impl IntoResponse for MembersError {
    fn into_response(self) -> Response {
        Error::from(self).into_response()
    }
}

/// The ids of sockets, which all servers are asked for.
pub type Listing<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, MembersError>> + Send + 'a>>;

/// What all servers do with the members of a channel; how many there are.
pub type Moving<'a> = Pin<Box<dyn Future<Output = Result<usize, MembersError>> + Send + 'a>>;

/// What is done with one socket on whichever server it is; false if there is none.
pub type Finding<'a> = Pin<Box<dyn Future<Output = Result<bool, MembersError>> + Send + 'a>>;

/// The channels of one socket; none if there is no such socket.
pub type Channels<'a> = Pin<Box<dyn Future<Output = Result<Option<Vec<String>>, Unreached>> + Send + 'a>>;

impl Hub {
    /// Subscribes the socket with this id to a channel, on whichever server it is; false if there is none. Idempotent.
    ///
    /// The subscription is active when this returns. The catamaran client is told of the channel; no request renews the
    /// subscription after a reconnect.
    ///
    /// ```
    /// use catamaran::{Hub, Untyped};
    ///
    /// async fn invite(hub: Hub, socket_id: &str) -> catamaran::Result<bool> {
    ///     Ok(hub.subscribe(socket_id, &Untyped::new("lobby")).await?)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// If the socket has too many subscriptions, if the name of the channel is too long or belongs to another type, or if the
    /// socket was not found and not all servers could be reached.
    pub fn subscribe<C: Channel + ?Sized>(&self, id: &str, channel: &C) -> Finding<'_> {
        let (to, socket) = (self.streams().target(channel), id.to_owned());
        Box::pin(async move {
            let (to, limit) = (to?, self.streams().max_channel_bytes());
            if to.channel.len() > limit {
                return Err(MembersError::NameTooLong(limit));
            }
            let to = (&to).into();
            let Answer { count, full, .. } = self.streams().of_socket(Command::Subscribe { socket, to }).await?;
            if full { Err(MembersError::TooMany(self.streams().max_subscriptions())) } else { Ok(count > 0) }
        })
    }

    /// Ends the subscription of the socket with this id to a channel, on whichever server it is; false if there is no such
    /// socket.
    ///
    /// # Errors
    ///
    /// If the name of the channel belongs to another type, or if the socket was not found and not all servers could be
    /// reached.
    pub fn unsubscribe<C: Channel + ?Sized>(&self, id: &str, channel: &C) -> Finding<'_> {
        let (from, socket) = (self.streams().target(channel), id.to_owned());
        Box::pin(async move {
            let from = from?.channel.as_ref().into();
            Ok(self.streams().of_socket(Command::Unsubscribe { socket, from }).await?.count > 0)
        })
    }

    /// Lists the names of the channels that the socket with this id is subscribed to, on whichever server it is; `None` if
    /// there is no such socket. See [`Socket::channels`](crate::Socket::channels).
    ///
    /// # Errors
    ///
    /// If the socket was not found and not all servers could be reached.
    pub fn channels(&self, id: &str) -> Channels<'_> {
        let socket = id.to_owned();
        Box::pin(async move {
            let Answer { count, channels, .. } = self.streams().of_socket(Command::Channels { socket }).await?;
            Ok((count > 0).then_some(channels))
        })
    }

    /// The ids of the sockets that are subscribed to a channel, in no order.
    ///
    /// # Errors
    ///
    /// If not all servers could be asked, or the name of the channel belongs to another type. A server that has died counts
    /// as one of them for 5 seconds.
    pub fn members<C: Channel + ?Sized>(&self, channel: &C) -> Listing<'_> {
        let of = self.streams().target(channel);
        Box::pin(async move { Ok(self.streams().everywhere(Command::List { of: (&of?).into() }).await?.sockets) })
    }

    /// How many sockets are subscribed to a channel.
    ///
    /// # Errors
    ///
    /// If not all servers could be asked, where the error says how many there are on the others; or if the name of the
    /// channel belongs to another type.
    pub fn count<C: Channel + ?Sized>(&self, channel: &C) -> Moving<'_> {
        let of = self.streams().target(channel);
        Box::pin(async move { Ok(self.everywhere(Command::Count { of: (&of?).into() }).await?) })
    }

    /// Subscribes all members of one channel to another, too, and says how many there are.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached, or the name of a channel belongs to another type.
    pub fn add_members<A: Channel + ?Sized, B: Channel + ?Sized>(&self, of: &A, to: &B) -> Moving<'_> {
        let (of, to) = (self.streams().target(of), self.streams().target(to));
        Box::pin(async move { Ok(self.everywhere(Command::Add { of: (&of?).into(), to: (&to?).into() }).await?) })
    }

    /// Takes all members of one channel out of another, and says how many there are.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached, or the name of a channel belongs to another type.
    pub fn remove_members<A: Channel + ?Sized, B: Channel + ?Sized>(&self, of: &A, from: &B) -> Moving<'_> {
        let (of, from) = (self.streams().target(of), self.streams().target(from));
        Box::pin(async move {
            let from = from?.channel.as_ref().into();
            Ok(self.everywhere(Command::Remove { of: (&of?).into(), from }).await?)
        })
    }

    /// Takes all members out of a channel, and says how many there were.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached, or the name of the channel belongs to another type.
    pub fn empty<C: Channel + ?Sized>(&self, channel: &C) -> Moving<'_> {
        self.remove_members(channel, channel)
    }

    /// Takes all members of a channel out of every channel that they are in, this one included, and says how many there
    /// were.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached, or the name of the channel belongs to another type.
    pub fn leave_all<C: Channel + ?Sized>(&self, channel: &C) -> Moving<'_> {
        let of = self.streams().target(channel);
        Box::pin(async move { Ok(self.everywhere(Command::LeaveAll { of: (&of?).into() }).await?) })
    }
}
