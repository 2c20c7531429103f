//! What happens in a simulation: operations that a seed generates.

use fastrand::Rng;

/// A channel of the simulated application.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: &'static str,
    /// The stream that it shares with others, if it is not its own.
    pub(super) stream: Option<&'static str>,
    /// How many events are kept, and for how long.
    pub(super) kept: usize,
    pub(super) seconds: Option<u64>,
    pub(super) since_subscribe: bool,
    /// Each viewer sees its own part of the events.
    pub(super) filtered: bool,
}

const PLAIN: Channel =
    Channel { name: "", stream: None, kept: 200, seconds: None, since_subscribe: false, filtered: false };

pub(super) const CHANNELS: [Channel; 9] = [
    Channel { name: "room:0", ..PLAIN },
    Channel { name: "room:1", ..PLAIN },
    Channel { name: "tick:2", kept: 0, ..PLAIN },
    Channel { name: "short:3", kept: 4, ..PLAIN },
    Channel { name: "shared:4", stream: Some("stream:shared"), ..PLAIN },
    Channel { name: "shared:5", stream: Some("stream:shared"), kept: 3, ..PLAIN },
    Channel { name: "since:6", since_subscribe: true, ..PLAIN },
    Channel { name: "seen:7", stream: Some("catamaran:gated:seen:7"), filtered: true, ..PLAIN },
    Channel { name: "aged:8", seconds: Some(20), ..PLAIN },
];

impl Channel {
    pub(super) fn stream(&self) -> &'static str {
        self.stream.unwrap_or(self.name)
    }

    /// Whether it shares a stream with a channel that keeps less.
    pub(super) fn shares_history(&self) -> bool {
        CHANNELS.iter().any(|other| other.stream() == self.stream() && other.kept < self.kept)
    }

    /// Whether everything that a plan publishes is kept.
    pub(super) fn keeps_all(&self) -> bool {
        self.kept == PLAIN.kept && self.seconds.is_none()
    }
}

/// Whether a filter shows an event to a viewer.
pub(super) fn is_shown(event: u64, viewer: u64) -> bool {
    event % 3 != viewer % 3
}

/// What the engine does not survive, or not always: off unless a test asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hazard {
    /// Filters panic (ENGINE.md, fault 1).
    PanickingFilter,
    /// The request that closes sockets is cancelled (fault 2).
    CancelledClosing,
    /// A channel is left while a request for it runs (fault 3).
    LeaveWhileAsking,
    /// A paused server finds later events before earlier commands (fault 4).
    UnorderedAfterPause,
    /// Wall clocks differ by half a minute (fault 5).
    Clocks,
    /// A later request for an active channel is told the outcome of the reconnect (fault 6).
    StaleOutcome,
    /// A broker comes back older under its old name (fault 9).
    Failback,
    /// A client claims a position that no stream has reached (fault 10). It is survived, since here no server lags for long.
    FalsePosition,
    /// A server stops before the broker has heard of what it delivered alone (fault 11). The broker cannot tell it from a server
    /// that crashed without a debt: it takes a gap in all channels for each crash, or events that are not delivered in an outage.
    StopInDebt,
    /// The broker stays up and refuses a command, loses it or brings it late.
    SpoiledCommands,
    /// A server that is cut off delivers alone after another has turned the stream's epoch.
    DebtAfterTurn,
    /// A server that knows only the shorter history of a stream keeps no more for the channel with the longer one.
    SharedHistory,
    /// A client that is further than a server which is cut off is set back where histories begin with the subscription.
    SetBack,
    /// A client leaves the channel by which it heard an event of several channels.
    ForgottenChannel,
    /// Channels that share a stream have an order between them, through reconnects too. A client repeats its requests one by
    /// one, and each replays its own channels: it takes one repeat of all, and one merged replay for each stream in the protocol.
    OrderOfStreams,
    /// Two requests of one socket ask for a channel at once, and its epoch turns between them (fault 15).
    AskTwice,
    /// Standard clients are checked for losses while brokers fail (fault 17).
    StandardInOutage,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) hazards: Vec<Hazard>,
    /// One server, which counts in memory.
    pub(super) alone: bool,
    pub(super) servers: usize,
    pub(super) clients: Vec<ClientKind>,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ClientKind {
    /// It understands positions.
    pub(super) resumes: bool,
    /// It reads only when a step says so.
    pub(super) is_slow: bool,
}

/// An operation, and how many milliseconds pass after it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) op: Op,
    pub(super) pause: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    /// A client connects to a server; a client that is connected leaves its connection without a word.
    Connect {
        client: usize,
        server: usize,
        noticed_after: u64,
    },
    /// A connection breaks once the client has read so many of the frames that are on their way.
    Cut {
        client: usize,
        frames: usize,
        noticed_after: u64,
    },
    Read {
        client: usize,
        frames: usize,
    },
    /// A request subscribes; its action takes so many milliseconds. What it answers below 400 counts.
    Subscribe {
        client: usize,
        channels: Vec<usize>,
        slow: u64,
        status: u16,
        expires: Option<u64>,
    },
    Unsubscribe {
        client: usize,
        channel: usize,
    },
    /// The next request that the client repeats is refused.
    Forbid {
        client: usize,
    },
    /// The server subscribes a socket, or ends its subscription.
    Add {
        client: usize,
        channel: usize,
        server: usize,
    },
    Remove {
        client: usize,
        channel: usize,
        server: usize,
    },
    /// The publisher is cancelled after so many milliseconds.
    Publish {
        server: usize,
        channels: Vec<usize>,
        except: Option<usize>,
        cancel: Option<u64>,
    },
    Close {
        server: usize,
        tag: usize,
        cancel: Option<u64>,
    },
    Stop {
        server: usize,
        farewell: bool,
    },
    Start {
        server: usize,
    },
    PauseServer {
        server: usize,
        millis: u64,
    },
    /// A client that has nothing claims an offset that the stream may not have reached.
    Claim {
        server: usize,
        channel: usize,
        offset: u64,
    },
    Broker(Fault),
}

#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// A server loses its connection.
    Down {
        server: usize,
        millis: u64,
    },
    /// The next deliveries to a server are lost, each by itself: that is harder than what a connection does, and positions show
    /// it. A lost closing ends the connection. Nothing but the order of a connection (Redis) or of a snapshot (Postgres) brings a
    /// closing before the later events of other streams, so no broker loses a closing and delivers those.
    Lose {
        server: usize,
        count: usize,
    },
    Repeat {
        server: usize,
        count: usize,
    },
    Late {
        server: usize,
        count: usize,
        millis: u64,
    },
    /// Nothing is answered nor delivered.
    Pause {
        millis: u64,
    },
    /// The outcome of a server's next publish is not known.
    Unknown {
        server: usize,
        counted: bool,
    },
    /// A server's next publish is refused.
    Refuse {
        server: usize,
    },
    /// Another server takes its destination, with what was known some snapshots ago.
    FailOver {
        age: usize,
        millis: u64,
    },
    /// It restarts without memory.
    Restart {
        millis: u64,
    },
    /// It forgets a stream.
    Evict {
        channel: usize,
    },
    /// It drops the history of a stream.
    Trim {
        channel: usize,
    },
}

impl Op {
    pub(super) fn is_broker_fault(&self) -> bool {
        matches!(self, Self::Broker(_) | Self::PauseServer { .. })
    }
}

impl Plan {
    pub(super) fn has(&self, hazard: Hazard) -> bool {
        self.hazards.contains(&hazard)
    }

    /// Whether no server and no broker fails.
    pub(super) fn is_calm(&self) -> bool {
        !self.steps.iter().any(|step| step.op.is_broker_fault() || matches!(step.op, Op::Stop { .. }))
    }

    /// Whether the broker does what it should.
    pub(super) fn has_sound_broker(&self) -> bool {
        !self.steps.iter().any(|step| step.op.is_broker_fault())
    }

    pub(super) fn of(seed: u64, hazards: &[Hazard]) -> Self {
        let mut random = Rng::with_seed(seed);
        let servers = random.usize(1..=4);
        let alone = servers == 1 && random.bool();
        let is_calm = random.u8(0..4) == 0;
        let clients = (0..random.usize(2..=6))
            .map(|_| ClientKind { resumes: random.u8(0..4) > 0, is_slow: random.u8(0..4) == 0 });
        let clients: Vec<_> = clients.collect();
        let mut plan = Self { seed, hazards: hazards.to_vec(), alone, servers, clients, steps: Vec::new() };
        let mut draw = Draw { random, plan: &plan, is_calm };
        let mut steps: Vec<_> = (0..plan.clients.len()).map(|client| draw.arrival(client)).collect();
        for _ in 0..draw.random.usize(30..120) {
            steps.push(draw.step());
        }
        plan.steps = steps;
        plan
    }

    /// A plan for brokers that do what they should, with one operation after the other.
    pub(super) fn sequential(seed: u64) -> Self {
        let mut plan = Self::of(seed, &[]);
        plan.alone = false;
        plan.steps.retain(|step| !step.op.is_broker_fault() && !matches!(step.op, Op::Stop { .. } | Op::Start { .. }));
        for step in &mut plan.steps {
            match &mut step.op {
                // Requests that are repeated together are answered in any order.
                Op::Forbid { client } => step.op = Op::Read { client: *client, frames: 0 },
                Op::Connect { noticed_after, .. } | Op::Cut { noticed_after, .. } => *noticed_after = 0,
                Op::Subscribe { slow, expires, .. } => (*slow, *expires) = (0, None),
                Op::Publish { cancel, .. } => *cancel = None,
                _ => {}
            }
        }
        for client in &mut plan.clients {
            client.is_slow = false;
        }
        // Everybody comes back.
        let back = (0..plan.clients.len()).map(|client| Op::Connect { client, server: 0, noticed_after: 0 });
        plan.steps.extend(back.map(|op| Step { op, pause: 0 }));
        plan
    }
}

struct Draw<'a> {
    random: Rng,
    plan: &'a Plan,
    is_calm: bool,
}

impl Draw<'_> {
    fn server(&mut self) -> usize {
        self.random.usize(..self.plan.servers)
    }

    fn client(&mut self) -> usize {
        self.random.usize(..self.plan.clients.len())
    }

    fn channel(&mut self) -> usize {
        self.random.usize(..CHANNELS.len())
    }

    fn channels(&mut self, most: usize) -> Vec<usize> {
        let count = if self.random.bool() { 1 } else { self.random.usize(1..=most) };
        let mut channels: Vec<_> = (0..count).map(|_| self.channel()).collect();
        channels.sort_unstable();
        channels.dedup();
        channels
    }

    /// A few milliseconds, or more now and then.
    fn millis(&mut self) -> u64 {
        match self.random.u8(0..10) {
            0..4 => 0,
            4..8 => self.random.u64(1..10),
            8 => self.random.u64(10..200),
            _ => self.random.u64(200..3000),
        }
    }

    fn arrival(&mut self, client: usize) -> Step {
        let server = self.server();
        Step { op: Op::Connect { client, server, noticed_after: 0 }, pause: 0 }
    }

    fn noticed_after(&mut self) -> u64 {
        if self.random.bool() { 0 } else { self.random.u64(1..15_000) }
    }

    fn step(&mut self) -> Step {
        let hazards = &self.plan.hazards;
        let hazard = self.random.choice(hazards).copied().filter(|_| self.random.bool());
        let provoked = hazard.and_then(|hazard| self.provoke(hazard));
        let op = provoked.unwrap_or_else(|| self.op());
        let pause = self.millis();
        Step { op, pause }
    }

    /// What makes a hazard likely.
    fn provoke(&mut self, hazard: Hazard) -> Option<Op> {
        let (client, server, channel) = (self.client(), self.server(), self.channel());
        let one = self.random.bool();
        let close = Op::Close { server, tag: self.random.usize(0..TAGS), cancel: None };
        let slow = self.random.u64(5..1000);
        let subscribe = |channel| Op::Subscribe { client, channels: vec![channel], slow, status: 200, expires: None };
        let op = match hazard {
            Hazard::LeaveWhileAsking if one => subscribe(channel % 2),
            Hazard::LeaveWhileAsking => Op::Unsubscribe { client, channel: channel % 2 },
            Hazard::FalsePosition => Op::Claim { server, channel, offset: self.random.u64(1..1_000_000) },
            Hazard::SharedHistory | Hazard::OrderOfStreams => {
                let channel = 4 + channel % 2;
                match self.random.u8(0..8) {
                    0..2 => Op::Subscribe { client, channels: vec![channel], slow: 0, status: 200, expires: None },
                    2..6 => Op::Publish { server, channels: vec![channel], except: None, cancel: None },
                    _ => Op::Connect { client, server, noticed_after: 0 },
                }
            }
            _ if self.is_calm || self.plan.alone => return None,
            Hazard::UnorderedAfterPause => match self.random.u8(0..6) {
                0 => Op::PauseServer { server: 0, millis: self.random.u64(2000..9000) },
                1 => close,
                2..4 => Op::Subscribe { client, channels: vec![channel], slow: 0, status: 200, expires: None },
                4 => Op::Connect { client, server: 0, noticed_after: 0 },
                _ => self.publish(server),
            },
            Hazard::SetBack => match self.random.u8(0..6) {
                0..2 => Op::Broker(Fault::Down { server, millis: self.random.u64(1..7000) }),
                2..4 => Op::Publish { server, channels: vec![6], except: None, cancel: None },
                4 => Op::Subscribe { client, channels: vec![6], slow: 0, status: 200, expires: None },
                _ => Op::Connect { client, server, noticed_after: 0 },
            },
            Hazard::Clocks => close,
            Hazard::Failback => {
                Op::Broker(Fault::FailOver { age: self.random.usize(0..3), millis: self.random.u64(1..300) })
            }
            Hazard::AskTwice if one => subscribe(2),
            Hazard::AskTwice if channel % 2 == 0 => Op::Broker(Fault::Evict { channel: 2 }),
            Hazard::AskTwice => Op::Publish { server, channels: vec![2], except: None, cancel: None },
            Hazard::SpoiledCommands if one => close,
            Hazard::SpoiledCommands => Op::Broker(Fault::Refuse { server }),
            Hazard::DebtAfterTurn | Hazard::StandardInOutage | Hazard::StopInDebt => {
                Op::Broker(Fault::Down { server, millis: self.random.u64(1..7000) })
            }
            _ => return None,
        };
        Some(op)
    }

    fn op(&mut self) -> Op {
        let (client, server, channel) = (self.client(), self.server(), self.channel());
        match self.random.u8(0..100) {
            0..36 => self.publish(server),
            36..56 => {
                let channels = self.channels(3);
                let slow = if self.random.bool() { 0 } else { self.millis() };
                let status = if self.random.u8(0..8) == 0 { 403 } else { 200 };
                let expires = (self.random.u8(0..6) == 0).then(|| self.random.u64(50..5000));
                Op::Subscribe { client, channels, slow, status, expires }
            }
            56..60 => Op::Unsubscribe { client, channel },
            60..68 => Op::Connect { client, server, noticed_after: self.noticed_after() },
            68..74 => Op::Cut { client, frames: self.random.usize(0..6), noticed_after: self.noticed_after() },
            74..78 => Op::Read { client, frames: self.random.usize(0..8) },
            78 => Op::Forbid { client },
            79 => Op::Add { client, channel, server },
            80 => Op::Remove { client, channel, server },
            81..83 => {
                let cancel = self.plan.has(Hazard::CancelledClosing).then(|| self.random.u64(0..20));
                Op::Close { server, tag: self.random.usize(0..TAGS), cancel }
            }
            _ if self.is_calm => self.publish(server),
            83..86 => Op::Stop { server, farewell: self.random.bool() },
            86..89 => Op::Start { server },
            89 if !self.plan.alone => Op::PauseServer { server, millis: self.random.u64(100..9000) },
            _ if !self.plan.alone => Op::Broker(self.fault(server, channel)),
            _ => self.publish(server),
        }
    }

    fn publish(&mut self, server: usize) -> Op {
        let mut channels = self.channels(3);
        // Nothing goes to a filtered channel and to others.
        if channels.len() > 1 {
            channels.retain(|channel| !CHANNELS[*channel].filtered);
        }
        let except = (self.random.u8(0..5) == 0).then(|| self.client());
        let cancel = (self.random.u8(0..10) == 0).then(|| self.random.u64(0..10));
        Op::Publish { server, channels, except, cancel }
    }

    fn fault(&mut self, server: usize, channel: usize) -> Fault {
        let count = self.random.usize(1..4);
        let millis = self.random.u64(1..7000);
        match self.random.u8(0..20) {
            0..4 => Fault::Down { server, millis },
            4..7 => Fault::Lose { server, count },
            7..9 => Fault::Repeat { server, count },
            9..11 => Fault::Late { server, count, millis: self.random.u64(1..60) },
            11..13 => Fault::Pause { millis },
            13..15 => Fault::Unknown { server, counted: self.random.bool() },
            15 => Fault::Refuse { server },
            16 => Fault::FailOver { age: self.random.usize(0..6), millis },
            17 => Fault::Restart { millis },
            18 => Fault::Evict { channel },
            _ => Fault::Trim { channel },
        }
    }
}

/// How many tags the sockets share.
pub(super) const TAGS: usize = 3;

pub(super) fn tag_name(tag: usize) -> String {
    format!("user:{tag}")
}
