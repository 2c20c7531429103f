//! All sockets of a user are closed by a server that has none of them.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use crate::{
    backends::{postgres, redis},
    client::{Socket, affordable},
    rounds::{Plan, percentile},
    server::Server,
};

/// How many of them are in the middle of connecting.
const AT_ONCE: usize = 256;
/// A socket that is still open by then was not closed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(plan: Plan) {
    let (sockets, rounds) = if plan.smoke { (20, 2) } else { (affordable(1_000, 1), 100) };
    if let Some(redis) = redis() {
        Cluster::start("catamaran-redis", &redis.url()).measure("Redis", sockets, rounds).await;
    }
    if let Some(postgres) = postgres() {
        Cluster::start("catamaran-postgres", &postgres.url()).measure("Postgres", sockets, rounds).await;
    }
}

/// Two servers that meet somewhere.
struct Cluster {
    /// Where the user's sockets are closed.
    revoking: Server,
    /// Where they are.
    holding: Server,
}

/// What one time took, in milliseconds from the moment that a client asked for it.
struct Revocation {
    /// Until the one who asked was told that it is done.
    answered: f64,
    /// Until the last socket's client heard that it is closed.
    closed: f64,
}

impl Cluster {
    fn start(role: &str, url: &str) -> Self {
        Self { revoking: Server::joined(role, url), holding: Server::joined(role, url) }
    }

    async fn measure(&self, name: &str, sockets: usize, rounds: usize) {
        let (mut answered, mut closed) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let revocation = self.revoke(sockets).await;
            answered.push(revocation.answered);
            closed.push(revocation.closed);
        }
        for (what, times) in [("answered", answered), ("the last is closed", closed)] {
            let (p50, p99) = (percentile(times.clone(), 50), percentile(times, 99));
            let what = format!("{name}, {sockets} sockets, {what}");
            println!("  {what:<46} p50 {p50:>8.2} ms   p99 {p99:>8.2} ms   ({rounds} rounds)");
        }
    }

    /// Opens the user's sockets, and closes them.
    async fn revoke(&self, sockets: usize) -> Revocation {
        let tagged = stream::iter(0..sockets).map(|_| self.tagged()).buffer_unordered(AT_ONCE);
        let mut closing = JoinSet::new();
        for mut socket in tagged.collect::<Vec<_>>().await {
            closing.spawn(async move {
                socket.closed().await;
                Instant::now()
            });
        }
        let mut revoker = Socket::connect(self.revoking.address).await;
        let start = Instant::now();
        let ack = format!(r#"[{{"body":{sockets},"headers":{{}},"statusCode":200}}]"#);
        revoker.ask(1, r#"["post",{"url":"/revoke"}]"#, &ack).await;
        let answered = start.elapsed();
        let closed = timeout(PATIENCE, closing.join_all()).await.expect("all sockets are closed");
        let last = closed.into_iter().max().expect("a socket");
        Revocation { answered: answered.as_secs_f64() * 1e3, closed: (last - start).as_secs_f64() * 1e3 }
    }

    async fn tagged(&self) -> Socket<TcpStream> {
        let mut socket = Socket::connect(self.holding.address).await;
        socket.ask(1, r#"["post",{"url":"/tag"}]"#, r#"[{"headers":{},"statusCode":200}]"#).await;
        socket
    }
}
