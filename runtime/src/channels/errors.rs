//! Why something could not be done with a channel. As a response each is what its cause is, also by `?` in an action.

use axum::response::{IntoResponse, Response};
use catamaran_pubsub as pubsub;

use super::{event::EncodeError, names::ChannelConflict};
use crate::Error;

/// Why a socket could not be subscribed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The socket is gone, or is closed by this, since the channel's members were closed while the request ran. As a response it
    /// is a 401 that says so.
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

/// Why a socket could not be tagged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// The socket is gone, or is closed by this, since its tag was closed after its connection began. As a response it is a 401
    /// that says so.
    #[error("the socket is gone")]
    Gone,
    /// It has so many tags already. As a response, also by `?` in an action, it is a 409 that says so.
    #[error("a socket has at most {0} tags")]
    TooMany(usize),
    /// The tag has more bytes than this. As a response it is a 400 that says so.
    #[error("a tag has at most {0} bytes")]
    TooLong(usize),
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

/// Why the members of a channel could not be asked or moved. As a response it is what its cause is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MembersError {
    /// Not all servers could be reached; it was done on the others.
    #[error(transparent)]
    UnreachedServers(#[from] UnreachedServers),
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

/// Why something was done on some servers only: the others could not be reached, or did not answer within two seconds.
///
/// As a response, also by `?` in an action, it is a 503.
#[derive(Debug, thiserror::Error)]
#[error("not all servers could be reached; it was done on the others")]
#[non_exhaustive]
pub struct UnreachedServers {
    /// How many sockets the others found.
    pub sockets: usize,
    /// The names of the servers that may not have done it, as in their logs; none if not even those are known, because the
    /// bus cannot be reached.
    pub servers: Vec<String>,
}

/// Why an event may not have reached all it was for. As a response it is what its cause is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It cannot be written as JSON.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Not all servers could be reached; the sockets of the others were sent it.
    #[error(transparent)]
    UnreachedServers(#[from] UnreachedServers),
}

impl From<pubsub::UnreachedServers> for UnreachedServers {
    fn from(pubsub::UnreachedServers { sockets, servers }: pubsub::UnreachedServers) -> Self {
        Self { sockets, servers }
    }
}

impl From<pubsub::UnreachedServers> for SendError {
    fn from(unreached: pubsub::UnreachedServers) -> Self {
        Self::UnreachedServers(unreached.into())
    }
}

impl From<pubsub::UnreachedServers> for MembersError {
    fn from(unreached: pubsub::UnreachedServers) -> Self {
        Self::UnreachedServers(unreached.into())
    }
}

impl From<pubsub::TagError> for TagError {
    fn from(error: pubsub::TagError) -> Self {
        match error {
            pubsub::TagError::Gone => Self::Gone,
            pubsub::TagError::TooMany(limit) => Self::TooMany(limit),
            pubsub::TagError::TooLong(limit) => Self::TooLong(limit),
        }
    }
}

macro_rules! responses {
    ($($error:ty),*) => {
        $(impl IntoResponse for $error {
            fn into_response(self) -> Response {
                Error::from(self).into_response()
            }
        })*
    };
}

responses!(EncodeError, SubscribeError, TagError, PublishError, MembersError, UnreachedServers, SendError);
