//! Another process, which is killed.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The database of the other process.
const URL: &str = "CATAMARAN_TEST_URL";

/// A process that writes until it is killed, and says `wrote` each time.
pub(crate) struct Other {
    process: Child,
    wrote: UnboundedReceiver<()>,
}

impl Other {
    /// Starts an ignored test, which [`run`]s, as a process of its own.
    pub(crate) fn start(test: &str, url: &str) -> Self {
        let mut process = Command::new(env::current_exe().expect("a test"))
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(URL, url)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let (sender, wrote) = unbounded_channel();
        let output = BufReader::new(process.stdout.take().expect("its output"));
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if line == "wrote" && sender.send(()).is_err() {
                    return;
                }
            }
        });
        Self { process, wrote }
    }

    pub(crate) async fn has_written(&mut self, times: u64) {
        for _ in 0..times {
            tokio::time::timeout(Duration::from_secs(60), self.wrote.recv())
                .await
                .expect("it writes")
                .expect("it runs");
        }
    }

    /// Ends it where it stands.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ended");
    }
}

/// What the other process does, on the database that it was started with.
pub(crate) fn run(work: impl AsyncFnOnce(String)) {
    let url = env::var(URL).expect("a database");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(work(url));
}
