//! Servers, a broker and clients, which live through a plan.

mod judge;
mod pages;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    broker::Faults,
    client::{Against, Asked, Client, Link},
    driver::{Backend, Connection, Counted, Request, Server, Stamps, Viewer},
    ledger::{Closing, Ledger},
    plan::{CHANNELS, Hazard, Op, Plan, Step, TAGS, tag_name},
};

/// How long after trouble a server may owe the others something.
const DEBT: Duration = Duration::from_secs(20);
/// After which time a client tells its page of channels that nothing restores.
const RESTORED_WITHIN: Duration = Duration::from_secs(2);
/// How long all of it has to come right.
const HEALING: u32 = 60;
const HEALING_STEP: Duration = Duration::from_millis(500);
/// How long one operation may take until nothing is under way.
const CALM_WITHIN: Duration = Duration::from_secs(20);

pub(super) struct World<'a> {
    plan: &'a Plan,
    random: Rng,
    stamps: Stamps,
    ledger: Arc<Mutex<Ledger>>,
    make: Option<&'a dyn Fn() -> Server>,
    backend: Option<Backend>,
    servers: Vec<Slot>,
    clients: Vec<Client>,
    /// Connections that their clients have left, and of which the server does not know that.
    ghosts: Vec<Ghost>,
    forgers: Vec<Connection>,
    requests: u64,
    is_healing: bool,
    restored_within: Duration,
    is_loud: bool,
}

/// A server, if it runs.
#[derive(Default)]
struct Slot {
    server: Option<Server>,
    life: u64,
    paused_until: Option<Instant>,
    /// When something went wrong last.
    trouble: Option<Instant>,
    publishers: Vec<AbortHandle>,
}

struct Ghost {
    link: Link,
    client: usize,
    notice: Instant,
    /// Its client has another connection to this server.
    is_replaced: bool,
}

impl Slot {
    fn is_active(&self) -> bool {
        self.server.is_some() && self.paused_until.is_none_or(|until| until <= Instant::now())
    }
}

/// When and why a plan failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) when: String,
    pub(super) reason: String,
}

impl Failure {
    /// The words of the reason, without what another plan would have otherwise.
    pub(super) fn kind(&self) -> String {
        let words = self.reason.split_whitespace().take(5);
        words.flat_map(str::chars).filter(|letter| letter.is_alphabetic()).collect()
    }
}

/// What a client was told: in which step, of which channel.
pub(super) type Told = (usize, usize, String);

/// Runs a plan one operation after the other, each until all of it has arrived; what each client was told.
pub(super) async fn live_in_turn(plan: &Plan, make: Option<&dyn Fn() -> Server>) -> Result<Vec<Vec<Told>>, Failure> {
    let mut world = World::new(plan, false, make);
    world.restored_within = Duration::ZERO;
    world.calm_down().await.map_err(|reason| Failure { when: "at the start".to_owned(), reason })?;
    for (number, step) in plan.steps.iter().enumerate() {
        world.clients.iter_mut().for_each(|client| client.step = number);
        world.apply(&step.op);
        let failed = |reason| Failure { when: format!("step {number}, {:?}", step.op), reason };
        world.calm_down().await.map_err(failed)?;
    }
    world.judge();
    if let Some(reason) = world.failure() {
        return Err(Failure { when: "in the end".to_owned(), reason });
    }
    let told = world.clients.into_iter().map(|mut client| {
        // Requests that are repeated together are answered in any order, and say the same.
        client.told.sort();
        client.told.dedup();
        client.told
    });
    Ok(told.collect())
}

/// Runs a plan; a digest of all that happened.
pub(super) async fn live(plan: &Plan, is_loud: bool) -> Result<u64, Failure> {
    let mut world = World::new(plan, is_loud, None);
    for (number, step) in plan.steps.iter().enumerate() {
        world.step(number, step).await;
        if let Some(failure) = world.failure() {
            return Err(Failure { when: format!("step {number}, {:?}", step.op), reason: failure });
        }
    }
    world.come_right().await;
    world.judge();
    match world.failure() {
        None => Ok(world.digest()),
        Some(reason) => Err(Failure { when: "in the end".to_owned(), reason }),
    }
}

impl<'a> World<'a> {
    /// `make` makes the servers, unless they are of the simulated broker.
    fn new(plan: &'a Plan, is_loud: bool, make: Option<&'a dyn Fn() -> Server>) -> Self {
        let faults = Faults {
            keeps_its_name: plan.has(Hazard::Failback),
            sorts_after_pause: plan.has(Hazard::UnorderedAfterPause),
            spares_commands: !plan.has(Hazard::SpoiledCommands),
        };
        let mut world = Self {
            plan,
            random: Rng::with_seed(plan.seed ^ 0x5eed),
            stamps: Stamps::default(),
            ledger: Arc::new(Mutex::new(Ledger::new(plan.has(Hazard::DebtAfterTurn)))),
            make,
            backend: (make.is_none() && !plan.alone).then(|| Backend::new(plan.seed, faults)),
            servers: Vec::new(),
            clients: plan.clients.iter().enumerate().map(|(number, kind)| Client::new(number, *kind)).collect(),
            ghosts: Vec::new(),
            forgers: Vec::new(),
            requests: 0,
            is_healing: false,
            restored_within: RESTORED_WITHIN,
            is_loud,
        };
        for _ in 0..plan.servers {
            let server = world.new_server();
            world.servers.push(Slot { server: Some(server), ..Slot::default() });
        }
        world
    }

    fn new_server(&mut self) -> Server {
        if let Some(make) = self.make {
            return make();
        }
        let Some(backend) = &self.backend else { return Server::alone() };
        let (ledger, stamps) = (self.ledger.clone(), self.stamps.clone());
        let counted: Counted = Arc::new(move |known| lock(&ledger).count(&known, stamps.next()));
        let skew = match self.plan.has(Hazard::Clocks) {
            true => self.random.i64(-30..=30),
            false => self.random.i64(-4..=4),
        };
        Server::joined(backend, skew, counted, self.is_loud)
    }

    fn failure(&self) -> Option<String> {
        lock(&self.ledger).failure.clone().or_else(super::unplanned_panic)
    }

    fn losses(&self) -> u64 {
        self.backend.as_ref().map_or(0, Backend::losses)
    }

    async fn step(&mut self, number: usize, step: &Step) {
        if self.is_loud {
            println!("{number} at {}: {step:?}", self.stamps.next());
        }
        if let Some(backend) = self.backend.as_ref().filter(|_| number.is_multiple_of(8)) {
            backend.snapshot();
        }
        self.apply(&step.op);
        // Tasks run although no time passes.
        tokio::task::yield_now().await;
        if step.pause > 0 {
            sleep(Duration::from_millis(step.pause)).await;
        }
        self.settle();
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Connect { client, server, noticed_after } => self.connect(client, server, noticed_after),
            Op::Cut { client, frames, noticed_after } => {
                self.pump(client);
                self.read(client, frames);
                self.leave(client, noticed_after);
            }
            Op::Read { client, frames } => {
                self.pump(client);
                self.read(client, frames);
            }
            Op::Subscribe { client, ref channels, slow, status, expires } => {
                self.subscribe(client, channels.clone(), slow, status, expires.map(Duration::from_millis));
            }
            Op::Unsubscribe { client, channel } => self.unsubscribe(client, channel),
            Op::Forbid { client } => self.clients[client].is_forbidden = true,
            Op::Add { client, channel, server } => self.change(client, channel, server, true),
            Op::Remove { client, channel, server } => self.change(client, channel, server, false),
            Op::Publish { server, ref channels, except, cancel } => {
                self.publish(server, channels, except, cancel.map(Duration::from_millis));
            }
            Op::Close { server, tag, cancel } => self.close(server, tag, cancel.map(Duration::from_millis)),
            Op::Stop { server, farewell } => self.stop(server, farewell),
            Op::Start { server } => self.start(server),
            Op::PauseServer { server, millis } => {
                if let Some((backend, node)) = self.backend.as_ref().zip(self.node(server)) {
                    backend.pause_server(node, millis);
                    self.servers[server].paused_until = Some(Instant::now() + Duration::from_millis(millis));
                }
            }
            Op::Claim { server, channel, offset } => self.claim(server, channel, offset),
            Op::Broker(ref fault) => {
                if let Some(backend) = &self.backend {
                    let now = Instant::now();
                    self.servers.iter_mut().for_each(|slot| slot.trouble = Some(now));
                    backend.suffer(fault, |server| self.node(server), |channel| CHANNELS[channel].stream().to_owned());
                }
            }
        }
    }

    fn node(&self, server: usize) -> Option<usize> {
        self.servers[server].server.as_ref()?.node()
    }

    fn publish(&mut self, server: usize, channels: &[usize], except: Option<usize>, cancel: Option<Duration>) {
        let slot = &mut self.servers[server];
        let Some(running) = slot.server.as_ref().filter(|_| slot.is_active()) else { return };
        let except = except.and_then(|client| Some((client, self.clients[client].left_out.clone()?)));
        let noted = except.as_ref().map(|(client, (_, socket))| (*client, socket.clone()));
        let begin = self.stamps.next();
        let number = lock(&self.ledger).publish(channels, noted, (server, slot.life), begin);
        let publishing = running.publish(number, channels, except.map(|(_, (left_out, _))| left_out));
        let ledger = self.ledger.clone();
        let task = tokio::spawn(async move {
            let outcome = match cancel {
                Some(cancel) => timeout(cancel, publishing).await.ok(),
                None => Some(publishing.await),
            };
            lock(&ledger).event_mut(number).outcome = outcome;
        });
        slot.publishers.retain(|task| !task.is_finished());
        slot.publishers.push(task.abort_handle());
    }

    fn close(&mut self, server: usize, tag: usize, cancel: Option<Duration>) {
        let losses = self.losses();
        let slot = &mut self.servers[server];
        let Some(running) = slot.server.as_ref().filter(|_| slot.is_active()) else { return };
        let begin = self.stamps.next();
        let destination = (server, slot.life);
        let closing = Closing { tag, begin, end: None, counted: None, unreached: None, server: destination, losses };
        let number = {
            let mut ledger = lock(&self.ledger);
            ledger.closings.push(closing);
            ledger.closings.len() - 1
        };
        // It is a debt until all have done it.
        slot.trouble = Some(Instant::now());
        let closing = running.close_tagged(&tag_name(tag), number);
        let (ledger, stamps) = (self.ledger.clone(), self.stamps.clone());
        let task = tokio::spawn(async move {
            let closed = match cancel {
                Some(cancel) => timeout(cancel, closing).await.ok(),
                None => Some(closing.await),
            };
            let Some(closed) = closed else { return };
            let closing = &mut lock(&ledger).closings[number];
            (closing.end, closing.unreached) = (Some(stamps.next()), closed.err());
        });
        slot.publishers.push(task.abort_handle());
    }

    fn stop(&mut self, server: usize, farewell: bool) {
        let now = Instant::now();
        let slot = &self.servers[server];
        let in_debt = slot.trouble.is_some_and(|trouble| now - trouble < DEBT)
            || slot.server.as_ref().is_some_and(Server::is_down)
            || slot.publishers.iter().any(|publisher| !publisher.is_finished());
        if !slot.is_active() || (in_debt && !self.plan.has(Hazard::StopInDebt)) {
            return;
        }
        for client in 0..self.clients.len() {
            if self.clients[client].link.as_ref().is_some_and(|link| link.server == server) {
                self.leave(client, 0);
            }
        }
        self.ghosts.retain(|ghost| ghost.link.server != server);
        let slot = &mut self.servers[server];
        slot.publishers.drain(..).for_each(|publisher| publisher.abort());
        let Some(server) = slot.server.take() else { return };
        if let Some((backend, node)) = self.backend.as_ref().zip(server.node()) {
            backend.leave(node, farewell);
        }
    }

    fn start(&mut self, server: usize) {
        if self.servers[server].server.is_some() {
            return;
        }
        let running = self.new_server();
        let slot = &mut self.servers[server];
        (slot.server, slot.life) = (Some(running), slot.life + 1);
    }

    /// Somebody claims to have been where no stream is.
    fn claim(&mut self, server: usize, channel: usize, offset: u64) {
        let standings = self.clients.iter().filter_map(|client| client.positions.get(&channel));
        let standing = standings.map(|destination| destination.standing.clone()).next();
        let slot = &self.servers[server];
        let Some((mut standing, running)) = standing.zip(slot.server.as_ref().filter(|_| slot.is_active())) else {
            return;
        };
        standing.offset += offset;
        let had = BTreeMap::from([(channel, standing)]);
        let name = format!("forger-{}", self.forgers.len());
        let viewer = Viewer { number: 0, panics: false };
        let Some(forger) = running.connect(&name, Some((&name, 1)), &had, "forger", viewer) else { return };
        let request = Request {
            number: 0,
            channels: vec![channel],
            leave: Vec::new(),
            had,
            slow: Duration::ZERO,
            status: 200,
            expires: None,
        };
        tokio::spawn(forger.answer(request, &self.stamps));
        self.forgers.push(forger);
    }

    /// Clients read and repeat what they have to, and servers notice what they should.
    fn settle(&mut self) {
        let now = Instant::now();
        for slot in &mut self.servers {
            if slot.server.as_ref().is_some_and(Server::is_down) {
                slot.trouble = Some(now);
            }
        }
        for client in 0..self.clients.len() {
            self.pump(client);
            let page = &self.clients[client];
            let is_gone = page.link.as_ref().is_some_and(|link| link.connection.is_gone());
            if is_gone || !page.kind.is_slow {
                self.read(client, usize::MAX);
                self.check_agreement(client);
            }
            if is_gone {
                self.leave(client, 0);
            }
            self.tend(client);
        }
        let mut ledger = lock(&self.ledger);
        for ghost in &mut self.ghosts {
            if ghost.is_replaced
                && let Some(frame) = ghost.link.connection.next()
            {
                ledger.fail(|| format!("client {} is sent {frame} on a connection that it has replaced", ghost.client));
            }
        }
        drop(ledger);
        self.ghosts.retain(|ghost| ghost.notice > now && !ghost.link.connection.is_gone());
    }

    /// A client repeats its requests.
    fn tend(&mut self, client: usize) {
        let page = &mut self.clients[client];
        let Some(link) = &mut page.link else { return };
        if !self.servers[link.server].is_active() {
            return;
        }
        let is_restored = std::mem::replace(&mut link.is_restored, true);
        let pending: BTreeSet<_> = link.in_flight.values().map(|asked| asked.key).collect();
        if link.opened.elapsed() > self.restored_within {
            page.report_unrestored(&(0..CHANNELS.len()).collect());
        }
        for made in page.made.clone() {
            let page = &mut self.clients[client];
            let wants = match page.kind.resumes {
                true => made
                    .channels
                    .iter()
                    .any(|channel| page.positions.get(channel).is_some_and(|destination| !destination.live)),
                false => !is_restored,
            };
            if !wants || pending.contains(&made.key) {
                continue;
            }
            let status = if std::mem::take(&mut page.is_forbidden) { 403 } else { 200 };
            let channels = made.channels.iter().copied().collect();
            self.ask(client, Some(made.key), channels, Vec::new(), (0, status, made.expires));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
