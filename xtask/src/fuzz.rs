//! Runs the fuzz targets for a while each and says what came of it.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

const HELP: &str = "fuzzing needs a nightly compiler and cargo-fuzz; install them with\n  \
    rustup toolchain install nightly --profile minimal\n  \
    cargo install --locked cargo-fuzz";
/// Most memory of a run. AddressSanitizer alone takes a good part of it.
const RSS_MIB: u32 = 1024;
/// Most memory of one allocation: no parser has a reason to ask for more at once.
const ALLOCATION_MIB: u32 = 64;
/// Longest time for one input.
const INPUT_SECONDS: u32 = 10;

/// What a run amounted to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    runs: u64,
    coverage: u64,
    peak_mib: u64,
}

/// Runs every target, or the one that is named, for so many minutes.
pub(crate) fn run(root: &Path, minutes: f64, only: Option<&str>) -> Result<(), String> {
    let seconds = seconds(minutes)?;
    let mut targets = targets(root)?;
    if let Some(only) = only {
        targets.retain(|target| target == only);
        if targets.is_empty() {
            return Err(format!("there is no fuzz target {only}"));
        }
    }
    if !installed(root) {
        return Err(HELP.to_owned());
    }
    let mut lines = Vec::new();
    let mut crashed = 0;
    for target in &targets {
        println!("\n== {target} ==");
        let (log, passed) = fuzz(root, target, seconds)?;
        let found = figures(&log);
        if !passed {
            crashed += 1;
            println!("{log}");
        }
        let end = if passed { "no crash" } else { "FAILED" };
        lines.push(format!(
            "{target:<14} {:>11} runs {:>6} edges {:>5} MiB  {end}",
            found.runs, found.coverage, found.peak_mib
        ));
    }
    println!("\n== {seconds} s each ==");
    lines.iter().for_each(|line| println!("{line}"));
    if crashed > 0 {
        return Err(format!(
            "{crashed} targets failed; the inputs lie in fuzz/artifacts"
        ));
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range was checked"
)]
fn seconds(minutes: f64) -> Result<u64, String> {
    let seconds = (minutes * 60.0).round();
    if (1.0..=604_800.0).contains(&seconds) {
        Ok(seconds as u64)
    } else {
        Err("minutes are more than none and at most a week".to_owned())
    }
}

/// The targets are the files of their folder.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let folder = root.join("fuzz/fuzz_targets");
    let unreadable = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy();
        targets.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    targets.sort();
    Ok(targets)
}

/// The compiler that runs this chore is not the one that fuzzes: cargo is asked for by rustup's
/// name, and what cargo told its child about itself is taken back.
fn nightly(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    command
        .arg("+nightly")
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN")
        .current_dir(root);
    command
}

fn installed(root: &Path) -> bool {
    nightly(root)
        .args(["fuzz", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// New inputs go beside the build: the repository's seeds stay a handful.
fn fuzz(root: &Path, target: &str, seconds: u64) -> Result<(String, bool), String> {
    let found = format!("fuzz/target/corpus/{target}");
    std::fs::create_dir_all(root.join(&found)).map_err(|e| format!("{found}: {e}"))?;
    let seeds = format!("fuzz/corpus/{target}");
    let mut child = nightly(root)
        .args(["fuzz", "run", target, &found, &seeds, "--"])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={RSS_MIB}"))
        .arg(format!("-malloc_limit_mb={ALLOCATION_MIB}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .args(["-print_final_stats=1", "-fork=0"])
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    let mut log = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr
            .read_to_end(&mut log)
            .map_err(|e| format!("{target}: {e}"))?;
    }
    let status = child.wait().map_err(|e| format!("{target}: {e}"))?;
    Ok((String::from_utf8_lossy(&log).into_owned(), status.success()))
}

/// The figures of libFuzzer's last lines.
fn figures(log: &str) -> Figures {
    let stat = |name: &str| {
        let mut lines = log.lines().rev();
        lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let coverage = log.lines().rev().find_map(|line| {
        let (_, rest) = line.strip_prefix('#')?.split_once(" cov: ")?;
        rest.split_whitespace().next()?.parse().ok()
    });
    Figures {
        runs: stat("stat::number_of_executed_units:").unwrap_or(0),
        coverage: coverage.unwrap_or(0),
        peak_mib: stat("stat::peak_rss_mb:").unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_read_from_the_last_lines() {
        let log = "#8\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 40Mb\n\
            #900\tDONE   cov: 345 ft: 700 corp: 20/1Kb lim: 4 exec/s: 30 rss: 77Mb\n\
            Done 900 runs in 30 second(s)\n\
            stat::number_of_executed_units: 900\n\
            stat::peak_rss_mb:              77\n";
        let expected = Figures {
            runs: 900,
            coverage: 345,
            peak_mib: 77,
        };
        assert_eq!(figures(log), expected);
        assert_eq!(figures("error: no such target"), Figures::default());
    }

    #[test]
    fn minutes_may_be_fractions_and_have_bounds() {
        assert_eq!(seconds(0.5), Ok(30));
        assert_eq!(seconds(10.0), Ok(600));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(seconds(bad).is_err());
        }
    }

    #[test]
    fn every_target_has_seeds_and_is_listed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).expect("a manifest");
        for target in targets(&root).expect("targets") {
            assert!(
                manifest.contains(&format!("name = \"{target}\"")),
                "{target}"
            );
            let seeds = root.join("fuzz/corpus").join(&target);
            let mut seeds = std::fs::read_dir(seeds).expect("seeds");
            assert!(seeds.next().is_some(), "{target}");
        }
    }
}
