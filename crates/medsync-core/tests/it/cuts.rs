//! Power cuts and failing disks under a whole vault, at every write point of a day's work.
//!
//! A failure prints its seed; `MEDSYNC_SEED=<seed> cargo test -p medsync-core cuts` replays it.
//! `cargo run -p xtask -- cuts --count 50000` runs as many as one likes.

use medsync_core::env::{Env as _, SystemEnv};
use medsync_core::testing::cuts::{Bug, Summary, many, run, run_every_write, run_lying};
use std::sync::atomic::{AtomicU64, Ordering};

/// Cuts of a run in CI.
const CUTS: u64 = 2000;
const THREADS: usize = 2;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn assert_no_bugs(summary: &Summary) {
    for (seed, bug) in &summary.bugs {
        println!("{bug}; replay with MEDSYNC_SEED={seed}");
    }
    assert!(summary.bugs.is_empty(), "{:?}", summary.bugs);
}

#[test]
fn no_cut_of_a_clinics_day_loses_anything() {
    if let Some(seed) = number("MEDSYNC_SEED") {
        assert_eq!(run(seed).1, None);
        return;
    }
    let summary = many(0, CUTS, THREADS, &|_| {});
    assert_no_bugs(&summary);
    let tally = summary.tally;
    assert!(tally.failures > 0 && tally.rots_refused > 0, "{tally:?}");
}

/// What `cargo run -p xtask -- cuts` runs.
#[test]
#[ignore = "as long as one likes: MEDSYNC_CUTS power cuts from MEDSYNC_SEED on"]
fn as_many_as_asked() {
    let count = number("MEDSYNC_CUTS").unwrap_or(CUTS);
    let first = number("MEDSYNC_SEED").unwrap_or(0);
    let start = SystemEnv.now_ms();
    let seconds = || (SystemEnv.now_ms() - start) / 1000;
    let told = AtomicU64::new(0);
    let summary = many(first, count, THREADS, &|so_far| {
        let tenth = so_far.tally.cuts * 10 / count.max(1);
        if told.fetch_max(tenth, Ordering::Relaxed) < tenth {
            println!("{} cuts, {} s", so_far.tally.cuts, seconds());
        }
    });
    let tally = summary.tally;
    println!(
        "{} cuts, {} other failures, {} rotten files ({} refused) in {} days: {} unopenable, \
         {} lost, {} broken, {} s",
        tally.cuts,
        tally.failures,
        tally.rots,
        tally.rots_refused,
        summary.days,
        summary.unopenable(),
        summary.lost(),
        summary.broken(),
        seconds()
    );
    assert_no_bugs(&summary);
}

#[test]
fn every_single_write_of_every_kind_of_work_is_cut() {
    for seed in number("MEDSYNC_SEED").map_or(1..2, |seed| seed..seed + 1) {
        let (tally, bug) = run_every_write(seed);
        assert_eq!(bug, None, "replay with MEDSYNC_SEED={seed}");
        println!("{tally:?}");
        assert!(tally.cuts > 150, "{tally:?}");
    }
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
