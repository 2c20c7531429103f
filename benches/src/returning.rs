//! Thousands of clients that lost their connections at once come back at once.

use std::{fs, sync::Arc, time::Instant};

use futures_util::{StreamExt, stream};
use tokio::net::TcpStream;

use crate::{client::Socket, rounds::Plan, server::Server};

/// How many of them are in the middle of connecting; more would only wait for the kernel's queue of connections.
const AT_ONCE: usize = 256;

/// How a client comes back.
#[derive(Clone, Copy)]
enum Return {
    /// To catamaran, with a position that is still good: the action is spared its reads.
    Recovered,
    /// To catamaran, with a position of another epoch: it gets everything anew.
    Gap,
    /// To bare socketioxide: it joins its room, and is told a constant.
    Twin,
}

pub(crate) async fn run(plan: Plan) {
    let wanted = if plan.smoke { 50 } else { 5_000 };
    // Each client is a file of this process, and a file of the server's.
    let clients = wanted.min(open_files().saturating_sub(200));
    if clients < wanted {
        println!("  only {clients} clients: `ulimit -n` allows no more");
    }
    for (how, what) in [(Return::Recovered, "recovered"), (Return::Gap, "gap"), (Return::Twin, "by hand")] {
        let mut figures = Vec::new();
        for _ in 0..plan.rounds.min(3) {
            figures.push(storm(how, clients).await);
        }
        figures.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let Figures { seconds, cpu, memory } = figures[figures.len() / 2];
        println!(
            "  {clients} clients, {what:<12} all back in {seconds:.2} s, server {cpu:>6.1} µs each, {memory:>6.1} MiB"
        );
    }
}

struct Figures {
    seconds: f64,
    /// Microseconds of the server per client.
    cpu: f64,
    /// The server's memory when all are back.
    memory: f64,
}

async fn storm(how: Return, clients: usize) -> Figures {
    let server = Server::start(match how {
        Return::Twin => "socketioxide",
        Return::Recovered | Return::Gap => "catamaran",
    });
    let first = stream::iter(0..clients).map(|number| arrive(&server, how, number, None)).buffer_unordered(AT_ONCE);
    let first: Vec<(Socket<TcpStream>, Option<String>)> = first.collect().await;
    let position: Arc<str> = match how {
        Return::Recovered => first[0].1.clone().expect("a position").into(),
        Return::Gap | Return::Twin => r#"["another!",7]"#.into(),
    };
    drop(first);

    let (cpu, start) = (server.cpu(), Instant::now());
    let again = stream::iter(0..clients).map(|number| arrive(&server, how, number, Some(&position)));
    let again: Vec<_> = again.buffer_unordered(AT_ONCE).collect().await;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = (server.cpu() - cpu).as_secs_f64() * 1e6 / clients as f64;
    let memory = server.memory() / 1024.0 / 1024.0;
    // The sockets first, since they take the end of their server for a failure.
    drop(again);
    Figures { seconds, cpu, memory }
}

/// Connects and subscribes; gives the position that the ack tells.
async fn arrive(
    server: &Server,
    how: Return,
    number: usize,
    position: Option<&str>,
) -> (Socket<TcpStream>, Option<String>) {
    let client = format!("a secret of client {number:06}");
    if let Return::Twin = how {
        let mut socket = Socket::connect(server.address).await;
        socket.request(r#"["watch",{}]"#).await;
        return (socket, None);
    }
    let mut socket = Socket::connect_as(server.address, &client).await;
    let resume = position.map(|position| format!(r#","resume":{{"log":{position}}}"#)).unwrap_or_default();
    let ack = socket.request(&format!(r#"["get",{{"url":"/lines"{resume}}}]"#)).await;
    let outcome = match (how, position) {
        (_, None) => "fresh",
        (Return::Recovered, _) => "recovered",
        _ => "gap",
    };
    let channels = ack.split_once(r#""channels":{"log":["#).expect("what became of the subscription").1;
    let said: Vec<&str> = channels.split([',', ']']).take(3).collect();
    assert_eq!(said[2], format!("\"{outcome}\""));
    (socket, Some(format!("[{},{}]", said[0], said[1])))
}

/// How many files this process may have open.
fn open_files() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux's /proc");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit of open files");
    line.split_whitespace().nth(3).and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX)
}
