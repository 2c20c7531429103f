//! A server under test: a process of its own, so that its CPU time and memory are its own.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A running server; dropping it ends the process.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(role: &str) -> Self {
        Self::of(Command::new(program()).args(["serve", role]))
    }

    /// A server that meets others at this URL.
    pub(crate) fn joined(role: &str, url: &str) -> Self {
        Self::of(Command::new(program()).args(["serve", role, url]))
    }

    /// A server of any program that prints its address.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a server process");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("the server's output");
        BufReader::new(stdout).read_line(&mut line).expect("the server's address");
        let address = line.trim().parse().expect("the server prints its address");
        Self { child, address }
    }

    /// The CPU time that all threads of the server have used.
    pub(crate) fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("Linux's /proc");
        threads
            .map(|thread| {
                on_cpu(&fs::read_to_string(thread.expect("a thread").path().join("schedstat")).expect("its time"))
            })
            .sum()
    }

    /// The resident memory of the server, in bytes.
    pub(crate) fn memory(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The most that `memory` was since `forget_peak`.
    pub(crate) fn peak(&self) -> f64 {
        self.status("VmHWM:")
    }

    pub(crate) fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("Linux's /proc");
    }

    /// A line of the kernel's about memory, in bytes.
    fn status(&self, name: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux's /proc");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a size");
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kibibytes * 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only if the server is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program, which serves, too.
pub(crate) fn program() -> PathBuf {
    std::env::current_exe().expect("the path of this program")
}

/// The CPU time that this thread has used.
pub(crate) fn own_cpu() -> Duration {
    on_cpu(&fs::read_to_string("/proc/thread-self/schedstat").expect("Linux's /proc"))
}

/// The first number of a `schedstat` file: nanoseconds on a CPU. The ticks of `stat` are too coarse.
fn on_cpu(schedstat: &str) -> Duration {
    let nanoseconds = schedstat.split_whitespace().next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number of nanoseconds"))
}
