//! The same operations on the simulated broker, Redis and Postgres: a simulation sees neither Lua nor SQL.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    driver::Server,
    plan::Plan,
    simulated,
    world::{Failure, Told, live_in_turn},
};
use crate::{Postgres, Redis};

#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/src/backends/postgres.rs"]
mod postgres_server;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/src/backends/redis.rs"]
mod redis_server;

const SEEDS: u64 = 12;
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a plan in real time.
fn real(plan: &Plan, make: &dyn Fn() -> Server) -> Result<Vec<Vec<Told>>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(PATIENCE, live_in_turn(plan, Some(make))).await.expect("it ends") })
}

fn check(plan: &Plan, broker: &str, told: &[Vec<Told>], theirs: Result<Vec<Vec<Told>>, Failure>) {
    let theirs = theirs.unwrap_or_else(|failure| panic!("seed {} on {broker}: {failure:?}", plan.seed));
    for (client, (told, theirs)) in told.iter().zip(theirs).enumerate() {
        let differs = told.iter().zip(&theirs).position(|(one, other)| one != other);
        let differs = differs.or_else(|| (told.len() != theirs.len()).then_some(told.len().min(theirs.len())));
        assert!(
            differs.is_none(),
            "seed {}, client {client}: {broker} tells {:?}, the simulated broker {:?}, in {:?}",
            plan.seed,
            theirs.get(differs.unwrap_or_default()),
            told.get(differs.unwrap_or_default()),
            plan.steps.get(theirs.get(differs.unwrap_or_default()).map_or(0, |told| told.0)),
        );
    }
}

#[test]
fn brokers_agree() {
    let redis = redis_server::RedisServer::start();
    let postgres = postgres_server::Server::start();
    for seed in super::number("CATAMARAN_FIRST_SEED").unwrap_or(0)..SEEDS {
        let plan = Plan::sequential(seed);
        let told = simulated(seed, live_in_turn(&plan, None));
        let told = told.unwrap_or_else(|failure| panic!("seed {seed} on the simulated broker: {failure:?}"));
        let prefix = format!("seed-{seed}");
        check(&plan, "Redis", &told, real(&plan, &|| Server::of(Redis::connect(redis.url()).prefix(&*prefix))));
        let database = format!("seed_{seed}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = postgres.client().await;
            client.batch_execute(&format!("create database {database}")).await.expect("a database of its own");
        });
        check(&plan, "Postgres", &told, real(&plan, &|| Server::of(Postgres::connect(postgres.url_of(&database)))));
    }
}
