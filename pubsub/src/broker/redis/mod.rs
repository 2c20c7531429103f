//! The broker of servers that share a Redis.

mod keys;
mod link;
mod message;
mod outbox;
mod records;
mod script;
mod session;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use futures_util::future::BoxFuture;
use tokio::{sync::oneshot, task::JoinHandle};

use self::{
    keys::{Key, Keys},
    link::Link,
    script::Script,
    session::{Nodes, Session},
};
use super::{Attached, Backend, Broker, Down, Read, RecordStore, Sent};
use crate::{BrokerEvents, Node, Position, PublishedEvent, epoch};

/// How long a stream stays attached when nobody is subscribed any more.
const LINGER: Duration = Duration::from_secs(10);

/// Redis or Valkey, as what joins the servers of an application; for `App::broker`.
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
/// Keyed records ([`Records`](crate::Records)) are four keys. Redis forgets a record by its own clock, and the keys a day after the last record. A
/// restart, a failover or an eviction ends all records: they begin again in another store.
///
/// # When it cannot be reached
///
/// A server of the application that loses it delivers its events to its own sockets, and [`PublishOutcome`](crate::PublishOutcome)
/// says so. It asks Redis every second whether it is there, gives it up after three without an answer, and tries again at
/// least every second (every three, if nothing answers). Then it sends its clients what was published meanwhile on the
/// others. A `gap` is told only where that is impossible: to clients of a channel that this server or another delivered
/// to on its own, and of all channels after Redis was restarted, or another server took its destination, since that one may know
/// less than the one before it. Redis looks the same when a master gets its first replica, or has had none for an hour: that
/// is a `gap` in all channels too. So is the loss of a server of the application while others could not reach Redis
/// either, 10 s after Redis is back.
///
/// # In a cluster
///
/// All keys and channels of an application are in one slot, so one event can be counted in several channels at once. The
/// URL names any server of the cluster; the master of the slot is found by it, and found again after a failover.
/// A cluster therefore makes the broker survive the end of a server, not faster.
pub struct Redis {
    url: Result<ConnectionInfo, String>,
    prefix: String,
}

impl Redis {
    /// The Redis at a URL; nothing is sent to it before `App::broker`.
    pub fn connect(url: impl AsRef<str>) -> Self {
        // The reason of the library says nothing of the password.
        let form = "`broker` must be a URL such as `redis://:password@redis.example:6379`";
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

    fn start(self, flow: BrokerEvents) -> Result<Arc<dyn Broker>, String> {
        let info = self.url?;
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            return Err(format!("`broker` must have a prefix without braces, and `{}` is none", self.prefix));
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
        let ended = tokio::spawn(Link::new(shared.clone(), info).run(stopped));
        Ok(Arc::new(RedisBroker { shared, running: Mutex::new(Some(Running { stop, ended })) }))
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

/// What the broker and its link share.
#[derive(Debug)]
struct Shared {
    keys: Keys,
    flow: BrokerEvents,
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

/// The broker. Its link ends with it.
#[derive(Debug)]
struct RedisBroker {
    shared: Arc<Shared>,
    /// None once this node has left.
    running: Mutex<Option<Running>>,
}

/// The task of a link.
#[derive(Debug)]
struct Running {
    /// Dropped to end it.
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl RedisBroker {
    fn session(&self) -> Result<Arc<Session>, Down> {
        self.shared.session().ok_or(Down)
    }

    /// What the scripts need of a stream.
    fn keys<'a>(&'a self, stream: &'a str) -> [Key<'a>; 3] {
        let keys = &self.shared.keys;
        [keys.meta(stream), keys.history(stream), keys.generation()]
    }
}

impl Broker for RedisBroker {
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
            let keys = self.keys(stream);
            let attached = session.call(Script::Attach, &keys, |command| {
                command.arg(&*epoch()).arg(self.shared.keys.channel(stream)).arg(&self.shared.node);
                command.arg(&*known.epoch).arg(known.offset).arg(u8::from(turn));
            });
            let attached = attached.await;
            let (epoch, top, floor): (String, u64, u64) = attached.map_err(|_| Down)?;
            Ok(Attached { top: Position { epoch: epoch.into(), offset: top }, floor })
        })
    }

    fn read<'a>(&'a self, stream: &'a Arc<str>, after: &'a Position) -> BoxFuture<'a, Read> {
        Box::pin(async move {
            let Ok(session) = self.session() else { return Read::Down };
            let keys = self.keys(stream);
            let kept = session.call::<Option<Vec<String>>>(Script::Read, &keys, |command| {
                command.arg(&*after.epoch).arg(after.offset);
            });
            let Ok(kept) = kept.await else { return Read::Down };
            let copies = kept.and_then(|kept| message::history(&kept, stream, after));
            copies.map_or(Read::Gone, Read::Entries)
        })
    }

    fn publish(&self, entry: PublishedEvent) -> BoxFuture<'_, Sent> {
        Box::pin(async move {
            match self.session() {
                Ok(session) => session.publish(entry).await,
                Err(Down) => Sent::Not(entry),
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
            let Nodes { names, .. } = self.session()?.nodes(&self.shared.node, &[]).await.map_err(|_| Down)?;
            let others = names.iter().filter(|node| **node != self.shared.node);
            Ok(others.filter_map(|node| u64::from_str_radix(node, 16).ok().map(Node)).collect())
        })
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async {
            // The link says that this node leaves as the last thing, after which it shows no more signs of life.
            if let Some(Running { stop, ended }) = running {
                drop(stop);
                // If it has panicked, there is nothing left to end.
                let _ = ended.await;
            }
        })
    }

    fn linger(&self) -> Option<Duration> {
        Some(LINGER)
    }

    fn records(&self) -> &dyn RecordStore {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Hub;

    fn refused(redis: Redis) -> String {
        redis.start(Hub::default().registry().flow()).unwrap_err()
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_its_password() {
        for url in
            ["", "redis.example", "http://:canary@redis.example", "redis://:canary@redis.example:port", "rediss://a"]
        {
            let reason = refused(Redis::connect(url));
            assert!(reason.starts_with("`broker` must be a URL"), "{reason}");
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
