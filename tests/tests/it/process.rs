//! A server in a process of its own.

use std::{net::SocketAddr, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::support::within;

/// A binary of this package that says where it listens; it ends with this value, at the latest.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl Process {
    pub(crate) async fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = within("the server", lines.next_line()).await.expect("text").expect("a line");
        let address = line.strip_prefix("listening on http://").and_then(|address| address.parse().ok());
        Self { child, lines, address: address.expect("an address") }
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("a process that runs").to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().await.expect("kill");
        assert!(status.success());
    }

    pub(crate) async fn end(mut self) {
        let status = within("the end of the process", self.child.wait()).await.expect("a process");
        assert!(status.success(), "{status}");
    }
}
