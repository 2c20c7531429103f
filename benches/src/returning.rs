//! Thousands of clients that lost their connections at once come back at once.

use std::{sync::Arc, time::Instant};

use futures_util::{StreamExt, stream};
use tokio::net::TcpStream;

use crate::{
    client::{Socket, affordable},
    rounds::{Plan, Rounds, Side},
    server::Server,
};

/// How many of them are in the middle of connecting; more would only wait for the kernel's queue of connections.
const AT_ONCE: usize = 256;
/// A client is two files of the server's for a moment, until the end of its old connection is noticed.
const FILES_EACH: usize = 2;

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
    let clients = affordable(wanted, FILES_EACH);
    // Each storm starts a new process, since an allocator keeps what it once had.
    let plan = Plan { rounds: plan.rounds.min(5), ..plan };
    for (how, what) in [(Return::Recovered, "recovered"), (Return::Gap, "gap")] {
        let (mut ours, mut twin) = (Vec::new(), Vec::new());
        let rounds = Rounds::measure(plan, async |side| {
            let figures = match side {
                Side::Catamaran => &mut ours,
                Side::Twin => &mut twin,
            };
            let storm = storm(if let Side::Twin = side { Return::Twin } else { how }, clients).await;
            let cpu = storm.cpu;
            figures.push(storm);
            cpu
        });
        rounds.await.print_ratio(&format!("{clients} clients, {what}, each"), "µs");
        let both = |of: fn(&Storm) -> f64| Rounds::of(ours.iter().map(of).collect(), twin.iter().map(of).collect());
        both(|storm| storm.time).print_ratio(&format!("{clients} clients, {what}, all"), "ms");
        both(|storm| storm.peak).print_ratio(&format!("{clients} clients, {what}, peak"), "MiB");
    }
}

/// What it cost that all came back.
struct Storm {
    /// Milliseconds until the last one had its answer.
    time: f64,
    /// Microseconds of the server's CPU per client.
    cpu: f64,
    /// The most memory that the server had meanwhile, in MiB.
    peak: f64,
}

async fn storm(how: Return, clients: usize) -> Storm {
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

    server.forget_peak();
    let (cpu, start) = (server.cpu(), Instant::now());
    let again = stream::iter(0..clients).map(|number| arrive(&server, how, number, Some(&position)));
    let again: Vec<_> = again.buffer_unordered(AT_ONCE).collect().await;
    let storm = Storm {
        time: start.elapsed().as_secs_f64() * 1e3,
        cpu: (server.cpu() - cpu).as_secs_f64() * 1e6 / clients as f64,
        peak: server.peak() / 1024.0 / 1024.0,
    };
    // The sockets first, since they take the end of their server for a failure.
    drop(again);
    storm
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
    assert_eq!(ack.starts_with(r#"[{"body":["#), outcome != "recovered", "who missed nothing is spared the lines");
    (socket, Some(format!("[{},{}]", said[0], said[1])))
}
