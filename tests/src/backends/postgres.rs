//! A Postgres server, as long as its value lives.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, chown},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use tokio_postgres::{Client, NoTls};

const PATIENCE: Duration = Duration::from_secs(30);

/// Whether it can be started.
pub fn installed() -> bool {
    binaries().is_some()
}

/// A server with a cluster of its own in a temporary directory.
#[derive(Debug)]
pub struct Server {
    directory: PathBuf,
    port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// One with the settings of a new cluster.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// One with some settings: `max_connections=10`.
    ///
    /// # Panics
    ///
    /// If Postgres is not installed, or does not start.
    pub fn with(settings: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("catamaran-postgres-{}-{number}", std::process::id()));
        fs::create_dir(&directory).expect("a directory of its own");
        if let Some((user, group)) = unprivileged() {
            chown(&directory, Some(user), Some(group)).expect("root may give a directory away");
        }
        let made = program("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(directory.join("data"))
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success(), "initdb makes a cluster");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut server = Self { directory, port, settings, process: None };
        server.run();
        server
    }

    /// What connects to it.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// What connects to another database of it.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A connection for the test itself.
    pub async fn client(&self) -> Client {
        self.client_of("postgres").await
    }

    /// A connection for the test itself, to another database.
    ///
    /// # Panics
    ///
    /// If the server does not take it.
    pub async fn client_of(&self, database: &str) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.url_of(database), NoTls).await.expect("the server runs");
        tokio::spawn(connection);
        client
    }

    /// Starts it again on the same port, and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// If it does not within half a minute.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut process = self.command().spawn().expect("postgres runs");
            while Instant::now() < deadline && process.try_wait().expect("it is a child").is_none() {
                if self.is_ready() {
                    self.process = Some(process);
                    return;
                }
                sleep(Duration::from_millis(20));
            }
            // After a crash it does not start before the last process of its former life is gone.
            sleep(Duration::from_millis(100));
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("postgres does not start: {}", fs::read_to_string(self.log()).unwrap_or_default());
    }

    /// Stops it properly; its connections are ended.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// Ends all of its processes at once.
    pub fn crash(&mut self) {
        self.end("KILL");
    }

    /// Stops all of its processes where they are.
    pub fn freeze(&self) {
        signal("STOP", &self.processes());
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        signal("CONT", &self.processes());
    }

    fn command(&self) -> Command {
        let mut command = program("postgres");
        command.arg("-D").arg(self.directory.join("data")).args(["-p", &self.port.to_string()]);
        // What it shares in memory is in its directory too: nothing is left of a server that was killed.
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "logging_collector=off",
            "dynamic_shared_memory_type=mmap",
        ] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = fs::File::create(self.log()).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn is_ready(&self) -> bool {
        fs::read_to_string(self.log()).is_ok_and(|log| log.contains("ready to accept connections"))
    }

    /// The first process and its children.
    fn processes(&self) -> Vec<u32> {
        let parent = self.process.as_ref().expect("it runs").id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        std::iter::once(parent).chain(children).collect()
    }

    fn end(&mut self, how: &str) {
        let all = self.processes();
        signal(how, if how == "KILL" { &all } else { &all[..1] });
        let mut process = self.process.take().expect("it runs");
        process.wait().expect("it is a child");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.crash();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A program of Postgres, which does not run as root.
fn program(name: &str) -> Command {
    let path = binaries().expect("Postgres is installed (on Debian: apt-get install postgresql)").join(name);
    match unprivileged() {
        None => Command::new(path),
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
            command.arg(path);
            command
        }
    }
}

/// The directory with the programs of the server: Debian has one for each version, outside of `PATH`.
fn binaries() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    env::split_paths(&path).chain(versions).find(|directory| directory.join("initdb").exists())
}

/// The user and the group that run Postgres for root.
fn unprivileged() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").expect("Linux").uid() != 0 {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let postgres = passwd.lines().find(|line| line.starts_with("postgres:")).expect("a user postgres");
    let mut ids = postgres.split(':').skip(2).map_while(|id| id.parse().ok());
    ids.next().zip(ids.next())
}

fn signal(name: &str, processes: &[u32]) {
    let ids = processes.iter().map(u32::to_string);
    // One of them may be gone by now.
    let _ = Command::new("kill").arg(format!("-{name}")).args(ids).stderr(Stdio::null()).status();
}
