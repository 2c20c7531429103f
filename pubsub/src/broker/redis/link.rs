//! Keeps a connection to the master: finds it, watches it, brings what comes, and begins anew when it is lost.

use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, PushInfo, PushKind, RedisError, Value};
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    time::{Instant, interval, sleep, timeout},
};

use super::{
    message::{Message, copies},
    session::{Change, Cut, Failure, LIMIT, Nodes, Session, change},
    shared::Shared,
};

/// How often the server is asked whether it is there.
const BEAT: Duration = Duration::from_secs(1);
/// The longest pause between two attempts to connect, and the first.
const MAX_PAUSE: Duration = Duration::from_secs(1);
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// How long after an outage the others may take to come back. It is more than what a node is silent for before it is forgotten.
const RETURN: Duration = Duration::from_secs(10);
/// A connection that lasts so long is no failed attempt.
const STABLE: Duration = Duration::from_secs(10);
/// How often a server may name another as the master before it is a failure.
const REDIRECTS: usize = 4;
/// The most bytes that wait to be applied. With more, this node does not keep up, and begins anew.
const MAX_WAITING: usize = 64 * 1024 * 1024;
/// About what a message takes beside its text.
const MESSAGE_BYTES: usize = 128;

/// What keeps the connection.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    info: ConnectionInfo,
    /// Where the master may be, the likeliest first.
    addresses: VecDeque<ConnectionAddr>,
    /// The nodes that lived when this one last heard of them, and those that it still waits for since an outage.
    seen: Mutex<BTreeSet<String>>,
}

/// A connection that nothing was published on yet.
struct Connection {
    session: Session,
    changes: UnboundedReceiver<Change>,
    pushes: UnboundedReceiver<Pushed>,
    pending: Arc<Pending>,
    cuts: mpsc::Receiver<String>,
    /// That of the server before anything is attached.
    generation: String,
}

/// An entry on its way: the channel, and the text.
type Pushed = (String, String);

/// What a connection counts.
#[derive(Debug, Default)]
struct Pending {
    /// The bytes that wait to be applied.
    bytes: AtomicUsize,
    /// The subscriptions that are being ended.
    leaving: AtomicUsize,
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, info: ConnectionInfo) -> Self {
        Self { shared, addresses: [info.addr().clone()].into(), info, seen: Mutex::default() }
    }

    /// Until the other end of `stop` is dropped.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut failures = 0;
        let mut told = false;
        loop {
            let connected = tokio::select! {
                _ = &mut stop => return,
                connected = timeout(LIMIT, self.connect()) => connected,
            };
            let lost = match connected {
                Ok(Ok(connection)) => {
                    let since = Instant::now();
                    let served = AssertUnwindSafe(self.serve(connection, &mut stop)).catch_unwind().await;
                    let reason = served.unwrap_or_else(|_| {
                        self.shared.set_session(None);
                        self.shared.flow.down();
                        tracing::error!("task of the redis connection panicked: connects again");
                        Some("its task panicked".to_owned())
                    });
                    let Some(reason) = reason else { return };
                    told = false;
                    failures = if since.elapsed() > STABLE { 0 } else { failures + 1 };
                    reason
                }
                Ok(Err(reason)) => {
                    failures += 1;
                    reason
                }
                Err(_) => {
                    self.addresses.rotate_left(1);
                    failures += 1;
                    "it did not answer in time".to_owned()
                }
            };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(reason = lost, "there is no connection to Redis");
            }
            tokio::select! {
                _ = &mut stop => return,
                () = sleep(pause(failures)) => {}
            }
        }
    }

    /// Connects to the master, wherever it is now.
    async fn connect(&mut self) -> Result<Connection, String> {
        let connected = self.find_master().await;
        if connected.is_err() {
            self.addresses.rotate_left(1);
        }
        connected.map_err(|error| error.to_string())
    }

    async fn find_master(&mut self) -> Result<Connection, RedisError> {
        let mut address = self.addresses[0].clone();
        for _ in 0..REDIRECTS {
            let mut connection = self.open(&address).await?;
            match connection.session.nodes(&self.shared.node, &[]).await {
                Ok(Nodes { generation, .. }) => {
                    connection.generation = generation;
                    self.remember(address, &connection.session).await?;
                    return Ok(connection);
                }
                Err(Failure::Refused(error)) => {
                    let Some((to, _)) = error.redirect_node() else { return Err(error) };
                    address = elsewhere(&address, to).ok_or(error)?;
                }
                Err(Failure::Lost) => break,
            }
        }
        Err((redis::ErrorKind::ClusterConnectionNotFound, "the master was not found").into())
    }

    async fn open(&self, address: &ConnectionAddr) -> Result<Connection, RedisError> {
        let (cut, cuts) = Cut::new();
        let (sender, pushes) = mpsc::unbounded_channel();
        let pending = Arc::<Pending>::default();
        let receive = {
            let (pending, cut) = (pending.clone(), cut.clone());
            move |push| {
                pending.receive(push, &sender, &cut);
                Ok::<_, Infallible>(())
            }
        };
        // The limits are ours, for whatever is asked.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(receive);
        let client = Client::open(self.info.clone().set_addr(address.clone()))?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let (session, changes) = Session::new(connection, self.shared.keys.clone(), cut).await?;
        Ok(Connection { session, changes, pushes, pending, cuts, generation: String::new() })
    }

    /// Notes where the master is, and in a cluster who may tell when it is gone.
    async fn remember(&mut self, master: ConnectionAddr, session: &Session) -> Result<(), RedisError> {
        let slots = session.connection().send_packed_command(redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let others = servers(slots).into_iter().filter_map(|server| elsewhere(&master, &server));
        let mut addresses = VecDeque::from([master.clone(), self.info.addr().clone()]);
        for address in others {
            if !addresses.contains(&address) {
                addresses.push_back(address);
            }
        }
        self.addresses = addresses;
        Ok(())
    }

    /// Brings what comes until the connection is lost, for a reason, or stopped.
    async fn serve(&self, connection: Connection, stop: &mut oneshot::Receiver<()>) -> Option<String> {
        let Connection { session, changes, pushes, pending, mut cuts, generation } = connection;
        let session = Arc::new(session);
        self.shared.set_session(Some(session.clone()));
        self.shared.flow.up();
        let lost = {
            let work = async {
                tokio::join!(
                    change(&session, changes, &pending.leaving),
                    self.beat(&session, generation),
                    self.deliver(pushes, &pending),
                );
                std::future::pending::<()>().await;
            };
            let mut work = pin!(work);
            tokio::select! {
                biased;
                reason = cuts.recv() => reason,
                _ = stop => None,
                () = &mut work => None,
            }
        };
        self.shared.set_session(None);
        match lost {
            Some(_) => self.shared.flow.down(),
            None => session.leave(&self.shared.node).await,
        }
        lost
    }

    /// A server that does not answer, or is not the master any more, ends the connection.
    ///
    /// Whoever was there before an outage and has not come back some time after it may have delivered events on its own.
    async fn beat(&self, session: &Session, mut known: String) {
        let mut beat = interval(BEAT);
        let begun = Instant::now();
        let mut missed: Vec<_> = self.seen().iter().cloned().collect();
        loop {
            beat.tick().await;
            let asked = if begun.elapsed() < RETURN { Vec::new() } else { std::mem::take(&mut missed) };
            let Ok(Nodes { names, generation }) = session.nodes(&self.shared.node, &asked).await else { return };
            *self.seen() = names.into_iter().chain(missed.iter().cloned()).collect();
            if known != generation {
                known = generation;
                tracing::warn!("server lost during an outage of redis: its last events may be missing in any channel");
                self.shared.flow.down();
                self.shared.flow.up();
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver(&self, mut pushes: UnboundedReceiver<Pushed>, pending: &Pending) {
        while let Some((channel, text)) = pushes.recv().await {
            pending.bytes.fetch_sub(text.len() + MESSAGE_BYTES, Ordering::Relaxed);
            let Some(stream) = self.shared.keys.stream(&channel) else { continue };
            match Message::read(&text) {
                Message::Entries(entries) => {
                    let copies = entries.iter().flat_map(|entry| copies(entry, stream));
                    copies.for_each(|copy| self.shared.flow.entry(copy));
                }
                Message::Renewed(node) if node == self.shared.node => {}
                Message::Renewed(_) | Message::Unknown => self.shared.flow.lost(stream),
            }
        }
    }
}

impl Pending {
    fn receive(&self, push: PushInfo, pushes: &UnboundedSender<Pushed>, cut: &Cut) {
        match push.kind {
            PushKind::SMessage => {
                let Ok((channel, text)) = redis::from_redis_value::<Pushed>(Value::Array(push.data)) else {
                    return cut.now("it sent what is no message");
                };
                let bytes = text.len() + MESSAGE_BYTES;
                if self.bytes.fetch_add(bytes, Ordering::Relaxed) > MAX_WAITING {
                    cut.now("more came than was applied");
                } else {
                    // The link may have been stopped.
                    let _ = pushes.send((channel, text));
                }
            }
            PushKind::SUnsubscribe => {
                let asked = self.leaving.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
                if asked.is_err() {
                    cut.now("another server is the master now");
                }
            }
            PushKind::Disconnection => cut.now("it was closed"),
            _ => {}
        }
    }
}

/// The servers that an answer to CLUSTER SLOTS names; none if there is no cluster.
fn servers(slots: Value) -> Vec<String> {
    let ranges: Vec<Vec<Value>> = redis::from_redis_value(slots).unwrap_or_default();
    let servers = ranges.into_iter().flat_map(|range| range.into_iter().skip(2));
    let servers = servers.filter_map(|server| redis::from_redis_value::<Vec<Value>>(server).ok());
    let address = |server: Vec<Value>| {
        let mut server = server.into_iter();
        let host: String = redis::from_redis_value(server.next()?).ok()?;
        let port: u16 = redis::from_redis_value(server.next()?).ok()?;
        Some(format!("{host}:{port}"))
    };
    servers.filter_map(address).collect()
}

/// Another server, reached as this one is. A server that does not know its own name gives the port alone.
fn elsewhere(here: &ConnectionAddr, server: &str) -> Option<ConnectionAddr> {
    let (name, number) = server.rsplit_once(':')?;
    let (name, number) = (name.to_owned(), number.parse().ok()?);
    let or = |here: &String| if name.is_empty() { here.clone() } else { name.clone() };
    match here {
        ConnectionAddr::Tcp(host, _) => Some(ConnectionAddr::Tcp(or(host), number)),
        ConnectionAddr::TcpTls { host, insecure, tls_params, .. } => Some(ConnectionAddr::TcpTls {
            host: or(host),
            port: number,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        }),
        _ => None,
    }
}

/// A random part of a pause that grows with each failure, so that servers that lost one Redis do not return as one.
fn pause(failures: u32) -> Duration {
    let longest = MIN_PAUSE.saturating_mul(1 << failures.min(8)).min(MAX_PAUSE);
    let random = RandomState::new().hash_one(0) % 1000;
    longest * u32::try_from(random).unwrap_or_default() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_server_is_reached_as_this_one_is() {
        let here = ConnectionAddr::Tcp("a.example".into(), 6379);
        let there = |server| elsewhere(&here, server);
        assert_eq!(there("b.example:7000"), Some(ConnectionAddr::Tcp("b.example".into(), 7000)));
        assert_eq!(there("::1:7000"), Some(ConnectionAddr::Tcp("::1".into(), 7000)));
        assert_eq!(there(":7000"), Some(ConnectionAddr::Tcp("a.example".into(), 7000)));
        assert_eq!(there("b.example"), None);
    }

    #[test]
    fn a_node_that_does_not_keep_up_is_cut_off_and_so_is_one_that_is_unsubscribed_unasked() {
        let push = |kind, text: &str| PushInfo {
            kind,
            data: vec![Value::BulkString(b"channel".into()), Value::BulkString(text.into())],
        };
        let (sender, mut pushes) = mpsc::unbounded_channel();
        let (cut, mut cuts) = Cut::new();
        let pending = Pending::default();
        let large = "x".repeat(MAX_WAITING);
        for _ in 0..2 {
            assert!(cuts.try_recv().is_err());
            pending.receive(push(PushKind::SMessage, &large), &sender, &cut);
        }
        assert!(cuts.try_recv().is_ok() && pushes.try_recv().is_ok() && pushes.try_recv().is_err());
        pending.leaving.store(1, Ordering::SeqCst);
        pending.receive(push(PushKind::SUnsubscribe, ""), &sender, &cut);
        assert!(cuts.try_recv().is_err());
        pending.receive(push(PushKind::SUnsubscribe, ""), &sender, &cut);
        assert!(cuts.try_recv().is_ok());
    }
}
