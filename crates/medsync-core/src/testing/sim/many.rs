//! Many worlds on several threads, counted.

use crate::testing::sim::{Failure, run};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What came of many worlds.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Worlds that were played.
    pub worlds: u64,
    /// Those that failed, by seed.
    pub failures: Vec<(u64, Failure)>,
}

/// Plays the worlds of `count` seeds from a seed on, until `go_on` says no. It is told what came of
/// them after each.
pub fn many(
    seed: u64,
    count: u64,
    threads: usize,
    go_on: &(dyn Fn(&Summary) -> bool + Sync),
) -> Summary {
    let next = AtomicU64::new(seed);
    let end = seed.saturating_add(count);
    let sum = Mutex::new(Summary::default());
    let worlds = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            let failed = run(seed);
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            sum.worlds += 1;
            sum.failures.extend(failed.map(|failure| (seed, failure)));
            if !go_on(&sum) {
                next.store(end, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worlds);
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}
