//! What foreign input costs. Alone in its binary: it counts every byte that is allocated.

mod bombs;
mod files;
mod lean;
mod members;
#[path = "../it/attacks/scene.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "shared with the tests of what attacks do"
)]
mod scene;

use bombs::{BOMBS, Bomb, Make, PART};
use peak_alloc::PeakAlloc;
use scene::{Mallory, Role, Scene};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

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
    cpu_us: u64,
    /// The longest that another thread had to wait for the vault, in the exchange's processor time.
    held_us: u64,
    /// How often it had its turn.
    turns: u64,
}

fn cpu_us(thread: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap_or_default();
    let ns = stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
    ns.unwrap_or(0) / 1000
}

/// Processor time of this thread.
fn cpu_ms() -> u64 {
    cpu_us("thread-self") / 1000
}

/// This thread's path under `/proc`.
fn thread() -> String {
    let link = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    link.to_string_lossy().into_owned()
}

fn cost(bomb: &Bomb, roles: &[Role]) -> Cost {
    let mut scene = Scene::new();
    let mut mallory = match roles {
        [] => Mallory::new(),
        roles => Mallory::admitted(&mut scene, roles),
    };
    scene.put_key(&mallory);
    scene.exchange();
    let bytes = match bomb.make {
        Make::Batches(make) => {
            let mut parts = make(&mut scene, &mut mallory);
            let last = parts.pop().expect("a part");
            for (no, part) in (1u8..).zip(&parts) {
                scene.put(no, part);
                scene.exchange();
            }
            scene.put(200, &last);
            let size = |b: &scene::SealedBatch| b.to_bytes().expect("fits").len();
            last.iter().map(size).sum()
        }
        Make::File(make) => make(&mut scene, &mut mallory),
    };
    let Scene {
        vault,
        stick,
        _home: home,
        ..
    } = scene;
    let shared = vault.share();
    let done = AtomicBool::new(false);
    let (tell, told) = mpsc::channel();
    let (beside, tid) = (shared.clone(), thread());
    let (start, exchange) = (cpu_us(&tid), &done);
    let waits = move || {
        let (mut last, mut longest, mut turns) = (start, 0, 0_u64);
        tell.send(()).expect("the exchange waits for it");
        while !exchange.load(Ordering::SeqCst) {
            // The exchange stands still while this thread has the vault.
            let now = beside.with(|_| Ok(cpu_us(&tid))).expect("reads");
            longest = longest.max(now - last);
            turns += u64::from(now > last);
            last = now;
        }
        (last, longest, turns)
    };
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let (held_us, turns) = std::thread::scope(|scope| {
        let other = scope.spawn(waits);
        told.recv().expect("the other thread runs");
        let report = shared.exchange(&stick, &mut |_| {});
        done.store(true, Ordering::SeqCst);
        report.expect("one bad file stops nothing");
        let end = cpu_us(&thread());
        let (last, longest, turns) = other.join().expect("reads");
        (longest.max(end.saturating_sub(last)), turns)
    });
    drop(home);
    Cost {
        bytes,
        peak: MEMORY.peak_usage().saturating_sub(before),
        cpu_us: cpu_us(&thread()) - start,
        held_us,
        turns,
    }
}

#[test]
#[ignore = "a figure and no test: cargo xtask hostile"]
fn figures() {
    let _alone = alone();
    let only = std::env::var("MEDSYNC_BOMB").unwrap_or_default();
    for bomb in BOMBS.iter().filter(|b| b.name.contains(&only)) {
        for roles in [&[][..], bomb.roles] {
            let cost = cost(bomb, roles);
            let who = match roles {
                [] => "stranger",
                [Role::Admin] => "admin",
                _ => "clinician",
            };
            println!(
                "| {} | {who} | {} | {} | {} | {} | {:.1} |",
                bomb.name,
                cost.bytes,
                cost.cpu_us / 1000,
                cost.held_us / 1000,
                cost.turns,
                cost.peak as f64 / f64::from(1 << 20),
            );
        }
    }
}

#[test]
fn every_part_costs_at_most_64_mib() {
    let _alone = alone();
    for bomb in BOMBS {
        let cost = cost(bomb, bomb.roles);
        assert!(cost.bytes <= PART + 4096, "{}: {cost:?}", bomb.name);
        assert!(cost.peak <= MEMORY_MAX, "{}: {cost:?}", bomb.name);
    }
}
