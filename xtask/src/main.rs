//! The project's own chores. `cargo xtask test` is what CI runs; the rest are its parts.

#![forbid(unsafe_code)]

mod cuts;
mod fuzz;
mod golden;
mod hostile;
mod reader;
mod sim;
mod steps;
mod tidy;
mod walkthrough;

use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Chores of the medsync repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Chore {
    /// Everything CI checks, step by step.
    Test,
    /// Import order, file and function lengths, words, forgotten test files.
    Tidy,
    /// Formats the sources and applies what clippy can mend by itself.
    Fix,
    /// Power cuts, failing writes and bit rot under whole vaults (docs/benchmarks.md).
    Cuts {
        /// How many power cuts.
        #[arg(long, default_value_t = 2000)]
        count: u64,
        /// The seed of the first day.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Makes the golden vault of the present format of rows, which tests open for ever.
    Golden {
        /// Replaces the one that is there: only while nobody has a vault of that format yet.
        #[arg(long)]
        again: bool,
    },
    /// Whole worlds: replicas, sticks, power cuts, backups, clocks, hostile members (docs/simulation.md).
    Sim {
        /// How many worlds.
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
        /// Only the world of this seed.
        #[arg(long, conflicts_with = "seeds")]
        seed: Option<u64>,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// One world again, or some of its steps, as a failure prints it.
        #[arg(long, value_name = "SEED[:STEPS]", conflicts_with_all = ["seeds", "seed", "from"])]
        replay: Option<String>,
    },
    /// Memory and processor time that parts of 1 MiB cost which attackers would hand over.
    Hostile {
        /// Only attacks whose name contains this.
        #[arg(long)]
        only: Option<String>,
    },
    /// Runs docs/walkthrough.md as a reader would: every sh block, in order, in one shell.
    Walkthrough,
    /// Runs the fuzz targets of fuzz/ for a while each; needs nightly and cargo-fuzz.
    Fuzz {
        /// How long each target runs, in minutes; a fraction will do.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
        /// Only this target.
        #[arg(long)]
        target: Option<String>,
    },
}

fn main() -> ExitCode {
    let root = repository();
    let done = match Chore::parse() {
        Chore::Test => steps::test(&root),
        Chore::Tidy => tidy::run(&root),
        Chore::Fix => steps::fix(&root),
        Chore::Cuts { count, seed } => cuts::run(&root, count, seed),
        Chore::Golden { again } => golden::run(&root, again),
        Chore::Sim {
            seeds,
            seed,
            from,
            replay,
        } => match (replay, seed) {
            (Some(plan), _) => sim::replay(&root, &plan),
            (None, Some(seed)) => sim::replay(&root, &seed.to_string()),
            (None, None) => sim::run(&root, seeds, from),
        },
        Chore::Hostile { only } => hostile::run(&root, only.as_deref()),
        Chore::Walkthrough => walkthrough::run(&root),
        Chore::Fuzz { minutes, target } => fuzz::run(&root, minutes, target.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The checkout that cargo runs this from; failing that, the one it was built from.
fn repository() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
