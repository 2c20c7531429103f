//! The same operations on the simulated broker, Redis and Postgres: a simulation sees neither Lua nor SQL.

use super::{
    number,
    plan::Plan,
    simulated,
    world::{Told, live_in_turn},
};

/// How many plans are compared.
const SEEDS: u64 = 12;

pub(super) fn plans() -> impl Iterator<Item = Plan> {
    let first = number("CATAMARAN_FIRST_SEED").unwrap_or(0);
    (first..first + SEEDS).map(Plan::sequential)
}

/// What clients are told on the simulated broker.
pub(super) fn on_simulated(plan: &Plan) -> Vec<Vec<Told>> {
    simulated(plan.seed, live_in_turn(plan, None))
        .unwrap_or_else(|failure| panic!("seed {} on the simulated broker: {failure:?}", plan.seed))
}

#[test]
fn plan_in_turn_replays_exactly() {
    for plan in plans() {
        assert_eq!(on_simulated(&plan), on_simulated(&plan), "seed {}", plan.seed);
    }
}
