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
    directory: PathBuf,
    settings: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// An empty server.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed, like all of these if the server does not do as it is told.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// A server with settings, as on the command line of `redis-server`.
    pub fn with(settings: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("catamaran-redis-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("a directory");
        let port = free_port();
        let settings = settings.iter().map(|word| (*word).to_owned()).collect();
        let mut server = Self { port, directory, settings, process: None };
        server.run();
        server
    }

    /// Where it is, for `Redis::connect`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
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

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().and_then(|()| process.wait()).expect("it was running");
        }
    }

    /// Starts it again where it was, with what it last saved, if that is still there.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "it is running");
        let mut server = Command::new("redis-server");
        server.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--appendonly", "no"]);
        server.arg("--dir").arg(&self.directory).args(["--logfile", "redis.log"]).args(&self.settings);
        let process = server.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        self.process = Some(process.expect("redis-server is on the PATH: these tests need it, see scripts/test.sh"));
        until("redis-server", || self.try_ask(&["PING"]).is_some_and(|answer| answer == "PONG"));
    }

    /// Writes what it knows, to be found by the next [`run`](Self::run).
    pub fn save(&self) {
        assert_eq!(self.ask(&["SAVE"]), "OK");
    }

    /// Stands still, with all connections open.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Goes on.
    pub fn thaw(&self) {
        self.signal("CONT");
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
