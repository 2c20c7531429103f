//! The connections of a server: let in, tagged and closed.

use super::{
    closings::{Closed, Reason},
    moment::Moment,
    pending::PendingSubscription,
    registry::StreamRegistry,
    subscriber::Subscriber,
    subscribers::TagError,
};

impl StreamRegistry {
    /// Lets a socket in. The old socket of its client, which the server may still believe alive, gets nothing more.
    /// False, and nothing is done, if that one is the newer.
    pub fn connect(&self, subscriber: &Subscriber) -> bool {
        let Ok(old) = self.sockets().connect(subscriber) else { return false };
        if let Some(old) = old {
            old.end();
            self.leave_all(&old);
        }
        true
    }

    /// Marks a socket until it is gone.
    ///
    /// # Errors
    ///
    /// If the socket is gone, or has too many tags, or the tag is too long. A tag that was closed since the connection of the
    /// socket began closes it now.
    pub fn tag(&self, subscriber: &Subscriber, tag: &str) -> Result<(), TagError> {
        self.sockets().tag(subscriber, tag)?;
        // A closing is noted before it looks for its sockets: whichever is the second, this or the closing, sees the first.
        match self.closings().since(subscriber.opened(), |closed| closed.has_tag(tag)) {
            None => Ok(()),
            Some(reason) => {
                self.close_by(subscriber, &reason);
                Err(TagError::Gone)
            }
        }
    }

    /// Closes a socket that a request has just subscribed, if that channel was closed since the request began.
    pub(super) fn close_late(&self, held: &PendingSubscription, subscriber: &Subscriber, since: Moment) -> bool {
        let (stream, channel) = (held.stream(), held.channel());
        let Some(reason) = self.closings().since(since, |closed| closed.has_channel(&stream.name, channel)) else {
            return false;
        };
        self.close_by(subscriber, &reason);
        true
    }

    /// Closes a socket that a closing concerns; false if it was gone. A socket that may have come after the closing is
    /// disconnected without a reason, so that its client connects again and is asked anew.
    pub(super) fn close_by(&self, subscriber: &Subscriber, reason: &Reason) -> bool {
        if reason.away_since.is_none_or(|since| subscriber.opened() < since) {
            return self.close(subscriber, &reason.text);
        }
        let was_there = !subscriber.is_gone();
        subscriber.end();
        self.leave_all(subscriber);
        was_there
    }

    /// Disconnects all sockets, which may connect again and are asked anew.
    pub(super) fn end_all(&self) {
        let reason = Reason { text: String::new(), away_since: Some(Moment::default()) };
        self.closings().note(Closed::All, reason.clone(), None);
        for subscriber in self.sockets().all() {
            self.close_by(&subscriber, &reason);
        }
    }

    /// Ends a socket for a reason, which its client is told. False if it was gone.
    pub fn close(&self, subscriber: &Subscriber, reason: &str) -> bool {
        if !subscriber.close(reason) {
            return false;
        }
        self.leave_all(subscriber);
        true
    }
}
