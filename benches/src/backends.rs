//! What only some machines have; what is left out without it is said.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use catamaran_tests::backends::{postgres, redis::RedisServer};

/// A Redis of this program's own.
pub(crate) fn redis() -> Option<RedisServer> {
    found("redis-server").then(RedisServer::start)
}

/// A Postgres of this program's own.
pub(crate) fn postgres() -> Option<postgres::Server> {
    has_postgres().then(postgres::Server::start)
}

/// Whether Postgres is there.
pub(crate) fn has_postgres() -> bool {
    said("Postgres", postgres::installed())
}

/// Whether Node is there, with what a package of this folder needs, which npm installs.
pub(crate) fn npm(package: &Path) -> bool {
    if !found("node") || !found("npm") {
        return false;
    }
    if !package.join("node_modules/.package-lock.json").exists() {
        let arguments = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
        let installed = Command::new("npm").args(arguments).current_dir(package).status().expect("npm runs");
        assert!(installed.success(), "npm installs {}", package.display());
    }
    true
}

/// Whether this program can be started.
pub(crate) fn found(program: &str) -> bool {
    said(program, Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok())
}

fn said(what: &str, found: bool) -> bool {
    if !found {
        println!("  without {what}, which is not installed");
    }
    found
}
