//! Plans on Redis and Postgres, which tests start.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    comparison::{on_simulated, plans},
    driver::Server,
    plan::Plan,
    world::{Told, live_in_turn},
};
use crate::{
    Postgres, Redis,
    broker::servers::{postgres, redis},
};

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a future in real time.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(PATIENCE, future).await.expect("it ends") })
}

/// Checks that clients are told the same on a real broker as on the simulated one.
fn check(plan: &Plan, broker: &str, make: &dyn Fn() -> Server) {
    let theirs = block_on(live_in_turn(plan, Some(make)));
    let theirs = theirs.unwrap_or_else(|failure| panic!("seed {} on {broker}: {failure:?}", plan.seed));
    for (client, (told, theirs)) in on_simulated(plan).iter().zip(theirs).enumerate() {
        let differs = told.iter().zip(&theirs).find(|(one, other)| one != other).map(|(one, _)| one.0);
        let step = differs.or_else(|| told.get(theirs.len()).or(theirs.get(told.len())).map(|more| more.0));
        let Some(step) = step else { continue };
        let of_step = |told: &[Told]| -> Vec<_> {
            told.iter().filter(|told| told.0 == step).map(|(_, channel, what)| format!("{channel}: {what}")).collect()
        };
        panic!(
            "seed {}, client {client}, {:?}: {broker} tells {:?}, the simulated broker {:?}",
            plan.seed,
            plan.steps[step].op,
            of_step(&theirs),
            of_step(told),
        );
    }
}

#[test]
fn redis_agrees_with_the_simulated_broker() {
    let server = redis::RedisServer::start();
    for plan in plans() {
        let prefix = format!("seed-{}", plan.seed);
        check(&plan, "Redis", &|| Server::of(Redis::connect(server.url()).prefix(&*prefix)));
    }
}

#[test]
fn postgres_agrees_with_the_simulated_broker() {
    let server = postgres::Server::start();
    for plan in plans() {
        let database = format!("seed_{}", plan.seed);
        block_on(async {
            let client = server.client().await;
            client.batch_execute(&format!("create database {database}")).await.expect("a database of its own");
        });
        check(&plan, "Postgres", &|| Server::of(Postgres::connect(server.url_of(&database))));
    }
}
