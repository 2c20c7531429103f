//! Closing the sockets that a login opened: found by a tag or through a channel, taken out of everything, and told why.

use axum::response::{IntoResponse, Response};

use super::{Hub, Moving, channel::Channel, cluster::Everywhere, command::Command};
use crate::{Error, Socket};

/// Why a socket could not be tagged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// The socket is gone, or was closed meanwhile.
    #[error("the socket is gone")]
    Gone,
    /// It has so many tags already. As a response, also by `?` in an action, it is a 409 that says so.
    #[error("a socket has at most {0} tags")]
    TooMany(usize),
    /// The tag has more bytes than this. As a response it is a 400 that says so.
    #[error("a tag has at most {0} bytes")]
    TooLong(usize),
}

impl IntoResponse for TagError {
    fn into_response(self) -> Response {
        Error::from(self).into_response()
    }
}

impl Hub {
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
    pub fn close_tagged(&self, tag: &str, reason: &str) -> Everywhere<'_> {
        self.everywhere(Command::CloseTagged { tag: tag.to_owned(), reason: reason.to_owned() })
    }

    /// As [`close_tagged`](Self::close_tagged), for every socket that is subscribed to a channel or about to be.
    ///
    /// # Errors
    ///
    /// As there, and if the name of the channel belongs to another type.
    pub fn close_members<C: Channel + ?Sized>(&self, channel: &C, reason: &str) -> Moving<'_> {
        let of = self.streams().target(channel);
        let reason = reason.to_owned();
        Box::pin(async move { Ok(self.everywhere(Command::CloseMembers { of: (&of?).into(), reason }).await?) })
    }
}

impl Socket {
    /// Marks this socket for [`Hub::close_tagged`], until it is gone: with the user, say, or with the session. At most 16
    /// tags are kept, of 256 bytes each.
    ///
    /// It counts at once, in [`App::on_connect`](crate::App::on_connect) too, and whatever the request answers.
    ///
    /// # Errors
    ///
    /// If the socket is gone, has 16 tags, or the tag is longer than 256 bytes. Then it will not be closed with the others, so it must not be used as theirs.
    pub fn tag(&self, tag: impl Into<String>) -> Result<(), TagError> {
        self.hub().streams().sockets().tag(self.peer(), &tag.into())
    }

    /// Closes this socket, as [`Hub::close_tagged`] does; false if it was gone.
    pub fn close(&self, reason: &str) -> bool {
        self.hub().streams().close(self.peer(), reason)
    }
}
