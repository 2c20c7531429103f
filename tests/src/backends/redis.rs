//! A Redis server of a test's own, on a free port of this machine, that can be treated badly.

use std::{
    env, fs,
    net::TcpListener,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a server may take to do what it is told.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at whether it has.
const PAUSE: Duration = Duration::from_millis(10);

/// A server that runs as long as this value lives.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    /// The port for the other servers of its cluster, if it has one.
    cluster_port: Option<u16>,
    directory: PathBuf,
    process: Option<Child>,
}

impl RedisServer {
    /// An empty server.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed, like all of these if the server does not do as it is told.
    pub fn start() -> Self {
        Self::new(false)
    }

    fn new(in_cluster: bool) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("catamaran-redis-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("a directory");
        let mut server = Self { port: 0, cluster_port: None, directory, process: None };
        until("a redis-server on a free port", || {
            // Somebody may take a port before the server does.
            server.port = free_port();
            server.cluster_port = in_cluster.then(free_port);
            server.try_run()
        });
        server
    }

    /// Where it is, for `Redis::connect`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command, and returns what `redis-cli` prints.
    pub fn ask(&self, command: &[&str]) -> String {
        let answer = self.try_ask(command);
        answer.unwrap_or_else(|| panic!("{} answers", self.url()))
    }

    fn try_ask(&self, command: &[&str]) -> Option<String> {
        let mut client = Command::new("redis-cli");
        client.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).args(command);
        let output = client.output().expect("redis-cli is installed with redis-server");
        let text = String::from_utf8(output.stdout).expect("text").trim_end().to_owned();
        (output.status.success() && !text.starts_with("Could not connect")).then_some(text)
    }

    /// Closes the connections of all subscribers, and waits until as many have connected again.
    ///
    /// A server that has connected again knows that it was cut.
    pub fn cut_subscribers(&self) {
        let count = || self.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).lines().count();
        let before = count();
        self.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        until("subscribers of Redis", || count() == before);
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().and_then(|()| process.wait()).expect("it was running");
        }
    }

    /// Starts it again where it was, with what it last saved.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "it is running");
        until("redis-server", || self.try_run());
    }

    /// False if it cannot have its port.
    fn try_run(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(&self.directory).args(["--logfile", "redis.log"]);
        if let Some(port) = self.cluster_port {
            command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]);
            command.args(["--cluster-port", &port.to_string()]);
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut process = process.expect("redis-server is on the PATH: these tests need it, see scripts/test.sh");
        let mark = format!("process_id:{}\r", process.id());
        let mut ended = false;
        until("redis-server", || {
            ended = process.try_wait().expect("it was started").is_some();
            ended || self.try_ask(&["INFO", "server"]).is_some_and(|info| info.contains(&mark))
        });
        self.process = (!ended).then_some(process);
        !ended
    }

    /// Writes what it knows, to be found by the next [`run`](Self::run).
    pub fn save(&self) {
        assert_eq!(self.ask(&["SAVE"]), "OK");
    }

    /// Copies another server from now on, instead of what it knew.
    pub fn replicate(&self, master: &Self) {
        assert_eq!(self.ask(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]), "OK");
        until("a replica", || self.ask(&["INFO", "replication"]).contains("master_link_status:up"));
    }

    /// Is a master again, with what it copied.
    pub fn promote(&self) {
        assert_eq!(self.ask(&["REPLICAOF", "NO", "ONE"]), "OK");
    }

    /// Stands still, with all connections open.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Goes on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Cannot save any more, and therefore takes no writes.
    pub fn break_disk(&self) {
        fs::remove_dir_all(&self.directory).expect("the directory is there");
        assert_eq!(self.ask(&["CONFIG", "SET", "save", "3600 1"]), "OK");
        self.ask(&["BGSAVE"]);
        until("a failed save", || self.ask(&["INFO", "persistence"]).contains("rdb_last_bgsave_status:err"));
    }

    /// Takes writes although it cannot save.
    pub fn ignore_disk(&self) {
        assert_eq!(self.ask(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]), "OK");
    }

    /// Takes no more than it has.
    pub fn fill_up(&self) {
        assert_eq!(self.ask(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    }

    /// Takes as much as there is.
    pub fn make_room(&self) {
        assert_eq!(self.ask(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    }

    fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("it is running").id().to_string();
        let done = Command::new("kill").args(["-s", name, &process]).status().expect("kill");
        assert!(done.success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It is only to be gone.
            let _ = process.kill().and_then(|()| process.wait());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Three masters, and a replica of the one that has the slot of a key.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters.
    pub masters: Vec<RedisServer>,
    /// Which of the masters has the slot.
    pub owner: usize,
    /// The replica of that one.
    pub replica: RedisServer,
}

impl RedisCluster {
    /// A cluster whose replica is that of the master that has a key.
    pub fn start(key: &str) -> Self {
        const RANGES: [[&str; 2]; 3] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];
        let masters: Vec<_> = RANGES.iter().map(|_| RedisServer::new(true)).collect();
        let replica = RedisServer::new(true);
        for (number, (master, [first, last])) in masters.iter().zip(RANGES).enumerate() {
            master.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            assert_eq!(master.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "OK");
        }
        for other in masters[1..].iter().chain([&replica]) {
            let [port, cluster_port] = [Some(other.port), other.cluster_port].map(Option::unwrap_or_default);
            let met = ["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &cluster_port.to_string()];
            assert_eq!(masters[0].ask(&met), "OK");
        }
        let all = || masters.iter().chain([&replica]);
        let knows_all = |server: &RedisServer| {
            let info = server.ask(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:4")
        };
        until("a cluster", || all().all(knows_all));
        let slot: u16 = replica.ask(&["CLUSTER", "KEYSLOT", key]).parse().expect("a number");
        let owner = RANGES.iter().position(|[_, last]| slot <= last.parse().expect("a number")).expect("a range");
        let id = masters[owner].ask(&["CLUSTER", "MYID"]);
        assert_eq!(replica.ask(&["CLUSTER", "REPLICATE", &id]), "OK");
        until("a replica", || replica.ask(&["INFO", "replication"]).contains("master_link_status:up"));
        let knows_replica = |server: &RedisServer| server.ask(&["CLUSTER", "REPLICAS", &id]).contains("connected");
        until("a known replica", || all().all(knows_replica));
        Self { masters, owner, replica }
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        thread::sleep(PAUSE);
    }
}
