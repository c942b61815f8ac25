//! Making a failing world smaller: fewer steps, fewer vaults, the same kind of failure.

use crate::testing::sim::plan::Plan;
use crate::testing::sim::{Failure, play};

/// The smallest plan found that still fails, with how it fails. Steps are left out in ever smaller
/// runs, as long as that helps.
pub fn shrink(plan: &Plan, failure: &Failure) -> (Plan, Failure) {
    let mut best = (plan.clone(), failure.clone());
    // What comes after the failure has nothing to do with it.
    best.0.steps.retain(|(no, _)| *no <= failure.step);
    loop {
        let before = (best.0.steps.len(), best.0.without.len());
        without_replicas(&mut best);
        without_steps(&mut best);
        if before == (best.0.steps.len(), best.0.without.len()) {
            return best;
        }
    }
}

fn try_plan(best: &mut (Plan, Failure), plan: Plan) -> bool {
    match play(&plan) {
        Some(failure) => {
            *best = (plan, failure);
            true
        }
        None => false,
    }
}

fn without_replicas(best: &mut (Plan, Failure)) {
    for who in (1..best.0.replicas).rev() {
        if !best.0.without.contains(&who) {
            let mut plan = best.0.clone();
            plan.without.push(who);
            try_plan(best, plan);
        }
    }
}

fn without_steps(best: &mut (Plan, Failure)) {
    let mut run = best.0.steps.len().div_ceil(2);
    while run > 0 {
        let mut at = 0;
        while at < best.0.steps.len() {
            let mut plan = best.0.clone();
            let end = plan.steps.len().min(at + run);
            plan.steps.drain(at..end);
            if !try_plan(best, plan) {
                at += run;
            }
        }
        run /= 2;
    }
}
