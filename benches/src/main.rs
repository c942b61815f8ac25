//! Benchmarks of the engine. Each prints what `docs/benchmarks.md` records; none asserts a time.

mod bytes;
mod clinic;
mod lean;
mod records;

use clap::{Parser, Subcommand, ValueEnum};
use medsync_core::crypto::{Kdf, Suite};
use medsync_core::env::SystemEnv;
use medsync_core::error::Result;
use medsync_core::ids::RecordId;
use medsync_core::vault::{NewVault, Unit, Vault};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

// As the command does: the system's allocator costs an import a quarter of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks of medsync.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Import: every record durable, encrypted and ready to be sealed.
    Import {
        /// How many records.
        #[arg(long, default_value_t = 100_000)]
        records: usize,
        /// Which records.
        #[arg(long, value_enum, default_value_t = Shape::Synthea)]
        shape: Shape,
        /// The cipher.
        #[arg(long, value_enum, default_value_t = Cipher::Xaes)]
        cipher: Cipher,
    },
    /// Warm reads of merged records, beside one lookup in the same store.
    Read {
        /// How many records.
        #[arg(long, default_value_t = 10_000)]
        records: usize,
    },
    /// The lean form of what two replicas of a clinic send each other.
    Lean {
        /// Which of the scenarios of `docs/benchmarks.md`.
        #[arg(value_enum)]
        scenario: lean::Scenario,
        /// How many records both hold, or one sends to an empty one.
        #[arg(long, default_value_t = 10_000)]
        records: u64,
        /// About how long a block may be, in bytes.
        #[arg(long, default_value_t = 65_536)]
        room: usize,
    },
    /// Where the bytes of a vault's file are, by kind of row.
    Bytes {
        /// How many records.
        #[arg(long, default_value_t = 20_000)]
        records: usize,
        /// Which records.
        #[arg(long, value_enum, default_value_t = Shape::Synthea)]
        shape: Shape,
    },
    /// Opening, which verifies every page in use, and closing after an import.
    Open {
        /// How many records.
        #[arg(long, default_value_t = 20_000)]
        records: usize,
        /// Which records.
        #[arg(long, value_enum, default_value_t = Shape::Synthea)]
        shape: Shape,
    },
    /// Single durable edits.
    Edit {
        /// How many edits.
        #[arg(long, default_value_t = 500)]
        edits: usize,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    /// A generated clinic's resources, about 850 B.
    Synthea,
    /// Chart-like records of about 5 kB.
    Chart,
}

#[derive(Clone, Copy, ValueEnum)]
enum Cipher {
    Xaes,
    Xchacha,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures the wall clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

fn main() -> Result<()> {
    match Args::parse().bench {
        Bench::Import {
            records,
            shape,
            cipher,
        } => import(records, shape, cipher),
        Bench::Read { records } => read(records),
        Bench::Lean {
            scenario,
            records,
            room,
        } => {
            lean::run(scenario, records, room);
            Ok(())
        }
        Bench::Bytes { records, shape } => bytes::bytes(records, shape),
        Bench::Open { records, shape } => bytes::open(records, shape),
        Bench::Edit { edits } => edit(edits),
    }
}

fn vault(dir: &Path, cipher: Cipher) -> Result<Vault> {
    let new = NewVault {
        passphrase: "benchmark",
        suite: match cipher {
            Cipher::Xaes => Suite::Xaes256Gcm,
            Cipher::Xchacha => Suite::XChaCha20Poly1305,
        },
        kdf: Kdf::default(),
        person: "Bench",
        device: "bench",
    };
    let pack = medsync_fhir::pack::clinical();
    Ok(Vault::create(dir, SystemEnv::shared(), &new, "Bench", &pack)?.vault)
}

/// Peak resident memory of this process, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

fn import(records: usize, shape: Shape, cipher: Cipher) -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut vault = vault(&dir.path().join("v"), cipher)?;
    let mut bytes = 0usize;
    let mut parsing = Duration::ZERO;
    let texts = records::texts(shape, records);
    let start = now();
    let units = texts.map(|text| {
        let t = now();
        bytes += text.len();
        let (id, json) = records::parse(&text);
        parsing += t.elapsed();
        Unit {
            resources: vec![(0, id, json)],
            atomic: false,
        }
    });
    let report = vault.import("bench", units, &mut |_| {})?;
    let wall = start.elapsed();
    let made = records::cost(shape, records);
    let secs = (wall - made.min(wall)).as_secs_f64();
    println!(
        "import: {} records of {} B, {:.2} s ({:.2} s without generating them): {:.0} records/s; \
         parsing {:.2} s; peak {} MiB; rejected {}",
        report.imported,
        bytes / records.max(1),
        wall.as_secs_f64(),
        secs,
        report.imported as f64 / secs,
        parsing.as_secs_f64(),
        peak_mib(),
        report.rejected.len(),
    );
    drop(vault);
    let file: u64 = std::fs::read_dir(dir.path().join("v"))
        .expect("the vault's folder")
        .filter_map(|f| f.ok()?.metadata().ok())
        .map(|m| m.len())
        .sum();
    println!(
        "on disk: {} B a record, {:.2} x the JSON",
        file / records.max(1) as u64,
        file as f64 / bytes as f64
    );
    Ok(())
}

fn read(records: usize) -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut vault = vault(&dir.path().join("v"), Cipher::Xaes)?;
    let mut ids: Vec<RecordId> = Vec::new();
    let units = records::texts(Shape::Synthea, records).map(|text| {
        let (id, json) = records::parse(&text);
        ids.push(id.clone());
        Unit {
            resources: vec![(0, id, json)],
            atomic: false,
        }
    });
    vault.import("bench", units, &mut |_| {})?;
    let mut spread = 12345usize;
    let mut times = Vec::with_capacity(40_000);
    for round in 0..60_000 {
        spread = spread
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695);
        let id = &ids[(spread >> 20) % ids.len()];
        let t = now();
        black_box(vault.read(id)?);
        if round >= 20_000 {
            times.push(t.elapsed());
        }
    }
    times.sort_unstable();
    let at = |p: f64| times[((times.len() - 1) as f64 * p) as usize].as_secs_f64() * 1e6;
    println!(
        "warm read of {records} records: p50 {:.2} us, p99 {:.2} us",
        at(0.5),
        at(0.99)
    );
    Ok(())
}

fn edit(edits: usize) -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut vault = vault(&dir.path().join("v"), Cipher::Xaes)?;
    let mut ids: Vec<RecordId> = Vec::new();
    let units = records::texts(Shape::Chart, 1000).map(|text| {
        let (id, json) = records::parse(&text);
        ids.push(id.clone());
        Unit {
            resources: vec![(0, id, json)],
            atomic: false,
        }
    });
    vault.import("bench", units, &mut |_| {})?;
    let mut times = Vec::with_capacity(edits);
    for n in 0..edits {
        let id = &ids[(n * 7) % ids.len()];
        let t = now();
        let mut draft = vault.draft(id)?;
        draft.set(
            "birthDate",
            medsync_core::model::json::Json::string(&format!("19{:02}-01-01", n % 90)),
        );
        vault.commit(vec![draft])?;
        times.push(t.elapsed());
    }
    times.sort_unstable();
    let at = |p: f64| times[((times.len() - 1) as f64 * p) as usize].as_secs_f64() * 1e6;
    println!(
        "durable edit of a 5 kB record: p50 {:.0} us, p99 {:.0} us",
        at(0.5),
        at(0.99)
    );
    Ok(())
}
