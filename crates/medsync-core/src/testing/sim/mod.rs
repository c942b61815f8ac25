//! Whole worlds from one seed: vaults, people, sticks, power cuts, backups, clocks, hostile members.
//!
//! A seed makes a [`Plan`]: some vaults and a list of steps, which are data. The world plays them;
//! whenever all have met, everything is checked against a model that knows only what people did and saw: nothing acknowledged is lost, all show the same,
//! no commit is shown in part, a stopped medicine stays stopped, what people disagree on is asked,
//! and so on. A failing plan is made smaller by leaving steps out ([`shrink`]), and a plan is
//! written as `SEED[:STEPS][!REPLICAS]`, so that one command replays it.

mod acts;
mod anchor;
mod check;
mod hostile;
mod many;
mod meet;
mod model;
mod oracle;
mod pack;
mod people;
mod plan;
mod replica;
mod shrink;
mod step;
mod stick;
mod template;
mod text;
mod world;

pub use crate::planted::{Bug, plant};
pub use many::{Summary, many};
pub use plan::Plan;
pub use shrink::shrink;
pub use step::{Change, Step, Trick};

use crate::testing::sim::world::World;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What went wrong in a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The number of the step.
    pub step: usize,
    /// What must never happen.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.step, self.what)
    }
}

/// Plays the world of a seed.
pub fn run(seed: u64) -> Option<Failure> {
    play(&Plan::of(seed))
}

/// Plays a world. A panic is a finding like any other.
pub fn play(plan: &Plan) -> Option<Failure> {
    let at = std::cell::Cell::new(0);
    let played = catch_unwind(AssertUnwindSafe(|| {
        let fail = |what: String| Failure {
            step: at.get(),
            what,
        };
        let mut world = World::new(plan).map_err(|e| fail(format!("no world: {e}")))?;
        for (no, step) in &plan.steps {
            at.set(*no);
            world.step(*no, *step).map_err(fail)?;
        }
        Ok(())
    }));
    match played {
        Ok(done) => done.err(),
        Err(_) => Some(Failure {
            step: at.get(),
            what: "it panicked".to_owned(),
        }),
    }
}

/// Whether bytes hold a text.
fn contains(bytes: &[u8], text: &[u8]) -> bool {
    let Some(first) = text.first() else {
        return true;
    };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        let (_, from) = rest.split_at(at);
        if from.starts_with(text) {
            return true;
        }
        rest = from.get(1..).unwrap_or_default();
    }
    false
}
