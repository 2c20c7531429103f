//! What concerns all servers of an application: commands go to each of them over the broker, and their answers come back.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    time::{Instant, sleep, timeout_at},
};

use super::{
    broker::{Backend, Broker, BrokerEvent, BrokerEvents, Sent},
    closings::{self, KEPT_SECONDS},
    commands::{Answer, Command},
    entry::{Destination, Id, Node, PublishedEvent, StreamEntry, Target},
    event::EncodedEvent,
    history::History,
    names::{ANSWERS, CLOSINGS, COMMANDS},
    registry::StreamRegistry,
    stream::{Orders, Stream},
    task,
};

/// How long other servers have to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first and the longest pause before the broker is given again what it refused.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The closings that are kept for servers that are away.
const KEPT: History = History::of(closings::KEPT).seconds(KEPT_SECONDS);

/// Not all servers could be reached, or did not answer within two seconds; it was done on the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreachedServers {
    /// How many sockets the others found.
    pub sockets: usize,
    /// The names of the servers that may not have done it, as in their logs; none if not even those are known, because the
    /// broker cannot be reached.
    pub servers: Vec<String>,
}

/// One server of an application: its streams and subscribers, and what is asked of all servers.
///
/// ```
/// use catamaran_pubsub::{Cluster, Command};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let cluster = Cluster::new();
/// assert!(cluster.registry().sockets().all().is_empty());
/// let closed = cluster.everywhere(Command::CloseTagged { tag: "user:7".into(), reason: "logged out".into() }).await;
/// assert_eq!(closed.map(|answer| answer.count), Ok(0));
/// # }
/// ```
#[derive(Debug)]
pub struct Cluster {
    this: Weak<Self>,
    streams: Arc<StreamRegistry>,
    /// What joins this server to others, if there may be any.
    membership: OnceLock<Membership>,
}

/// What a server knows of what it asked the others.
#[derive(Debug)]
struct Membership {
    /// The streams that bring commands and answers to this server.
    streams: [Arc<Stream>; 3],
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, UnboundedSender<(Node, Answer)>>>,
    attaching: tokio::sync::Mutex<()>,
    giving: tokio::sync::Mutex<()>,
    /// What this server closed of late. A backend that lost its memory is told of it again.
    closings: Mutex<VecDeque<Closing>>,
    /// The other servers that were there when this one last looked.
    others: Mutex<BTreeSet<Node>>,
}

#[derive(Debug)]
struct Closing {
    command: Command,
    number: u64,
    given: Instant,
    /// The broker has it.
    counted: bool,
}

/// A command that waits for answers for as long as this value lives.
struct Asked<'a> {
    membership: &'a Membership,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(&self.membership.waiting).remove(&self.number);
    }
}

impl Membership {
    fn new(cluster: &Cluster) -> Self {
        let names = [CLOSINGS, COMMANDS, &answers_for(cluster.streams.node())];
        Self {
            streams: names.map(|name| cluster.stream(name)),
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
            attaching: tokio::sync::Mutex::default(),
            giving: tokio::sync::Mutex::default(),
            closings: Mutex::default(),
            others: Mutex::default(),
        }
    }

    /// Remembers a closing for an hour. Those that the broker has not got yet are given to it when it can be reached.
    fn remember(&self, closing: Closing) {
        let mut closings = lock(&self.closings);
        let too_old = |given: Instant| given.elapsed().as_secs() > KEPT_SECONDS;
        while closings.len() >= KEPT.entries || closings.front().is_some_and(|oldest| too_old(oldest.given)) {
            closings.pop_front();
        }
        closings.push_back(closing);
    }
}

impl Cluster {
    /// Creates one server, without another until [`join`](Self::join).
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| Self { this: this.clone(), streams: StreamRegistry::new(), membership: OnceLock::new() })
    }

    /// Returns the streams and subscribers of this server.
    pub fn registry(&self) -> &StreamRegistry {
        &self.streams
    }

    /// Joins this server to others by a backend, which need not be reachable yet.
    ///
    /// # Errors
    ///
    /// If a setting of the backend makes no sense, with the reason.
    ///
    /// # Panics
    ///
    /// If something was published or subscribed to before.
    pub fn join(&self, backend: Backend) -> Result<(), String> {
        self.join_by(|flow| backend.start(flow))
    }

    pub(crate) fn join_by(
        &self,
        start: impl FnOnce(BrokerEvents) -> Result<Arc<dyn Broker>, String>,
    ) -> Result<(), String> {
        self.streams.begin_outage();
        assert!(self.membership.set(Membership::new(self)).is_ok(), "an application has one broker");
        self.streams.join(|| start(self.flow()))
    }

    /// What tells a broker where to bring what it has.
    pub(crate) fn flow(&self) -> BrokerEvents {
        let this = self.this.clone();
        BrokerEvents::new(self.streams.node(), move |event| {
            if let Some(cluster) = this.upgrade() {
                cluster.on_event(event);
            }
        })
    }

    fn on_event(self: &Arc<Self>, event: BrokerEvent<'_>) {
        match event {
            BrokerEvent::Entry(copy) => self.streams.arrived(copy),
            // Which sockets are to be closed is read again before anything else is delivered.
            BrokerEvent::Lost(CLOSINGS) => {
                self.streams.begin_outage();
                self.end_outage();
            }
            BrokerEvent::Lost(stream) => {
                if let Some(stream) = self.streams.find(stream) {
                    self.streams.renew(stream);
                }
            }
            BrokerEvent::Down => {
                tracing::warn!("the broker cannot be reached: events are delivered on this server alone");
                self.streams.begin_outage();
            }
            BrokerEvent::Up => {
                tracing::info!("the broker can be reached");
                self.end_outage();
            }
        }
    }

    /// Catches up on closings, and then on everything.
    fn end_outage(self: &Arc<Self>) {
        let (cluster, outage) = (self.clone(), self.streams.outage());
        tokio::spawn(async move {
            task::finish("attach", || cluster.attach()).await;
            if cluster.streams.end_outage(outage) {
                cluster.give_again();
                task::finish("renew all", || cluster.renew_all()).await;
            }
        });
    }

    /// A stream that brings commands or answers to this server.
    fn stream(&self, name: &str) -> Arc<Stream> {
        let (this, has_closings) = (self.this.clone(), name == CLOSINGS);
        let apply = move |Orders { commands, missed }| {
            let Some(cluster) = this.upgrade() else { return };
            if let Some(lost_memory) = missed.filter(|_| has_closings) {
                cluster.missed(lost_memory);
            }
            commands.iter().for_each(|copy| cluster.hear(copy));
        };
        self.streams.add_for_commands(name, Box::new(apply))
    }

    #[cfg(test)]
    pub(super) fn is_attached(&self) -> bool {
        let streams = self.membership.get().into_iter().flat_map(|membership| &membership.streams);
        streams.into_iter().all(|stream| stream.lock().link.started)
    }

    /// Carries a command out on all servers, which goes on if this future is dropped.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached within two seconds; it was done on the others.
    pub async fn everywhere(&self, command: Command) -> Result<Answer, UnreachedServers> {
        let (answer, unreached) = self.on_all(command).await;
        unreached.map_or(Ok(answer), Err)
    }

    /// Carries a command about one socket out on the server that has it. Whether others could be reached matters only if the
    /// socket was not found.
    pub async fn of_socket(&self, command: Command) -> Result<Answer, UnreachedServers> {
        if command.socket().is_some_and(|socket| self.streams.sockets().get(socket).is_some()) {
            return Ok(self.streams.carry_out(command, None).await);
        }
        let (answer, unreached) = self.on_all(command).await;
        unreached.filter(|_| answer == Answer::default()).map_or(Ok(answer), Err)
    }

    /// What the servers answered that could be reached, and which could not.
    async fn on_all(&self, command: Command) -> (Answer, Option<UnreachedServers>) {
        let Some((membership, cluster)) = self.membership.get().zip(self.this.upgrade()) else {
            return (self.streams.carry_out(command, None).await, None);
        };
        let number = membership.next.fetch_add(1, Ordering::Relaxed);
        if command.is_closing() {
            membership.remember(Closing { command: command.clone(), number, given: Instant::now(), counted: false });
        }
        // The request that asks may be one of a socket that is closed by this, and end before the others have heard.
        let asked = tokio::spawn(async move { cluster.ask_all(command, number).await });
        let Ok((answer, missing)) = asked.await else { return (Answer::default(), Some(UnreachedServers::default())) };
        let unreached = match missing {
            Ok(missing) if missing.is_empty() => None,
            Ok(missing) | Err(missing) => {
                Some(UnreachedServers { sockets: answer.count, servers: missing.iter().map(Node::to_string).collect() })
            }
        };
        (answer, unreached)
    }

    /// Carries a command out here and on the other servers, and gives those that did not do it in time; as an error if there
    /// may be more.
    async fn ask_all(
        self: Arc<Self>,
        command: Command,
        number: u64,
    ) -> (Answer, Result<BTreeSet<Node>, BTreeSet<Node>>) {
        let until = Instant::now() + PATIENCE;
        let mut theirs = Answer::default();
        let here = timeout_at(until, self.streams.carry_out(command.clone(), None));
        let (here, mut missing) = tokio::join!(here, self.ask(command, number, until, &mut theirs));
        let mut answer = here.unwrap_or_else(|_| {
            let (Ok(missing) | Err(missing)) = &mut missing;
            missing.insert(self.streams.node());
            Answer::default()
        });
        answer += theirs;
        (answer, missing)
    }

    /// Asks the other servers, and gives those that did not answer; as an error if there may be more.
    async fn ask(
        self: &Arc<Self>,
        command: Command,
        number: u64,
        until: Instant,
        answer: &mut Answer,
    ) -> Result<BTreeSet<Node>, BTreeSet<Node>> {
        let Some(membership) = self.membership.get() else { return Ok(BTreeSet::new()) };
        let (sender, mut answers) = mpsc::unbounded_channel();
        lock(&membership.waiting).insert(number, sender);
        let _asked = Asked { membership, number };
        // A broker that takes its time gets it nevertheless.
        let cluster = self.clone();
        let giving = tokio::spawn(async move {
            let counted = cluster.give(&command, number).await;
            if !counted && command.is_closing() {
                cluster.give_again();
            }
            counted
        });
        let counted = matches!(timeout_at(until, giving).await, Ok(Ok(true)));
        // Asked after the command was counted: a server that joins later reads it, if it is a closing, before it serves.
        let others = match timeout_at(until, self.streams.broker().others()).await {
            Ok(Ok(others)) => others.into_iter().collect(),
            Ok(Err(_)) | Err(_) => return Err(lock(&membership.others).clone()),
        };
        let mut missing: BTreeSet<Node> = others;
        lock(&membership.others).clone_from(&missing);
        if !counted {
            return Err(missing);
        }
        while !missing.is_empty() {
            let Ok(Some((node, theirs))) = timeout_at(until, answers.recv()).await else { break };
            missing.remove(&node);
            *answer += theirs;
        }
        Ok(missing)
    }

    /// Publishes a command; false if the broker does not say that it has it.
    async fn give(&self, command: &Command, number: u64) -> bool {
        let (stream, history) = if command.is_closing() { (CLOSINGS, KEPT) } else { (COMMANDS, History::NONE) };
        let counted = self.tell(stream, history, &(number, command)).await;
        if let Some(membership) = self.membership.get().filter(|_| counted && command.is_closing()) {
            let mut closings = lock(&membership.closings);
            closings.iter_mut().filter(|closing| closing.number == number).for_each(|closing| closing.counted = true);
        }
        counted
    }

    async fn tell<T: Serialize + Sync>(&self, stream: &str, history: History, what: &T) -> bool {
        let Ok(argument) = serde_json::value::to_raw_value(what) else { return false };
        let message = EncodedEvent { name: String::new(), arguments: vec![argument] };
        let stream: Arc<str> = stream.into();
        let target = Target { channel: stream.clone(), stream, history, shape: None };
        let destinations = vec![Destination { target, position: None }];
        let entry = PublishedEvent {
            id: self.streams.next_id(),
            message,
            except: Vec::new(),
            destinations,
            at: SystemTime::now(),
        };
        matches!(self.streams.broker().publish(entry).await, Sent::Counted(_))
    }

    /// The broker can be reached: closings that this server has missed come before anything else, and so do its own.
    async fn attach(&self) {
        let Some(membership) = self.membership.get() else { return };
        let _one_at_a_time = membership.attaching.lock().await;
        for stream in &membership.streams {
            stream.renew_now(&**self.streams.broker()).await;
        }
        self.give_closings(membership).await;
    }

    /// The outage is over: the streams are attached anew, and all servers are told if something was published to others.
    async fn renew_all(&self) {
        let Some(more) = self.streams.renew_all().await else { return };
        // Servers that are away do it when they are back, and a broker that did not get it is given it again, as with closings.
        if self.everywhere(Command::Turn).await.is_err() {
            tracing::warn!("some servers report later what was published while the broker could not be reached");
        }
        self.streams.told(more);
    }

    /// Gives the broker the closings that it did not take, until it has them or cannot be reached: the end of the outage begins
    /// again.
    fn give_again(self: &Arc<Self>) {
        let this = self.this.clone();
        tokio::spawn(task::finish("closings", move || {
            let this = this.clone();
            async move {
                let mut pause = FIRST_PAUSE;
                while let Some(cluster) = this.upgrade() {
                    let Some(membership) = cluster.membership.get() else { return };
                    if cluster.streams.is_down() || cluster.give_closings(membership).await {
                        return;
                    }
                    drop(cluster);
                    sleep(pause).await;
                    pause = LONGEST_PAUSE.min(2 * pause);
                }
            }
        }));
    }

    /// Gives the broker the closings of this server that it does not have; false if it did not take all of them.
    async fn give_closings(&self, membership: &Membership) -> bool {
        let _one_at_a_time = membership.giving.lock().await;
        let uncounted: Vec<_> = {
            let closings = lock(&membership.closings);
            let is_due = |closing: &&Closing| !closing.counted && closing.given.elapsed().as_secs() <= KEPT_SECONDS;
            let uncounted = closings.iter().filter(is_due);
            uncounted.map(|closing| (closing.command.clone(), closing.number)).collect()
        };
        for (command, number) in uncounted {
            if !self.give(&command, number).await {
                return false;
            }
        }
        true
    }

    /// What came on one of the cluster's streams, in its order.
    fn hear(self: &Arc<Self>, copy: &StreamEntry) {
        let node = copy.entry.id.node;
        let Some(membership) = self.membership.get().filter(|_| node != self.streams.node()) else { return };
        if *copy.target().stream == *CLOSINGS || *copy.target().stream == *COMMANDS {
            let Some((number, command)) = read::<(u64, Command)>(copy) else { return };
            let cluster = self.clone();
            let asks_the_bus = command.asks_the_bus();
            let work = async move {
                let answer = cluster.streams.carry_out(command, Some(Id { node, number })).await;
                (cluster, answer)
            };
            let mut work = Box::pin(AssertUnwindSafe(work).catch_unwind());
            // What need not wait is done before the next entry of any stream is delivered. The broker, which may hold a lock as it
            // brings this, is not asked meanwhile.
            let done = if asks_the_bus { None } else { work.as_mut().now_or_never() };
            tokio::spawn(async move {
                let done = match done {
                    Some(done) => done,
                    None => work.await,
                };
                // Without an answer this server is named as one that has not done it.
                let Ok((cluster, answer)) = done else { return tracing::error!("command of another server panicked") };
                cluster.tell(&answers_for(node), History::NONE, &(number, answer)).await;
            });
        } else if let Some((number, answer)) = read::<(u64, Answer)>(copy)
            && let Some(waiting) = lock(&membership.waiting).get(&number)
        {
            // Whoever asked may have just given up.
            let _ = waiting.send((node, answer));
        }
    }

    /// Closings may have been missed. If the backend lost its memory, each server tells it of its own again. If this server
    /// was away for longer than they are kept, its sockets are let in anew.
    pub(super) fn missed(self: &Arc<Self>, lost_memory: bool) {
        let Some(membership) = self.membership.get() else { return };
        if lost_memory {
            lock(&membership.closings).iter_mut().for_each(|closing| closing.counted = false);
            self.give_again();
            return;
        }
        tracing::warn!("this server was away from the broker for too long: all its sockets are let in anew");
        self.streams.end_all();
    }
}

/// The stream on which a server hears answers.
fn answers_for(node: Node) -> String {
    format!("{ANSWERS}{node}")
}

/// None for what a server of another version may say.
fn read<T: DeserializeOwned>(copy: &StreamEntry) -> Option<T> {
    let argument = copy.entry.message.arguments.first()?;
    serde_json::from_str(argument.get())
        .inspect_err(|error| tracing::warn!(%error, "another server said something that this one does not understand"))
        .ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
