//! The bus of servers that share a Redis.

mod keys;
mod link;
mod message;
mod script;
mod session;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use self::{
    keys::Keys,
    link::Link,
    script::Script,
    session::{Failure, Session},
};
use super::{Attached, Backend, Bus, Down, Read, Sent, encoding};
use crate::{Entry, Flow, History, Node, Position, epoch};

/// How long a stream stays attached when nobody is subscribed any more.
const LINGER: Duration = Duration::from_secs(10);
/// No history is kept longer than this by Redis: its times are of limited size.
const MAX_AGE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Redis or Valkey, as what joins the servers of an application; for [`App::bus`](crate::App::bus).
///
/// ```
/// use catamaran::{App, Redis};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let app = App::new(()).bus(Redis::connect("redis://:password@redis.example:6379").prefix("shop"));
/// # }
/// ```
///
/// It needs Redis 7 or any Valkey, and of an ACL
/// `~{shop}:* &{shop}:* +@read +@write +@scripting +@pubsub +@connection +info +time +cluster|slots`. `rediss://` and `unix://` work as far as the crate `redis` was
/// built with them: for TLS, add `redis = { version = "1", features = ["tokio-rustls-comp"] }` and a provider of
/// cryptography to the application.
///
/// # What is kept, and how long
///
/// The history of each channel, as it asks for it; for a day after the last event where it sets no age. Where a stream stands
/// is kept for a day longer than that, and as long as a server is attached to it. Nothing is written for a channel but that, so
/// a server without persistence will do. With `maxmemory`, choose an eviction policy or give it enough: what is evicted
/// is a gap, and a server that can take no more counts as one that cannot be reached.
///
/// # When it cannot be reached
///
/// A server of the application that loses it delivers its events to its own sockets, and [`Published`](crate::Published)
/// says so. It asks Redis every second whether it is there, gives it up after three without an answer, and tries again at
/// least every second (every three, if nothing answers). Then it sends its clients what was published meanwhile on the
/// others. A `gap` is told only where that is impossible: to clients of a channel that this server or another delivered
/// to on its own, and of all channels after Redis was restarted, or another server took its place, since that one may know
/// less than the one before it.
///
/// # In a cluster
///
/// All keys and channels of an application are in one slot, so one event can be counted in several channels at once. The
/// URL names any server of the cluster; the master of the slot is found by it, and found again after a failover.
/// A cluster therefore makes the bus survive the end of a server, not faster.
pub struct Redis {
    url: Result<ConnectionInfo, String>,
    prefix: String,
}

impl Redis {
    /// The Redis at a URL; nothing is sent to it before [`App::bus`](crate::App::bus).
    pub fn connect(url: impl AsRef<str>) -> Self {
        // The reason of the library says nothing of the password.
        let form = "`bus` must be a URL such as `redis://:password@redis.example:6379`";
        let url = url.as_ref().into_connection_info().map_err(|error| format!("{form}: {error}"));
        Self { url, prefix: "catamaran".to_owned() }
    }

    /// What the names of all keys and channels begin with; `catamaran` by default.
    ///
    /// Two applications on one Redis need two, whichever databases they use: its messages pass between those.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    fn start(self, flow: Flow) -> Result<Arc<dyn Bus>, String> {
        let info = self.url?;
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            return Err(format!("`bus` must have a prefix without braces, and `{}` is none", self.prefix));
        }
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info = info.set_redis_settings(settings);
        let shared = Arc::new(Shared {
            keys: Keys::new(&self.prefix),
            node: flow.node.to_string(),
            flow,
            session: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(Link::new(shared.clone(), info).run(stopped));
        Ok(Arc::new(RedisBus { shared, _stop: stop }))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl From<Redis> for Backend {
    fn from(redis: Redis) -> Self {
        Self(Box::new(|flow| redis.start(flow)))
    }
}

/// What the bus and its link share.
#[derive(Debug)]
struct Shared {
    keys: Keys,
    flow: Flow,
    /// The name of this node.
    node: String,
    /// The connection, if there is one.
    session: Mutex<Option<Arc<Session>>>,
}

impl Shared {
    fn session(&self) -> Option<Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_session(&self, session: Option<Arc<Session>>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }
}

/// The bus. Its link ends with it.
#[derive(Debug)]
struct RedisBus {
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

impl RedisBus {
    fn session(&self) -> Result<Arc<Session>, Down> {
        self.shared.session().ok_or(Down)
    }

    /// The meta and the history of a stream.
    fn keys(&self, stream: &str) -> [String; 2] {
        let keys = &self.shared.keys;
        [keys.meta(stream), keys.history(stream)]
    }

    async fn count(&self, session: &Session, entry: &Entry) -> Result<Vec<Position>, Failure> {
        // The streams, each once, with the most that any of its channels asks for.
        let mut streams: Vec<(&Arc<str>, History)> = Vec::new();
        let mut places = Vec::new();
        for target in entry.places.iter().map(|place| &place.target) {
            let known = streams.iter().position(|(stream, _)| **stream == target.stream);
            let number = known.unwrap_or(streams.len());
            match streams.get_mut(number) {
                Some((_, history)) => *history = history.and(target.history),
                None => streams.push((&target.stream, target.history)),
            }
            places.push((number + 1).to_string());
        }
        let keys: Vec<_> = streams.iter().flat_map(|(stream, _)| self.keys(stream)).collect();
        let mut arguments = vec![epoch().to_string(), encoding::encode(entry), streams.len().to_string()];
        for (stream, History { entries, bytes, age, .. }) in &streams {
            let age = age.map_or(0, |age| age.min(MAX_AGE).as_millis());
            let numbers = [entries.to_string(), bytes.to_string(), age.to_string()];
            arguments.push(self.shared.keys.channel(stream));
            arguments.extend(numbers);
        }
        arguments.extend(places);
        let positions: Vec<String> = session.call(Script::Publish, &keys, &arguments).await?;
        message::positions(positions.iter().map(String::as_str))
            .filter(|positions| positions.len() == entry.places.len())
            .ok_or(Failure::Lost)
    }
}

impl Bus for RedisBus {
    fn attach<'a>(
        &'a self,
        stream: &'a Arc<str>,
        known: Option<Position>,
        turn: bool,
    ) -> BoxFuture<'a, Result<Attached, Down>> {
        Box::pin(async move {
            let session = self.session()?;
            session.subscribe(stream).await.map_err(|_| Down)?;
            let known = known.unwrap_or(Position { epoch: "".into(), offset: 0 });
            let arguments = [
                epoch().to_string(),
                self.shared.keys.channel(stream),
                self.shared.node.clone(),
                known.epoch.to_string(),
                known.offset.to_string(),
                u8::from(turn).to_string(),
            ];
            let attached = session.call(Script::Attach, &self.keys(stream), &arguments).await;
            let (epoch, top, floor): (String, u64, u64) = attached.map_err(|_| Down)?;
            Ok(Attached { top: Position { epoch: epoch.into(), offset: top }, floor })
        })
    }

    fn read<'a>(&'a self, stream: &'a Arc<str>, after: &'a Position) -> BoxFuture<'a, Read> {
        Box::pin(async move {
            let Ok(session) = self.session() else { return Read::Down };
            let arguments = [after.epoch.to_string(), after.offset.to_string()];
            let kept: Option<Vec<String>> = match session.call(Script::Read, &self.keys(stream), &arguments).await {
                Ok(kept) => kept,
                Err(_) => return Read::Down,
            };
            let copies = kept.and_then(|kept| message::history(&kept, stream, after));
            copies.map_or(Read::Gone, Read::Entries)
        })
    }

    fn publish(&self, entry: Entry) -> BoxFuture<'_, Sent> {
        Box::pin(async move {
            let Ok(session) = self.session() else { return Sent::Not(entry) };
            match self.count(&session, &entry).await {
                Ok(positions) => {
                    let mut entry = entry;
                    for (place, position) in entry.places.iter_mut().zip(positions) {
                        place.position = Some(position);
                    }
                    Sent::Counted(Arc::new(entry))
                }
                Err(Failure::Refused(_)) => Sent::Not(entry),
                Err(Failure::Lost) => Sent::Unknown,
            }
        })
    }

    fn detach(&self, stream: &Arc<str>) {
        if let Ok(session) = self.session() {
            session.unsubscribe(stream);
        }
    }

    fn others(&self) -> BoxFuture<'_, Result<Vec<Node>, Down>> {
        Box::pin(async move {
            let nodes = self.session()?.nodes(&self.shared.node).await.map_err(|_| Down)?;
            let others = nodes.iter().filter(|node| **node != self.shared.node);
            Ok(others.filter_map(|node| u64::from_str_radix(node, 16).ok().map(Node)).collect())
        })
    }

    fn linger(&self) -> Option<Duration> {
        Some(LINGER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Hub;

    fn refused(redis: Redis) -> String {
        redis.start(Hub::default().streams().flow()).unwrap_err()
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_its_password() {
        for url in
            ["", "redis.example", "http://:canary@redis.example", "redis://:canary@redis.example:port", "rediss://a"]
        {
            let reason = refused(Redis::connect(url));
            assert!(reason.starts_with("`bus` must be a URL"), "{reason}");
            assert!(!reason.contains("canary"), "{reason}");
        }
        let redis = Redis::connect("redis://:canary@redis.example");
        assert!(!format!("{redis:?}").contains("canary"));
    }

    #[test]
    fn a_prefix_that_would_be_in_another_slot_is_refused() {
        for prefix in ["", "a}b", "{a"] {
            assert!(refused(Redis::connect("redis://redis.example").prefix(prefix)).contains("prefix"), "{prefix}");
        }
    }
}
