//! One connection to Redis, from its first answer to its last.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, FromRedisValue, RedisError, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    time::{interval, timeout},
};

use super::{
    keys::{Key, Keys},
    outbox::Outbox,
    script::Script,
};

/// How long an answer may take before the connection is given up.
pub(super) const LIMIT: Duration = Duration::from_secs(3);
/// How many subscriptions are asked for at once.
const BATCH: usize = 256;
/// How often the server hears which streams are still attached, so that it does not forget where they stand.
const HOUR: Duration = Duration::from_secs(3600);
/// How long it remembers, in milliseconds.
const TWO_DAYS: u64 = 2 * 86_400_000;

/// A connection, and what its end is known by.
#[derive(Debug)]
pub(super) struct Session {
    connection: MultiplexedConnection,
    shas: Vec<String>,
    pub(super) keys: Keys,
    tickets: AtomicU64,
    changes: UnboundedSender<Change>,
    pub(super) outbox: Outbox,
    cut: Cut,
}

/// A stream that is to be brought, or no longer.
#[derive(Debug)]
pub(super) enum Change {
    Subscribe(Arc<str>, oneshot::Sender<()>),
    Unsubscribe(Arc<str>),
}

/// The nodes of an application.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) names: Vec<String>,
    /// Another than before if no count goes on.
    pub(super) generation: String,
}

/// Why nothing came of a command.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server said that it did not run it.
    Refused(RedisError),
    /// It may have run.
    Lost,
}

/// Ends a connection for a reason; the first counts.
#[derive(Clone, Debug)]
pub(super) struct Cut(mpsc::Sender<String>);

impl Cut {
    pub(super) fn new() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    pub(super) fn now(&self, reason: &(impl ToString + ?Sized)) {
        // If there is a reason already, the connection ends for that one.
        let _ = self.0.try_send(reason.to_string());
    }
}

impl Session {
    /// Makes the scripts known to the server. The receiver is for [`change`].
    pub(super) async fn new(
        mut connection: MultiplexedConnection,
        keys: Keys,
        cut: Cut,
    ) -> Result<(Self, UnboundedReceiver<Change>), RedisError> {
        let mut shas = Vec::new();
        for script in Script::ALL {
            shas.push(load(script).query_async(&mut connection).await?);
        }
        let (changes, receiver) = mpsc::unbounded_channel();
        let (tickets, outbox) = (AtomicU64::new(0), Outbox::default());
        Ok((Self { connection, shas, keys, tickets, changes, outbox, cut }, receiver))
    }

    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Waits until all that is published to a stream from now on is brought.
    pub(super) async fn subscribe(&self, stream: &Arc<str>) -> Result<(), Failure> {
        let (done, confirmed) = oneshot::channel();
        self.changes.send(Change::Subscribe(stream.clone(), done)).map_err(|_| Failure::Lost)?;
        confirmed.await.map_err(|_| Failure::Lost)
    }

    pub(super) fn unsubscribe(&self, stream: &Arc<str>) {
        // If the connection has ended, it brings nothing anyway.
        let _ = self.changes.send(Change::Unsubscribe(stream.clone()));
    }

    /// The nodes that live, after this one's sign of life. `missed` are those that have not come back since an outage.
    pub(super) async fn nodes(&self, node: &str, missed: &[String]) -> Result<Nodes, Failure> {
        let farewells = missed.iter().map(|node| self.keys.left(node));
        let keys: Vec<_> = [self.keys.nodes(), self.keys.generation()].into_iter().chain(farewells).collect();
        let arguments = |command: &mut Cmd| {
            command.arg(node).arg(missed);
        };
        let (generation, names) = self.call(Script::Nodes, &keys, arguments).await?;
        Ok(Nodes { generation, names })
    }

    /// Runs a script with keys and arguments, within a time.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        script: Script,
        keys: &[Key<'_>],
        arguments: impl FnOnce(&mut Cmd),
    ) -> Result<T, Failure> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.shas[script as usize]).arg(keys.len()).arg(keys).arg(ticket);
        arguments(&mut command);
        let answer = match timeout(LIMIT, self.run(script, &command)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.lost(&error)),
            Err(_) => return Err(self.lost("it did not answer in time")),
        };
        let answer = answer.extract_error().map_err(|error| {
            // Whether it is not the master, not ready or out of memory: it cannot be the one to count now.
            self.cut.now(&error);
            Failure::Refused(error)
        })?;
        match redis::from_redis_value::<(u64, T)>(answer) {
            Ok((answered, value)) if answered == ticket => Ok(value),
            _ => Err(self.lost("it answered something else")),
        }
    }

    /// Runs a script, also if the server has forgotten it.
    async fn run(&self, script: Script, command: &Cmd) -> Result<Value, RedisError> {
        let mut connection = self.connection();
        let answer = connection.send_packed_command(command).await?;
        match &answer {
            Value::ServerError(error) if error.code() == "NOSCRIPT" => {
                connection.send_packed_command(&load(script)).await?;
                connection.send_packed_command(command).await
            }
            _ => Ok(answer),
        }
    }

    /// Runs commands one after the other, within a time.
    async fn pipeline(&self, commands: &redis::Pipeline) -> Result<(), Failure> {
        if commands.is_empty() {
            return Ok(());
        }
        let mut connection = self.connection();
        let answers = match timeout(LIMIT, connection.send_packed_commands(commands, 0, commands.len())).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => return Err(self.lost(&error)),
            Err(_) => return Err(self.lost("it did not answer in time")),
        };
        match answers.into_iter().find_map(|answer| answer.extract_error().err()) {
            Some(error) => Err(self.lost(&error)),
            None => Ok(()),
        }
    }

    /// Says that this node does not live any more, if the server hears it in time.
    pub(super) async fn leave(&self, node: &str) {
        let mut commands = redis::pipe();
        commands.cmd("ZREM").arg(self.keys.nodes()).arg(node);
        commands.cmd("SET").arg(self.keys.left(node)).arg("").arg("EX").arg(HOUR.as_secs());
        // If it does not, the node is forgotten by its silence.
        let _ = self.pipeline(&commands).await;
    }

    pub(super) fn lost(&self, reason: &(impl ToString + ?Sized)) -> Failure {
        self.cut.now(reason);
        Failure::Lost
    }
}

fn load(script: Script) -> Cmd {
    let mut command = redis::cmd("SCRIPT");
    command.arg("LOAD").arg(script.text());
    command
}

/// Asks for the subscriptions of a session, and ends them, in the order in which they were wanted.
///
/// `leaving` counts what is being ended: the server also ends some unasked, when their slot moves to another.
pub(super) async fn change(session: &Session, mut changes: UnboundedReceiver<Change>, leaving: &AtomicUsize) {
    let mut subscribed = HashSet::<Arc<str>>::new();
    let mut hourly = interval(HOUR);
    let mut batch = Vec::new();
    loop {
        let mut commands = redis::pipe();
        tokio::select! {
            count = changes.recv_many(&mut batch, BATCH) => if count == 0 { return },
            _ = hourly.tick() => {
                for stream in &subscribed {
                    commands.cmd("PEXPIRE").arg(session.keys.meta(stream)).arg(TWO_DAYS).arg("GT");
                }
            }
        }
        for change in &batch {
            match change {
                Change::Subscribe(stream, _) => {
                    subscribed.insert(stream.clone());
                    commands.cmd("SSUBSCRIBE").arg(session.keys.channel(stream));
                }
                Change::Unsubscribe(stream) => {
                    subscribed.remove(stream);
                    leaving.fetch_add(1, Ordering::SeqCst);
                    commands.cmd("SUNSUBSCRIBE").arg(session.keys.channel(stream));
                }
            }
        }
        if session.pipeline(&commands).await.is_err() {
            return;
        }
        for change in batch.drain(..) {
            if let Change::Subscribe(_, done) = change {
                // Whoever wanted it may have gone.
                let _ = done.send(());
            }
        }
    }
}
