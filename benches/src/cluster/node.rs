//! Node's servers: `benches/node`, which npm installs.

use std::{path::Path, process::Command};

use crate::backends;

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");

/// Whether Node is there; says so if not.
pub(super) fn installed() -> bool {
    if !backends::installed("node") || !backends::installed("npm") {
        println!("  without Node's servers, since node and npm are not installed");
        return false;
    }
    if !Path::new(PACKAGE).join("node_modules/.package-lock.json").exists() {
        let arguments = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
        let installed = Command::new("npm").args(arguments).current_dir(PACKAGE).status().expect("npm runs");
        assert!(installed.success(), "npm installs benches/node");
    }
    true
}

pub(super) fn command(url: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(format!("{PACKAGE}/server.js")).arg(url);
    command
}
