//! What foreign input costs. Alone in its binary: it counts every byte that is allocated.

mod bombs;
mod lean;
#[path = "../it/attacks/scene.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "shared with the tests of what attacks do"
)]
mod scene;

use bombs::{BOMBS, Bomb, PART};
use peak_alloc::PeakAlloc;
use scene::{Mallory, Role, Scene};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Held by each test: memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most memory that one part may cost, in bytes.
const MEMORY_MAX: usize = 64 << 20;

/// What taking up the last part of an attack cost.
#[derive(Debug)]
struct Cost {
    bytes: usize,
    peak: usize,
    cpu_ms: u64,
}

fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
    ns.unwrap_or(0) / 1_000_000
}

fn cost(bomb: &Bomb, roles: &[Role]) -> Cost {
    let mut scene = Scene::new();
    let mut mallory = match roles {
        [] => Mallory::new(),
        roles => Mallory::admitted(&mut scene, roles),
    };
    scene.put_key(&mallory);
    scene.exchange();
    let mut parts = (bomb.make)(&mut scene, &mut mallory);
    let last = parts.pop().expect("a part");
    for (no, part) in (1u8..).zip(&parts) {
        scene.put(no, part);
        scene.exchange();
    }
    drop(parts);
    let size = |b: &scene::SealedBatch| b.to_bytes().expect("fits").len();
    let bytes = last.iter().map(size).sum();
    scene.put(200, &last);
    drop(last);
    let (before, start) = (MEMORY.current_usage(), cpu_ms());
    MEMORY.reset_peak_usage();
    scene.exchange();
    Cost {
        bytes,
        peak: MEMORY.peak_usage().saturating_sub(before),
        cpu_ms: cpu_ms() - start,
    }
}

#[test]
#[ignore = "a figure and no test: cargo xtask hostile"]
fn figures() {
    let _alone = alone();
    let only = std::env::var("MEDSYNC_BOMB").unwrap_or_default();
    for bomb in BOMBS.iter().filter(|b| b.name.contains(&only)) {
        for roles in [&[][..], &[Role::Clinician]] {
            let cost = cost(bomb, roles);
            println!(
                "{:<34} {:<9} {:>8} B {:>6} KiB {:>7} ms",
                bomb.name,
                if roles.is_empty() {
                    "stranger"
                } else {
                    "clinician"
                },
                cost.bytes,
                cost.peak / 1024,
                cost.cpu_ms
            );
        }
    }
}

#[test]
fn every_part_costs_at_most_64_mib() {
    let _alone = alone();
    for bomb in BOMBS {
        let cost = cost(bomb, &[Role::Clinician]);
        assert!(cost.bytes <= PART + 4096, "{}: {cost:?}", bomb.name);
        assert!(cost.peak <= MEMORY_MAX, "{}: {cost:?}", bomb.name);
    }
}
