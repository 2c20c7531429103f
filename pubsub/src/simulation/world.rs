//! Servers, a broker and clients, which live through a plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
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

    fn connect(&mut self, client: usize, server: usize, noticed_after: u64) {
        if !self.servers[server].is_active() {
            return;
        }
        self.leave(client, noticed_after);
        let slot = &self.servers[server];
        let Some(running) = &slot.server else { return };
        let page = &mut self.clients[client];
        page.is_closed = false;
        page.connections += 1;
        let id = format!("{client}-{}", page.connections);
        let had = page.held(0..CHANNELS.len(), true);
        let secret = page.secret();
        let viewer = Viewer { number: client as u64, panics: self.plan.has(Hazard::PanickingFilter) };
        let secret = secret.as_ref().map(|(secret, connection)| (&**secret, *connection));
        let since = self.stamps.next();
        let tag = tag_name(client % TAGS);
        let Some(connection) = running.connect(&id, secret, &had, &tag, viewer) else { return };
        page.left_out = Some((connection.left_out(), id));
        page.link = Some(Link {
            connection,
            network: Default::default(),
            server,
            life: slot.life,
            server_name: running.name(),
            since,
            opened: Instant::now(),
            in_flight: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            is_restored: false,
        });
        let here = (server, slot.life);
        for ghost in &mut self.ghosts {
            if page.kind.resumes && ghost.client == client && (ghost.link.server, ghost.link.life) == here {
                while ghost.link.connection.next().is_some() {}
                ghost.is_replaced = true;
            }
        }
    }

    /// A client's connection ends, which the server notices later.
    fn leave(&mut self, client: usize, noticed_after: u64) {
        let page = &mut self.clients[client];
        let Some(link) = page.link.take() else { return };
        lock(&self.ledger).check_order(&page.name(), &page.heard, self.plan.has(Hazard::OrderOfStreams));
        page.pause();
        let notice = Instant::now() + Duration::from_millis(noticed_after);
        if noticed_after > 0 {
            self.ghosts.push(Ghost { link, client, notice, is_replaced: false });
        }
    }

    fn pump(&mut self, client: usize) {
        let stamp = self.stamps.next();
        self.clients[client].pump(stamp);
    }

    fn read(&mut self, client: usize, frames: usize) {
        let losses = self.losses();
        let mut ledger = lock(&self.ledger);
        let stale_outcome = self.plan.has(Hazard::StaleOutcome);
        let mut against = Against {
            ledger: &mut ledger,
            stale_outcome,
            may_set_back: !self.plan.has(Hazard::SetBack),
            may_forget: !self.plan.has(Hazard::ForgottenChannel),
            losses,
            is_loud: self.is_loud,
        };
        self.clients[client].read(frames, &mut against);
    }

    fn ask(
        &mut self,
        client: usize,
        repeated: Option<u64>,
        channels: Vec<usize>,
        leave: Vec<usize>,
        how: (u64, u16, Option<Duration>),
    ) {
        self.requests += 1;
        let (number, (slow, status, expires)) = (self.requests, how);
        let expires = expires.filter(|_| !self.is_healing);
        let page = &mut self.clients[client];
        let had = match repeated {
            Some(_) => page.held(channels.iter().copied(), false),
            None => page.held(0..CHANNELS.len(), false),
        };
        let had = if page.kind.resumes { had } else { BTreeMap::new() };
        let Some(link) = &mut page.link else { return };
        let of = if channels.is_empty() { leave.iter().copied().collect() } else { had.keys().copied().collect() };
        let request = Request {
            number,
            channels: channels.clone(),
            leave,
            had,
            slow: Duration::from_millis(slow),
            status,
            expires,
        };
        let answer = tokio::spawn(link.connection.answer(request, &self.stamps));
        let key = repeated.unwrap_or(number);
        let is_repeat = repeated.is_some();
        let asked = Asked { key, is_repeat, channels, had: of, expires, abort: answer.abort_handle() };
        link.in_flight.insert(number, asked);
    }

    fn subscribe(
        &mut self,
        client: usize,
        mut channels: Vec<usize>,
        mut slow: u64,
        status: u16,
        mut expires: Option<Duration>,
    ) {
        let page = &self.clients[client];
        if !page.link.as_ref().is_some_and(|link| self.servers[link.server].is_active()) {
            return;
        }
        if !self.plan.has(Hazard::LeaveWhileAsking) && !self.plan.has(Hazard::AskTwice) {
            let first = channels[0];
            channels.retain(|channel| !page.is_subscribed(*channel) && !page.is_asking(*channel));
            if channels.is_empty() && !page.is_asking(first) {
                (channels, slow) = (vec![first], 0);
            }
        }
        if !page.kind.resumes {
            expires = None;
        }
        if !channels.is_empty() {
            self.ask(client, None, channels, Vec::new(), (slow, status, expires));
        }
    }

    fn unsubscribe(&mut self, client: usize, channel: usize) {
        let page = &self.clients[client];
        let is_active = page.link.as_ref().is_some_and(|link| self.servers[link.server].is_active());
        let may = self.plan.has(Hazard::LeaveWhileAsking) || !page.is_asking(channel);
        if is_active && may && page.is_subscribed(channel) {
            self.ask(client, None, Vec::new(), vec![channel], (0, 200, None));
        }
    }

    /// The server subscribes a client that understands positions, or takes it out of a channel.
    fn change(&mut self, client: usize, channel: usize, number: usize, joins: bool) {
        let page = &self.clients[client];
        let is_asking = page.is_asking(channel) && !self.plan.has(Hazard::LeaveWhileAsking);
        if !page.kind.resumes || is_asking || CHANNELS[channel].filtered || !self.servers[number].is_active() {
            return;
        }
        if let Some((server, link)) = self.servers[number].server.as_ref().zip(page.link.as_ref()) {
            let changing = tokio::spawn(server.change_membership(link.connection.id(), channel, joins));
            self.servers[number].publishers.push(changing.abort_handle());
        }
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

    /// A client that has read everything, and asks for nothing, is subscribed to what the server delivers.
    fn check_agreement(&self, client: usize) {
        let page = &self.clients[client];
        let Some(link) = page.link.as_ref().filter(|link| !link.connection.is_gone()) else { return };
        if !link.in_flight.is_empty() {
            return;
        }
        let differs = (0..CHANNELS.len()).find(|channel| page.is_subscribed(*channel) != link.connection.has(*channel));
        lock(&self.ledger)
            .check(differs.is_none(), || format!("{} and its server do not agree on channel {differs:?}", page.name()));
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

    /// Waits until everybody has heard what is under way.
    async fn calm_down(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let mut calm = 0;
        while calm < 2 {
            self.settle();
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            let unrest = self.unrest();
            calm = if unrest.is_none() { calm + 1 } else { 0 };
            if let Some(unrest) = unrest.filter(|_| begun.elapsed() > CALM_WITHIN) {
                return Err(format!("waited for {unrest}"));
            }
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Something that is under way.
    fn unrest(&self) -> Option<String> {
        let ledger = lock(&self.ledger);
        for slot in &self.servers {
            if slot.server.as_ref().is_some_and(Server::is_down) {
                return Some("the broker".to_owned());
            }
            if slot.publishers.iter().any(|publisher| !publisher.is_finished()) {
                return Some("a publisher".to_owned());
            }
        }
        for client in self.clients.iter().filter(|client| client.link.is_some()) {
            let who = client.name();
            if client.link.as_ref().is_some_and(|link| !link.in_flight.is_empty()) {
                return Some(format!("an answer to {who}"));
            }
            for (&channel, &since) in &client.covers {
                if !client.is_subscribed(channel) {
                    return Some(format!("{who} to come back to channel {channel}"));
                }
                if let Some(missed) = missed(&ledger, client, channel, since) {
                    return Some(format!("event {missed} for {who}"));
                }
            }
        }
        None
    }

    /// A number for all that clients were told, and when.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.clients.iter().for_each(|client| client.told.hash(&mut hasher));
        hasher.write_u64(self.stamps.next());
        hasher.finish()
    }

    /// All faults end, everybody comes back, and a last event goes to each channel.
    async fn come_right(&mut self) {
        self.is_healing = true;
        if let Some(backend) = &self.backend {
            backend.heal();
        }
        for server in 0..self.servers.len() {
            self.servers[server].paused_until = None;
            self.start(server);
        }
        for client in &mut self.clients {
            client.kind.is_slow = false;
            client.is_forbidden = false;
        }
        for round in 0..HEALING {
            for client in 0..self.clients.len() {
                let page = &self.clients[client];
                if page.link.is_none() && !page.is_closed {
                    let server = self.random.usize(..self.servers.len());
                    self.connect(client, server, 0);
                }
            }
            if round == HEALING - 20 {
                for channel in 0..CHANNELS.len() {
                    (0..self.servers.len()).for_each(|server| self.publish(server, &[channel], None, None));
                }
            }
            sleep(HEALING_STEP).await;
            self.settle();
            if self.failure().is_some() {
                return;
            }
        }
    }

    /// Whether everybody has heard what it is owed.
    fn judge(&mut self) {
        let mut ledger = lock(&self.ledger);
        for client in &self.clients {
            let who = client.name();
            ledger.check_order(&who, &client.heard, self.plan.has(Hazard::OrderOfStreams));
            let Some(link) = &client.link else {
                ledger.check(client.is_closed, || format!("{who} does not come back"));
                continue;
            };
            for closing in ledger.closings.clone() {
                let tagged = closing.tag == client.number % TAGS && link.since < closing.begin;
                let counts = closing.end.is_some() || self.plan.has(Hazard::CancelledClosing);
                let here = closing.server == (link.server, link.life);
                let known = self.servers[closing.server.0].life == closing.server.1 || here;
                ledger.check(!(tagged && counts && known), || {
                    format!("{who} was never closed on {} by {closing:?}", link.server_name)
                });
            }
            if !client.kind.resumes && !self.plan.has_sound_broker() && !self.plan.has(Hazard::StandardInOutage) {
                continue;
            }
            for (&channel, &since) in &client.covers {
                if !client.is_subscribed(channel) {
                    ledger.fail(|| format!("{who} is not subscribed to channel {channel} again"));
                }
                if let Some(number) = missed(&ledger, client, channel, since) {
                    let event = ledger.event(number).clone();
                    ledger
                        .fail(|| format!("{who} missed event {number} of channel {channel} since {since}: {event:?}"));
                }
            }
            if self.plan.is_calm() {
                let must_not_end = |gap: &&usize| {
                    let is_shared = CHANNELS[**gap].shares_history() && !self.plan.has(Hazard::SharedHistory);
                    let is_faulty = CHANNELS[**gap].filtered && self.plan.has(Hazard::PanickingFilter);
                    CHANNELS[**gap].keeps_all() && !CHANNELS[**gap].since_subscribe && !is_shared && !is_faulty
                };
                let gap = client.gaps.iter().find(must_not_end);
                ledger.check(gap.is_none(), || {
                    format!("{who} was told of a gap in channel {gap:?}, where nothing failed")
                });
            }
        }
        let leaks = self.servers.iter().filter_map(|slot| slot.server.as_ref()?.leaks()).next();
        ledger.check(leaks.is_none(), || format!("after all has ended: {leaks:?}"));
    }
}

/// The first event that a client should have heard of a channel.
fn missed(ledger: &Ledger, client: &Client, channel: usize, since: u64) -> Option<u64> {
    let owed = ledger.events().filter(|(number, event)| {
        let left_out = event.except.as_ref().is_some_and(|(excluded, socket)| match client.kind.resumes {
            true => *excluded == client.number,
            false => client.link.as_ref().is_some_and(|link| link.connection.id() == socket),
        });
        let is_here = event.channels.contains(&channel) && event.begin > since && !left_out;
        is_here && ledger.is_for(*number, channel, client.number) && ledger.is_owed(*number)
    });
    owed.map(|(number, _)| number).find(|number| !client.heard.contains(number))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
