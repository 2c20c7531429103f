//! Node's servers: `benches/node`, which npm installs.

use std::{path::Path, process::Command};

use crate::{backends, server::Server};

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");

/// Whether Node is there, with the packages that the servers need.
pub(super) fn installed() -> bool {
    if !backends::found("node") || !backends::found("npm") {
        return false;
    }
    if !Path::new(PACKAGE).join("node_modules/.package-lock.json").exists() {
        let arguments = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
        let installed = Command::new("npm").args(arguments).current_dir(PACKAGE).status().expect("npm runs");
        assert!(installed.success(), "npm installs benches/node");
    }
    true
}

pub(super) fn start(url: &str) -> Server {
    Server::of(Command::new("node").arg(format!("{PACKAGE}/server.js")).arg(url))
}
