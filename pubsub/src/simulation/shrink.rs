//! Fewer operations that show the same failure.

use super::{
    plan::{Plan, Step},
    run,
    world::Failure,
};

/// How many plans are tried.
const TRIES: usize = 600;

/// A plan of as few operations as still fail, and how.
pub(super) fn shrink(plan: &Plan, failure: &Failure) -> (Plan, Failure) {
    let (mut plan, mut failure, kind) = (plan.clone(), failure.clone(), failure.kind());
    let mut chunk = plan.steps.len().div_ceil(2);
    let mut tries = 0;
    loop {
        let mut at = 0;
        let mut removed = false;
        while at < plan.steps.len() && tries < TRIES {
            tries += 1;
            let end = (at + chunk).min(plan.steps.len());
            let fewer = Plan { steps: without(&plan.steps, at, end), ..plan.clone() };
            if let Some(reason) = run(&fewer, false).err().filter(|reason| reason.kind() == kind) {
                (plan, failure, removed) = (fewer, reason, true);
            } else {
                at = end;
            }
        }
        if tries >= TRIES || (chunk == 1 && !removed) {
            return (plan, failure);
        }
        chunk = chunk.div_ceil(2);
    }
}

fn without(steps: &[Step], from: usize, to: usize) -> Vec<Step> {
    [&steps[..from], &steps[to..]].concat()
}
