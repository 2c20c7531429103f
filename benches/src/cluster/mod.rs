//! What is published on one server, until the subscribers of another have it; beside other ways to join two servers.

mod node;
mod room;

use catamaran_tests::backends::{postgres, redis::RedisServer};
use room::{Figures, Room};

use crate::{
    backends,
    rounds::{Plan, Side, median},
    server::Server,
};

/// How many publishers there are where it is about how much goes through, each with one event under way.
const PUBLISHERS: usize = 64;

pub(crate) async fn run(plan: Plan) {
    let (redis, postgres) = (backends::redis(), backends::postgres());
    let kinds = kinds(redis.as_ref(), postgres.as_ref());
    for subscribers in [1, 100] {
        println!(
            "  {:<34} {:>10} {:>10} {:>14} {:>12}",
            format!("subscribers: {subscribers}"),
            "p50",
            "p99",
            "deliveries/s",
            "CPU each"
        );
        let mut rooms = Vec::new();
        for kind in &kinds {
            rooms.push((Room::open(kind.name, (kind.start)(), kind.side, PUBLISHERS, subscribers).await, Vec::new()));
        }
        for round in 0..plan.rounds {
            for turn in 0..rooms.len() {
                // Another begins each round.
                let turn = (turn + round) % kinds.len();
                let (room, figures) = &mut rooms[turn];
                figures.push(room.measure(plan).await);
            }
        }
        for (kind, (room, figures)) in kinds.iter().zip(rooms) {
            print(kind.name, &figures);
            room.close().await;
        }
    }
}

/// Servers that share a room, and whose requests they understand.
struct Kind {
    name: &'static str,
    side: Side,
    start: Box<dyn Fn() -> Vec<Server>>,
}

impl Kind {
    fn new(name: &'static str, side: Side, start: impl Fn() -> Vec<Server> + 'static) -> Self {
        Self { name, side, start: Box::new(start) }
    }

    /// Two servers of a role that meet at a URL.
    fn joined(name: &'static str, side: Side, role: &'static str, url: String) -> Self {
        Self::new(name, side, move || vec![Server::joined(role, &url), Server::joined(role, &url)])
    }
}

fn kinds(redis: Option<&RedisServer>, postgres: Option<&postgres::Server>) -> Vec<Kind> {
    let mut kinds = vec![Kind::new("catamaran, one server", Side::Catamaran, || vec![Server::start("catamaran")])];
    if let Some(redis) = redis {
        kinds.push(Kind::joined("catamaran, Redis", Side::Catamaran, "catamaran-redis", redis.url()));
    }
    if let Some(postgres) = postgres {
        kinds.push(Kind::joined("catamaran, Postgres", Side::Catamaran, "catamaran-postgres", postgres.url()));
    }
    if let Some(redis) = redis {
        kinds.push(Kind::joined("socketioxide-redis", Side::Twin, "socketioxide-redis", redis.url()));
        if node::installed() {
            let url = redis.url();
            let two = move || vec![node::start(&url), node::start(&url)];
            kinds.push(Kind::new("Node, @socket.io/redis-adapter", Side::Twin, two));
        }
    }
    kinds
}

fn print(name: &str, figures: &[Figures]) {
    let of = |figure: fn(&Figures) -> f64| median(figures.iter().map(figure));
    let (p50, p99) = (of(|figures| figures.p50), of(|figures| figures.p99));
    let (rate, cpu) = (of(|figures| figures.rate), of(|figures| figures.cpu));
    println!("    {name:<32} {p50:>7.2} ms {p99:>7.2} ms {rate:>14.0} {cpu:>9.2} µs");
}
