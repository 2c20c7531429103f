//! Many sockets at once, a fifth of which read slowly or not at all, in each of the ways there are: the others miss
//! nothing, each of the fifth is served or cut off as docs/guarantees.md has it, and what waits for them is bounded.

use std::{future::Future, net::SocketAddr, time::Duration};

use serde::Deserialize;
use tokio::{
    process::Command,
    sync::watch,
    task::JoinSet,
    time::{interval, timeout},
};

use crate::{
    process::Process,
    readers::{Poller, number, slow_line, subscribe},
    support::{Client, Eio, Packet, get, http, post, within},
};

/// Says how many sockets there are, 200 unless set; 2,000 took 20 s on four cores without optimizations, and the server up to
/// 55 MiB for the 400 that were slow.
const SOCKETS: &str = "CATAMARAN_CROWD";
/// How many bytes may wait for a socket.
const LIMIT: usize = 64 * 1024;
/// How often the heartbeat asks, and how long it waits. The other tests of this binary want the same processors, and no
/// client is slow because it has none.
const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(3);
/// A text that a slow line brings within a second, and one that fills what may wait.
const SMALL: usize = 50;
const LARGE: usize = 16 * 1024;
/// What the kernel takes for a socket that reads nothing, on both sides of the connection, and what is in the writer's
/// hands.
const KERNEL: usize = 1024 * 1024;

/// How many connect at once: a heartbeat does not wait for a server with more to do.
const GROUP: usize = 50;

/// In which way a socket is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Answers pings, and reads nothing.
    Deaf,
    /// Reads all of it, 1,000 bytes a second.
    Slow,
    /// Does nothing any more.
    Frozen,
    /// Answers pings, and polls no more.
    Poller,
    /// Began by long-polling, and reads nothing of its websocket.
    Upgraded,
}

const KINDS: [Kind; 5] = [Kind::Deaf, Kind::Slow, Kind::Frozen, Kind::Poller, Kind::Upgraded];

/// Who is there, as the server sees it.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Census {
    sockets: usize,
    subscribed: usize,
    slow: u64,
    ended: usize,
}

/// A server, and sockets that read all the time.
struct Crowd {
    process: Process,
    published: u64,
    readers: Vec<watch::Receiver<u64>>,
    _reading: JoinSet<()>,
}

impl Crowd {
    /// In groups, each of which hears an event before the next one comes: so none is idle for long, and each has room for
    /// such an event before anybody measures.
    async fn gather(sockets: usize) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crowd-app"));
        command.args([LIMIT as u128, INTERVAL.as_millis(), TIMEOUT.as_millis()].map(|number| number.to_string()));
        // What an allocator keeps for one thread is of no use to another, and would look like a leak.
        command.env("MALLOC_ARENA_MAX", "1");
        let process = Process::start(&mut command).await;
        let mut crowd = Self { process, published: 0, readers: Vec::new(), _reading: JoinSet::new() };
        while crowd.readers.len() < sockets {
            let group = GROUP.min(sockets - crowd.readers.len());
            for _ in 0..group {
                let (address, count) = (crowd.process.address, watch::Sender::new(crowd.published));
                crowd.readers.push(count.subscribe());
                crowd._reading.spawn(async move {
                    let mut client = open(address).await;
                    read(&mut client, &count).await;
                });
            }
            let subscribed = crowd.readers.len();
            within("the group", crowd.census(|census| census.subscribed == subscribed)).await;
            crowd.publish(LARGE).await;
        }
        crowd
    }

    /// Publishes an event, and waits until all readers have it.
    async fn publish(&mut self, bytes: usize) {
        self.tell(bytes).await;
        for reader in &mut self.readers {
            served(reader, self.published).await;
        }
    }

    async fn tell(&mut self, bytes: usize) {
        let answer = http(self.process.address, &post(format!("/news/{bytes}"), "")).await;
        assert_eq!(answer.status, 200);
        self.published += 1;
    }

    async fn look(&self) -> Census {
        let answer = http(self.process.address, &get("/census")).await;
        serde_json::from_value(answer.json()).expect("a census")
    }

    /// Looks again and again until the census is so.
    async fn census(&self, so: impl Fn(&Census) -> bool) {
        let mut pause = interval(Duration::from_millis(20));
        while !so(&self.look().await) {
            pause.tick().await;
        }
    }

    /// What the server's process has in KiB, and the most it ever had; nothing where the kernel does not tell.
    fn memory(&self) -> (usize, usize) {
        if !cfg!(target_os = "linux") {
            return (0, 0);
        }
        let id = self.process.child.id().expect("a process that runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("Linux");
        let size = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a size");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        (size("VmRSS:"), size("VmHWM:"))
    }

    /// Publishes what a slow line can bring, and waits until the frozen are gone, and nobody else is.
    async fn outlast_the_frozen(&mut self, fifth: &mut Fifth) {
        fifth.frozen.send_replace(true);
        let before = self.look().await;
        for _ in 0..10 {
            self.publish(SMALL).await;
            for reader in &mut fifth.readers {
                served(reader, self.published).await;
            }
        }
        let left = before.subscribed - fifth.each;
        in_time("the end of the frozen", self.census(|census| census.subscribed == left)).await;
        assert_eq!(self.look().await.slow, before.slow);
    }

    /// Publishes until nobody but the readers is left, but no more than can wait for a socket anywhere.
    async fn flood(&mut self) {
        let mut bytes = 0;
        while bytes < LIMIT + KERNEL && self.look().await.subscribed > self.readers.len() {
            self.publish(LARGE).await;
            bytes += LARGE;
        }
    }

    /// Waits until the server knows of the readers alone, and has told the application so of `ended` others.
    async fn is_left_alone(&mut self, ended: usize) {
        let readers = self.readers.len();
        let alone = |census: &Census| (census.sockets, census.subscribed, census.ended) == (readers, readers, ended);
        in_time("the end of the slow", self.census(alone)).await;
        self.publish(SMALL).await;
    }
}

async fn open(address: SocketAddr) -> Client {
    let mut client = Client::open(address, "/socket.io", Eio::V4, &[]).await;
    client.enter().await;
    subscribe(&mut client).await;
    client
}

/// Reads events in order, until the connection ends.
async fn read(client: &mut Client, count: &watch::Sender<u64>) {
    loop {
        match client.next().await {
            Packet::Closed => return,
            packet => assert_eq!(number(&packet), *count.borrow()),
        }
        count.send_modify(|count| *count += 1);
    }
}

async fn served(reader: &mut watch::Receiver<u64>, published: u64) {
    let read = within("a reader", reader.wait_for(|count| *count == published)).await;
    read.expect("a reader that is not cut off");
}

/// Sockets of all kinds, as many of each.
struct Fifth {
    each: usize,
    /// Those of the slow lines.
    readers: Vec<watch::Receiver<u64>>,
    /// Whether the frozen ones are; without a sender they thaw.
    frozen: watch::Sender<bool>,
    living: JoinSet<()>,
}

impl Fifth {
    async fn join(crowd: &Crowd, each: usize) -> Self {
        let mut fifth = Self { each, readers: Vec::new(), frozen: watch::Sender::new(false), living: JoinSet::new() };
        for (number, kind) in KINDS.repeat(each).into_iter().enumerate() {
            let count = watch::Sender::new(crowd.published);
            if kind == Kind::Slow {
                fifth.readers.push(count.subscribe());
            }
            fifth.living.spawn(live(kind, crowd.process.address, count, fifth.frozen.subscribe()));
            let subscribed = crowd.readers.len() + number + 1;
            if subscribed.is_multiple_of(GROUP) || number + 1 == each * KINDS.len() {
                within("the group", crowd.census(|census| census.subscribed == subscribed)).await;
            }
        }
        fifth
    }

    /// Thaws the frozen, and waits until they and all that are stuck have seen that their connections are over.
    async fn end(self) {
        drop(self.frozen);
        within("the ends of connections", self.living.join_all()).await;
    }
}

/// Is a client of this kind, for as long as the server lets it.
async fn live(kind: Kind, address: SocketAddr, count: watch::Sender<u64>, mut frozen: watch::Receiver<bool>) {
    match kind {
        Kind::Deaf => answer_pings(open(address).await).await,
        Kind::Slow => {
            let (address, _line) = slow_line(address).await;
            let mut client = open(address).await;
            // Where the heartbeat ended it, the kernel still sends what it had taken, at this pace.
            tokio::select! {
                () = read(&mut client, &count) => {}
                () = thaw(&mut frozen) => {}
            }
        }
        Kind::Frozen => {
            let mut client = open(address).await;
            tokio::select! {
                is_frozen = frozen.wait_for(|frozen| *frozen) => drop(is_frozen.expect("a sender")),
                packet = client.next() => panic!("{packet:?} before the frost"),
            }
            thaw(&mut frozen).await;
            while client.next().await != Packet::Closed {}
        }
        Kind::Poller => {
            let poller = Poller::subscribe(address).await;
            let mut pause = interval(INTERVAL / 2);
            while poller.send("3").await.status == 200 {
                pause.tick().await;
            }
        }
        Kind::Upgraded => {
            let poller = Poller::subscribe(address).await;
            answer_pings(Client::upgrade(address, &poller.session).await).await;
        }
    }
}

/// Waits until nobody says any more who is frozen.
async fn thaw(frozen: &mut watch::Receiver<bool>) {
    while frozen.changed().await.is_ok() {}
}

/// Answers pings without having read them.
async fn answer_pings(mut client: Client) {
    let mut pause = interval(INTERVAL / 2);
    while client.try_send("3".into()).await {
        pause.tick().await;
    }
}

/// No later than is promised of the heartbeat.
async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    timeout(INTERVAL + TIMEOUT + Duration::from_secs(5), future)
        .await
        .unwrap_or_else(|_| panic!("{what} came too late"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_in_a_crowd_notice_nothing_of_those_that_are_slow() {
    let sockets: usize = std::env::var(SOCKETS).map_or(200, |sockets| sockets.parse().expect("a number of sockets"));
    let each = sockets / 5 / KINDS.len();
    let slow = each * KINDS.len();
    // For each of them what may wait, the event that is too much and the one that is being written; and the socket itself,
    // without optimizations. What the kernel holds does not count here, but `flood` ends at that.
    let bound = slow * ((LIMIT + 2 * LARGE) / 1024 + 64) + 4096;

    let mut crowd = Crowd::gather(sockets - slow).await;
    let (mut figures, mut ends) = (Vec::new(), JoinSet::new());
    for round in 1..=2 {
        let mut fifth = Fifth::join(&crowd, each).await;
        figures.push(crowd.memory());
        crowd.outlast_the_frozen(&mut fifth).await;
        crowd.flood().await;
        let (before, most) = (figures[0].0, crowd.memory().1);
        assert!(most <= before + bound, "{most} KiB after {before}, where {bound} more are allowed");
        crowd.is_left_alone(round * slow).await;
        // Those on slow lines may have been ended by the heartbeat, if the flood was slower than it.
        assert!(crowd.look().await.slow >= (round * 3 * each) as u64);
        ends.spawn(fifth.end());
    }
    figures.push(crowd.memory());
    println!("KiB, and at most, before the first, the second and after the second crowd of {slow}: {figures:?}");
    // The second crowd got by with what the first one left: this is less than what may wait for each.
    assert!(figures[2].0 <= figures[1].0 + bound / 4, "{figures:?}");
    ends.join_all().await;
    crowd.publish(SMALL).await;
}
