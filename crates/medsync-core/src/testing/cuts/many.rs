//! Many days on several threads, counted.

use crate::testing::cuts::{Bug, Tally, run};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// What came of many days.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// What was done to the vaults.
    pub tally: Tally,
    /// How many days were played.
    pub days: u64,
    /// The days that failed, by seed.
    pub bugs: Vec<(u64, Bug)>,
}

impl Summary {
    /// How many vaults did not open again.
    pub fn unopenable(&self) -> usize {
        self.count(|bug| matches!(bug, Bug::Unopenable(_)))
    }

    /// How many vaults lost or changed something acknowledged, or held part of a commit.
    pub fn lost(&self) -> usize {
        self.count(|bug| matches!(bug, Bug::Lost(_)))
    }

    /// How many vaults failed otherwise.
    pub fn broken(&self) -> usize {
        self.count(|bug| matches!(bug, Bug::Broken(_)))
    }

    fn count(&self, is: impl Fn(&Bug) -> bool) -> usize {
        self.bugs.iter().filter(|(_, bug)| is(bug)).count()
    }
}

/// Plays days from a seed on until there were `cuts` power cuts. `progress` is told after each.
pub fn many(seed: u64, cuts: u64, threads: usize, progress: &(dyn Fn(&Summary) + Sync)) -> Summary {
    let (next, sum) = (AtomicU64::new(seed), Mutex::new(Summary::default()));
    let days = || {
        while lock(&sum).tally.cuts < cuts {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let (tally, bug) = run(seed);
            let mut sum = lock(&sum);
            sum.tally.add(tally);
            sum.days += 1;
            sum.bugs.extend(bug.map(|bug| (seed, bug)));
            progress(&sum);
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(days);
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock(sum: &Mutex<Summary>) -> MutexGuard<'_, Summary> {
    sum.lock().unwrap_or_else(PoisonError::into_inner)
}
