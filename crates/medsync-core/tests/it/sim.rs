//! Whole worlds: replicas, sticks, power cuts, backups, clocks, revocations, hostile members.
//!
//! A failure prints its seed and the steps that are enough for it;
//! `cargo xtask sim --replay SEED[:STEPS]` plays it again.

use medsync_core::env::{Env as _, SystemEnv};
use medsync_core::testing::sim::{Bug, Failure, Plan, Summary, many, plant, play, run, shrink};
use std::sync::atomic::{AtomicU64, Ordering};

/// Worlds of a run beside the other tests; `cargo xtask test` plays many more.
const WORLDS: u64 = 100;
const THREADS: usize = 2;
/// Within how many worlds a planted bug is found.
const PLANTED: u64 = 100;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// A failing world, as small as it gets, and how to see it again.
fn tell(plan: &Plan, failure: &Failure) {
    println!("seed {}: {failure}", plan.seed);
    let (small, failure) = shrink(plan, failure);
    println!(
        "  {} of {} steps are enough: {failure}",
        small.steps.len(),
        plan.steps.len()
    );
    for (no, step) in &small.steps {
        println!("    {no:>3}  {step:?}");
    }
    println!("  again: cargo xtask sim --replay '{small}'");
}

fn assert_none_failed(summary: &Summary) {
    for (seed, failure) in summary.failures.iter().take(5) {
        tell(&Plan::of(*seed), failure);
    }
    let seeds: Vec<u64> = summary.failures.iter().map(|(seed, _)| *seed).collect();
    assert!(
        seeds.is_empty(),
        "of {} worlds these failed: {seeds:?}",
        summary.worlds
    );
}

fn play_many(first: u64, count: u64, seconds: i64) -> Summary {
    let start = SystemEnv.now_ms();
    let told = AtomicU64::new(0);
    let summary = many(first, count, THREADS, &|so_far| {
        let (took, failed) = ((SystemEnv.now_ms() - start) / 1000, so_far.failures.len());
        let tenth = so_far.worlds * 10 / count.max(1);
        if told.fetch_max(tenth, Ordering::Relaxed) < tenth {
            println!("{} worlds, {failed} failed, {took} s", so_far.worlds);
        }
        took < seconds && failed < 20
    });
    let took = (SystemEnv.now_ms() - start) / 1000;
    println!(
        "{} worlds from {first} on, {} failed, {took} s",
        summary.worlds,
        summary.failures.len()
    );
    summary
}

#[test]
fn worlds_keep_what_they_promise() {
    let summary = play_many(number("MEDSYNC_SEED").unwrap_or(0), WORLDS, i64::MAX);
    assert_none_failed(&summary);
}

/// What `cargo xtask sim` runs.
#[test]
#[ignore = "as many as one likes: MEDSYNC_WORLDS from MEDSYNC_SEED on, for MEDSYNC_SECONDS, or MEDSYNC_REPLAY"]
fn as_many_as_asked() {
    if let Ok(text) = std::env::var("MEDSYNC_REPLAY") {
        let plan: Plan = text.parse().expect("SEED[:STEPS][!REPLICAS]");
        for (no, step) in &plan.steps {
            println!("{no:>3}  {step:?}");
        }
        let failure = play(&plan);
        if let Some(failure) = &failure {
            tell(&plan, failure);
        }
        assert_eq!(failure, None);
        return;
    }
    let count = number("MEDSYNC_WORLDS").unwrap_or(WORLDS);
    let seconds = number("MEDSYNC_SECONDS").and_then(|s| i64::try_from(s).ok());
    let first = number("MEDSYNC_SEED").unwrap_or(0);
    let summary = play_many(first, count, seconds.unwrap_or(i64::MAX));
    assert_none_failed(&summary);
}

/// Seeds tell the whole world: else a failure could not be looked at again.
#[test]
fn a_seed_replays() {
    plant(Some(Bug::LwwByCounter));
    for seed in 0..12 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    plant(None);
}

/// The simulator is worth something only if it finds what is broken.
fn find(bug: Bug) {
    plant(Some(bug));
    let found = (0..PLANTED).find_map(|seed| Some((seed, run(seed)?)));
    plant(None);
    let (seed, failure) = found.unwrap_or_else(|| panic!("{bug:?} went unnoticed"));
    println!("{bug:?}: seed {seed}, {failure}");
    assert_eq!(run(seed), None, "seed {seed} fails without the bug, too");
}

#[test]
fn a_sync_that_does_nothing_is_found() {
    find(Bug::NoFsync);
}

#[test]
fn a_lost_header_is_found() {
    find(Bug::LostHeader);
}

#[test]
fn a_reused_actor_is_found() {
    find(Bug::ReusedActor);
}

#[test]
fn a_latest_value_by_counter_is_found() {
    find(Bug::LwwByCounter);
}

#[test]
fn a_removal_that_beats_a_stop_is_found() {
    find(Bug::DeleteWins);
}

#[test]
fn a_stale_form_that_overwrites_is_found() {
    find(Bug::StaleForm);
}

#[test]
fn half_a_commit_is_found() {
    find(Bug::HalfCommit);
}

#[test]
fn a_late_revocation_that_changes_history_is_found() {
    find(Bug::LateRevocation);
}

#[test]
fn a_skipped_gate_is_found() {
    find(Bug::SkippedGate);
}

/// A planted bug's world gets smaller, and what is left still fails in the same way.
#[test]
fn a_failing_world_shrinks_and_replays_from_its_text() {
    plant(Some(Bug::LwwByCounter));
    let failing = (0..PLANTED).find_map(|seed| Some((Plan::of(seed), run(seed)?)));
    let (plan, failure) = failing.expect("the bug is found");
    let (small, failure) = shrink(&plan, &failure);
    let again: Plan = small.to_string().parse().expect("a plan");
    let replayed = play(&again);
    plant(None);
    assert!(
        small.steps.len() * 2 <= plan.steps.len(),
        "{small} of {}",
        plan.steps.len()
    );
    assert_eq!(replayed, Some(failure));
}
