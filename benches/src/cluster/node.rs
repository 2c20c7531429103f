//! Node's servers: `benches/node`, which npm installs.

use std::{path::Path, process::Command};

use crate::{backends, server::Server};

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");

/// Whether Node is there, with the packages that the servers need.
pub(super) fn installed() -> bool {
    backends::npm(Path::new(PACKAGE))
}

pub(super) fn start(url: &str) -> Server {
    Server::of(Command::new("node").arg(format!("{PACKAGE}/server.js")).arg(url))
}
