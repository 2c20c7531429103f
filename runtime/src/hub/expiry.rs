//! Authorizations that end at a certain time, and the subscriptions that end with them.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use axum::{extract::FromRequestParts, http::request::Parts};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{held::Renewal, peer::Peer, stream::Stream};
use crate::{Error, Hub, Socket};

/// How long what is published is kept for a subscription that ended, so that renewing it misses nothing.
const RENEWAL: Duration = Duration::from_secs(10);

/// Until when a request is authorized, as far as its subscriptions go: an extractor for whoever knows, be it a layer, a
/// policy or the action.
///
/// When that time comes, the socket leaves the channels that the request subscribed to. Our client is told, and renews
/// by repeating the request, which loses nothing if it succeeds; if it is refused, the page hears `lost`. Other clients
/// are sent nothing more.
///
/// Over HTTP it does nothing, so a layer says it once for both transports:
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use axum::{extract::Request, middleware::{Next, from_fn}, response::Response};
/// use catamaran::{App, AuthExpiry};
///
/// /// Inside the layer of the session, which says when it ends: here in an hour.
/// async fn until_the_session_ends(expiry: AuthExpiry, request: Request, next: Next) -> Response {
///     expiry.at(SystemTime::now() + Duration::from_secs(3600));
///     next.run(request).await
/// }
///
/// let app = App::new(()).layer(from_fn(until_the_session_ends));
/// ```
///
/// A channel to which several requests subscribed is left when the last of their authorizations ends.
#[derive(Clone, Debug)]
pub struct AuthExpiry(Option<Socket>);

impl AuthExpiry {
    /// The authorization ends then. Of several times in one request the first counts. A time that has passed already
    /// leaves the request without the subscriptions that it made.
    pub fn at(&self, time: SystemTime) {
        let Some(socket) = &self.0 else { return };
        let left = time.duration_since(SystemTime::now()).unwrap_or_default();
        // A time that the clock cannot tell never comes.
        if let Some(at) = Instant::now().checked_add(left) {
            socket.subscriptions().expire_at(at);
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AuthExpiry {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Hub::of_request(parts, "AuthExpiry")?;
        Ok(Self(parts.extensions.get().cloned()))
    }
}

/// The times at which subscriptions of this node end: one task waits for the next of them, while there is any.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    set: Mutex<Set>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Set {
    by_time: BTreeMap<Key, Alarm>,
    next: u64,
    running: bool,
}

/// A time, and what tells two apart that are set for it.
type Key = (Instant, u64);

#[derive(Debug)]
enum Alarm {
    /// An authorization ends.
    End { stream: Weak<Stream>, channel: Arc<str>, peer: Peer },
    /// What was kept for its renewal is dropped.
    Forget { _renewal: Renewal },
}

/// An alarm that is set for as long as this value lives.
#[derive(Debug)]
pub(super) struct Expiry {
    alarms: Arc<Alarms>,
    key: Key,
}

impl Expiry {
    pub(super) fn time(&self) -> Instant {
        self.key.0
    }
}

impl Drop for Expiry {
    fn drop(&mut self) {
        self.alarms.lock().by_time.remove(&self.key);
        self.alarms.changed.notify_one();
    }
}

impl Alarms {
    /// Ends a subscription at a time.
    pub(super) fn end(self: &Arc<Self>, at: Instant, stream: &Arc<Stream>, channel: &Arc<str>, peer: &Peer) -> Expiry {
        let end = Alarm::End { stream: Arc::downgrade(stream), channel: channel.clone(), peer: peer.clone() };
        Expiry { alarms: self.clone(), key: self.set(at, end) }
    }

    fn set(self: &Arc<Self>, at: Instant, alarm: Alarm) -> Key {
        let mut set = self.lock();
        let key = (at, set.next);
        set.next += 1;
        set.by_time.insert(key, alarm);
        if !std::mem::replace(&mut set.running, true) {
            tokio::spawn(self.clone().ring());
        }
        self.changed.notify_one();
        key
    }

    /// Waits for one alarm after the other, until none is left.
    async fn ring(self: Arc<Self>) {
        loop {
            let due = {
                let mut set = self.lock();
                let Some(next) = set.by_time.first_entry() else {
                    set.running = false;
                    return;
                };
                if next.key().0 <= Instant::now() { Ok(next.remove()) } else { Err(next.key().0) }
            };
            match due {
                Ok(Alarm::End { stream, channel, peer }) => {
                    let renewal = stream.upgrade().and_then(|stream| stream.expire(&channel, &peer));
                    if let Some(renewal) = renewal {
                        self.set(Instant::now() + RENEWAL, Alarm::Forget { _renewal: renewal });
                    }
                }
                Ok(Alarm::Forget { .. }) => {}
                Err(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
