//! What concerns all servers of an application: commands go to each of them over the bus, and their answers come back.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    time::{Instant, timeout_at},
};

use super::{
    command::{Answer, Command},
    entry::{Copy, Entry, Id, Node, Place, Target},
    event::Message,
    history::History,
    stream::Stream,
    streams::Streams,
};
use crate::broker::Sent;

/// How long other servers have to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the names of the streams begin with that are not an application's.
pub const RESERVED: &str = "catamaran:";
const COMMANDS: &str = "catamaran:commands";
const CLOSINGS: &str = "catamaran:closings";
const ANSWERS: &str = "catamaran:answers:";

/// Whether what is published on a stream is for the servers, and not for sockets.
pub(super) fn is_for_commands(stream: &str) -> bool {
    stream == COMMANDS || stream == CLOSINGS || stream.starts_with(ANSWERS)
}

/// The closings that are kept for servers that are away.
const KEPT: History = History::of(1024).seconds(KEPT_SECONDS);
const KEPT_SECONDS: u64 = 3600;

/// Not all servers could be reached, or did not answer within two seconds; it was done on the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreached {
    /// How many sockets the others found.
    pub sockets: usize,
    /// The names of the servers that may not have done it, as in their logs; none if not even those are known, because the
    /// broker cannot be reached.
    pub servers: Vec<String>,
}

/// What a server knows of what it asked the others.
#[derive(Debug)]
pub(super) struct Cluster {
    /// The streams that bring commands and answers to this server.
    streams: [Arc<Stream>; 3],
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, UnboundedSender<(Node, Answer)>>>,
    attaching: tokio::sync::Mutex<()>,
    /// What this server closed of late. A backend that lost its memory is told of it again.
    closings: Mutex<VecDeque<Closing>>,
    /// The other servers that were there when this one last looked.
    others: Mutex<BTreeSet<Node>>,
}

#[derive(Debug)]
struct Closing {
    command: Command,
    number: u64,
    given: SystemTime,
    /// The bus has it.
    counted: bool,
}

/// A command that waits for answers for as long as this value lives.
struct Asked<'a> {
    cluster: &'a Cluster,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(&self.cluster.waiting).remove(&self.number);
    }
}

impl Cluster {
    pub(super) fn new(streams: &Streams) -> Self {
        let names = [CLOSINGS, COMMANDS, &answers_for(streams.node())];
        Self {
            streams: names.map(|name| streams.stream(&name.into())),
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
            attaching: tokio::sync::Mutex::default(),
            closings: Mutex::default(),
            others: Mutex::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn is_attached(&self) -> bool {
        self.streams.iter().all(|stream| stream.lock().link.started)
    }

    /// Remembers a closing for an hour. Those that the bus has not got yet are given to it when it can be reached.
    fn remember(&self, closing: Closing) {
        let mut closings = lock(&self.closings);
        let too_old = |given: SystemTime| given.elapsed().is_ok_and(|age| age.as_secs() > KEPT_SECONDS);
        while closings.len() >= KEPT.entries || closings.front().is_some_and(|oldest| too_old(oldest.given)) {
            closings.pop_front();
        }
        closings.push_back(closing);
    }
}

impl Streams {
    /// Carries a command out on all servers.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached; it was done on the others.
    pub async fn everywhere(&self, command: Command) -> Result<Answer, Unreached> {
        let (answer, unreached) = self.on_all(command).await;
        unreached.map_or(Ok(answer), Err)
    }

    /// Carries a command about one socket out on the server that has it. Whether others could be reached matters only if the
    /// socket was not found.
    pub async fn of_socket(&self, command: Command) -> Result<Answer, Unreached> {
        if command.socket().is_some_and(|socket| self.sockets().get(socket).is_some()) {
            return Ok(self.carry_out(command, SystemTime::now()).await);
        }
        let (answer, unreached) = self.on_all(command).await;
        unreached.filter(|_| answer == Answer::default()).map_or(Ok(answer), Err)
    }

    /// What the servers answered that could be reached, and which could not.
    async fn on_all(&self, command: Command) -> (Answer, Option<Unreached>) {
        let given = SystemTime::now();
        let Some(cluster) = self.cluster() else { return (self.carry_out(command, given).await, None) };
        let mut answer = self.carry_out(command.clone(), given).await;
        let missing = self.ask(cluster, command, given, &mut answer).await;
        let unreached = match missing {
            Ok(missing) if missing.is_empty() => None,
            Ok(missing) | Err(missing) => {
                Some(Unreached { sockets: answer.count, servers: missing.iter().map(Node::to_string).collect() })
            }
        };
        (answer, unreached)
    }

    /// Asks the other servers, and gives those that did not answer; as an error if there may be more.
    async fn ask(
        &self,
        cluster: &Cluster,
        command: Command,
        given: SystemTime,
        answer: &mut Answer,
    ) -> Result<BTreeSet<Node>, BTreeSet<Node>> {
        let number = cluster.next.fetch_add(1, Ordering::Relaxed);
        let (sender, mut answers) = mpsc::unbounded_channel();
        lock(&cluster.waiting).insert(number, sender);
        let _asked = Asked { cluster, number };
        let counted = self.give(&command, number, given).await;
        if command.is_closing() {
            cluster.remember(Closing { command, number, given, counted });
        }
        // Asked after the command was counted: a server that joins later reads it, if it is a closing, before it serves.
        let others = match self.bus().others().await {
            Ok(others) => others.into_iter().collect(),
            Err(_) => return Err(lock(&cluster.others).clone()),
        };
        let mut missing: BTreeSet<Node> = others;
        lock(&cluster.others).clone_from(&missing);
        if !counted {
            return Err(missing);
        }
        let until = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            let Ok(Some((node, theirs))) = timeout_at(until, answers.recv()).await else { break };
            missing.remove(&node);
            *answer += theirs;
        }
        Ok(missing)
    }

    /// Publishes a command; false if the bus does not say that it has it.
    async fn give(&self, command: &Command, number: u64, given: SystemTime) -> bool {
        let (stream, history) = if command.is_closing() { (CLOSINGS, KEPT) } else { (COMMANDS, History::NONE) };
        self.tell(stream, history, &(number, command), given).await
    }

    async fn tell<T: Serialize + Sync>(&self, stream: &str, history: History, what: &T, at: SystemTime) -> bool {
        let Ok(argument) = serde_json::value::to_raw_value(what) else { return false };
        let message = Message { name: String::new(), arguments: vec![argument] };
        let stream: Arc<str> = stream.into();
        let target = Target { channel: stream.clone(), stream, history, shape: None };
        let places = vec![Place { target, position: None }];
        let entry = Entry { id: self.next_id(), message, except: Vec::new(), places, at };
        matches!(self.bus().publish(entry).await, Sent::Counted(_))
    }

    /// The bus can be reached: closings that this server has missed come before anything else, and so do its own.
    pub(super) async fn attach_cluster(&self) {
        let Some(cluster) = self.cluster() else { return };
        let _one_at_a_time = cluster.attaching.lock().await;
        for stream in &cluster.streams {
            stream.renew_now(&**self.bus()).await;
        }
        self.give_closings(cluster).await;
    }

    /// Tells the other servers that this one ends.
    pub async fn leave_cluster(&self) {
        if self.cluster().is_some() {
            self.bus().leave().await;
        }
    }

    /// Gives the bus the closings of this server that it does not have.
    async fn give_closings(&self, cluster: &Cluster) {
        let uncounted: Vec<_> = {
            let closings = lock(&cluster.closings);
            let uncounted = closings.iter().filter(|closing| !closing.counted);
            uncounted.map(|closing| (closing.command.clone(), closing.number, closing.given)).collect()
        };
        for (command, number, given) in uncounted {
            if !self.give(&command, number, given).await {
                return;
            }
            let mut closings = lock(&cluster.closings);
            closings.iter_mut().filter(|closing| closing.number == number).for_each(|closing| closing.counted = true);
        }
    }

    /// What came on one of the cluster's streams, in its order.
    pub(super) fn hear(self: &Arc<Self>, copy: &Copy) {
        let (Id { node, .. }, given) = (copy.entry.id, copy.entry.at);
        let Some(cluster) = self.cluster().filter(|_| node != self.node()) else { return };
        if *copy.target().stream == *CLOSINGS || *copy.target().stream == *COMMANDS {
            let Some((number, command)) = read::<(u64, Command)>(copy) else { return };
            let streams = self.clone();
            let asks_the_bus = command.asks_the_bus();
            let mut work = Box::pin(async move {
                let answer = streams.carry_out(command, given).await;
                (streams, answer)
            });
            // What need not wait is done before the next entry of any stream is delivered. The bus, which may hold a lock as it
            // brings this, is not asked meanwhile.
            let done = if asks_the_bus { None } else { work.as_mut().now_or_never() };
            tokio::spawn(async move {
                let (streams, answer) = match done {
                    Some(done) => done,
                    None => work.await,
                };
                streams.tell(&answers_for(node), History::NONE, &(number, answer), SystemTime::now()).await;
            });
        } else if let Some((number, answer)) = read::<(u64, Answer)>(copy)
            && let Some(waiting) = lock(&cluster.waiting).get(&number)
        {
            // Whoever asked may have just given up.
            let _ = waiting.send((node, answer));
        }
    }

    /// Closings may have been missed. If the backend lost its memory, each server tells it of its own again. If this server
    /// was away for longer than they are kept, its sockets are let in anew.
    pub(super) fn missed(self: &Arc<Self>, stream: &str, lost_memory: bool) {
        let Some(cluster) = self.cluster().filter(|_| stream == CLOSINGS) else { return };
        if lost_memory {
            lock(&cluster.closings).iter_mut().for_each(|closing| closing.counted = false);
            let streams = self.clone();
            tokio::spawn(async move {
                let Some(cluster) = streams.cluster() else { return };
                streams.give_closings(cluster).await;
            });
            return;
        }
        tracing::warn!("this server was away from the bus for too long: all its sockets are let in anew");
        for subscriber in self.sockets().all() {
            subscriber.end();
            self.leave_all(&subscriber);
        }
    }
}

/// The stream on which a server hears answers.
fn answers_for(node: Node) -> String {
    format!("{ANSWERS}{node}")
}

/// None for what a server of another version may say.
fn read<T: DeserializeOwned>(copy: &Copy) -> Option<T> {
    let argument = copy.entry.message.arguments.first()?;
    serde_json::from_str(argument.get())
        .inspect_err(|error| tracing::warn!(%error, "another server said something that this one does not understand"))
        .ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
