//! Redis and Postgres of this program's own, where they are installed; otherwise it is said what is left out.

use std::process::{Command, Stdio};

use catamaran_tests::backends::redis::RedisServer;

pub(crate) fn redis() -> Option<RedisServer> {
    found("redis-server").then(RedisServer::start)
}

/// Whether this program can be started.
pub(crate) fn found(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        println!("  without {program}, which is not installed");
    }
    found
}
