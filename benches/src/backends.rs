//! What only some machines have; what is left out without it is said.

use std::process::{Command, Stdio};

use catamaran_tests::backends::{postgres, redis::RedisServer};

/// A Redis of this program's own.
pub(crate) fn redis() -> Option<RedisServer> {
    found("redis-server").then(RedisServer::start)
}

/// A Postgres of this program's own.
pub(crate) fn postgres() -> Option<postgres::Server> {
    said("Postgres", postgres::installed()).then(postgres::Server::start)
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
