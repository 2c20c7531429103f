//! What catamaran costs, beside the same server written by hand: `cargo run --release -p catamaran-benches`.
//!
//! Names choose benches (`socket http`); `--smoke` only asserts that every answer is right. The figures and what they
//! include: docs/performance.md.

mod backends;
mod client;
mod cluster;
mod crowd;
mod fanout;
mod http;
mod idle;
mod inside;
mod publish;
mod records;
mod returning;
mod revoke;
mod rounds;
mod serve;
mod server;
mod socket;
mod start;

use std::time::Duration;

use rounds::Plan;
use tokio::runtime::Runtime;

const BENCHES: [&str; 12] = [
    "socket",
    "http",
    "records",
    "inside",
    "publish",
    "idle",
    "fanout",
    "crowd",
    "cluster",
    "revoke",
    "returning",
    "start",
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, role, url @ ..] = &args[..]
        && serve == "serve"
    {
        return serve::run(role, url.first().map_or("", String::as_str));
    }

    let smoke = args.iter().any(|arg| arg == "--smoke");
    let mut chosen: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--smoke").collect();
    if let Some(unknown) = chosen.iter().find(|name| !BENCHES.contains(name)) {
        eprintln!("there is no bench `{unknown}`; there are: {}", BENCHES.join(", "));
        std::process::exit(2);
    }
    if chosen.is_empty() {
        chosen.extend(BENCHES);
    }

    let plan = if smoke {
        Plan { smoke, rounds: 1, time: Duration::from_millis(50) }
    } else {
        Plan { smoke, rounds: 9, time: Duration::from_millis(400) }
    };
    let runtime = Runtime::new().expect("a runtime for the clients");
    for name in chosen {
        println!("\n{name}");
        match name {
            "socket" => runtime.block_on(socket::run(plan)),
            "http" => runtime.block_on(http::run(plan)),
            "records" => runtime.block_on(records::run(plan)),
            "inside" => inside::run(plan),
            "publish" => publish::run(plan),
            "idle" => runtime.block_on(idle::run(plan)),
            "fanout" => runtime.block_on(fanout::run(plan)),
            "crowd" => runtime.block_on(crowd::run(plan)),
            "cluster" => runtime.block_on(cluster::run(plan)),
            "revoke" => runtime.block_on(revoke::run(plan)),
            "returning" => runtime.block_on(returning::run(plan)),
            _ => runtime.block_on(start::run(plan)),
        }
    }
}
