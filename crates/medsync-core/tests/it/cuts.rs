//! Power cuts and failing disks under a whole vault, at every write point of a day's work.
//!
//! A failure prints its seed; `MEDSYNC_SEED=<seed> cargo test -p medsync-core cuts` replays it.
//! `cargo run --release -p xtask -- cuts --count 50000` runs as many as one likes.

use medsync_core::testing::cuts::{Bug, Tally, run, run_lying};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Cuts of a run in CI.
const CUTS: u64 = 2000;

fn seed_from_outside() -> Option<u64> {
    let text = std::env::var("MEDSYNC_SEED").ok()?;
    Some(text.parse().expect("MEDSYNC_SEED is a number"))
}

fn check(seed: u64) -> Tally {
    let (tally, bug) = run(seed);
    if let Some(bug) = bug {
        panic!("{bug}; replay with MEDSYNC_SEED={seed}");
    }
    tally
}

#[test]
fn no_cut_of_a_clinics_day_loses_anything() {
    if let Some(seed) = seed_from_outside() {
        check(seed);
        return;
    }
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let days = || {
        while sum.lock().expect("nobody panicked").cuts < CUTS {
            let day = check(next.fetch_add(1, Ordering::Relaxed));
            sum.lock().expect("nobody panicked").add(day);
        }
    };
    thread::scope(|scope| {
        scope.spawn(days);
        scope.spawn(days);
    });
    let sum = sum.into_inner().expect("nobody panicked");
    assert!(sum.failures > 0 && sum.rots_refused > 0, "{sum:?}");
    println!("{sum:?}");
}

/// The test above is worth something only if it notices a disk that does not sync.
#[test]
fn a_disk_that_lies_is_caught_within_five_seeds() {
    let caught = (0..5).find_map(|seed| run_lying(seed).1);
    assert!(
        matches!(caught, Some(Bug::Lost(_) | Bug::Unopenable(_))),
        "{caught:?}"
    );
}

#[test]
fn a_seed_replays() {
    for seed in 0..3 {
        assert_eq!(run(seed), run(seed));
    }
}
