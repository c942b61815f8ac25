//! The steps of `cargo xtask test`, each under a heading and with the time it took.

use crate::{reader, sim, tidy, walkthrough};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

type Step = fn(&Path) -> Result<Outcome, String>;

/// How a step ended that did not fail.
enum Outcome {
    Passed,
    /// What could not be checked here, for the summary.
    Skipped(String),
}

const STEPS: [(&str, Step); 10] = [
    ("format", |root| {
        cargo(root, &["fmt", "--all", "--check"], &[])
    }),
    ("clippy", |root| {
        cargo(
            root,
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        )
    }),
    ("test", |root| cargo(root, &["test", "--workspace"], &[])),
    ("worlds", |root| sim::ci(root).map(|()| Outcome::Passed)),
    ("doc", |root| {
        cargo(
            root,
            &["doc", "--workspace", "--no-deps"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        )
    }),
    ("tidy", |root| tidy::run(root).map(|()| Outcome::Passed)),
    ("deny", deny),
    ("second reader", |root| {
        Ok(reader::run(root)?.map_or_else(Outcome::Skipped, |()| Outcome::Passed))
    }),
    ("walkthrough", |root| {
        if root.join(walkthrough::PAGE).is_file() {
            walkthrough::run(root).map(|()| Outcome::Passed)
        } else {
            Ok(Outcome::Skipped(format!("no {}", walkthrough::PAGE)))
        }
    }),
    ("examples", examples),
];

/// Runs every step and stops at the first that fails.
pub(crate) fn test(root: &Path) -> Result<(), String> {
    let mut lines = Vec::new();
    for (name, step) in STEPS {
        println!("\n== {name} ==");
        let (outcome, took) = timed(|| step(root));
        let took = format!("{:>7.1} s", took.as_secs_f64());
        match outcome {
            Ok(Outcome::Passed) => lines.push(format!("{took}  {name}")),
            Ok(Outcome::Skipped(why)) => lines.push(format!("{took}  {name}: NOT CHECKED, {why}")),
            Err(why) => return Err(format!("{name} failed after {}: {why}", took.trim_start())),
        }
    }
    println!("\n== all steps ==");
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

/// Formats, then lets clippy apply its machine-applicable suggestions.
pub(crate) fn fix(root: &Path) -> Result<(), String> {
    let clippy = "clippy --workspace --all-targets --fix --allow-dirty --allow-staged";
    let clippy: Vec<&str> = clippy.split(' ').collect();
    cargo(root, &clippy, &[])?;
    cargo(root, &["fmt", "--all"], &[]).map(|_| ())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a chore's timing is not the engine's clock"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let out = work();
    (out, start.elapsed())
}

fn cargo(root: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<Outcome, String> {
    println!("$ cargo {}", args.join(" "));
    let status = Command::new("cargo")
        .args(args)
        .envs(env.iter().copied())
        .current_dir(root)
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if status.success() {
        Ok(Outcome::Passed)
    } else {
        Err(format!("cargo {} ended with {status}", args.join(" ")))
    }
}

/// Whether a command works; its output is nobody's business.
fn works(root: &Path, args: &[&str]) -> bool {
    Command::new("cargo")
        .args(args)
        .current_dir(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Licences, duplicates and sources always; known vulnerabilities when their database can be had,
/// because a network that is away must not stop the work of a day.
fn deny(root: &Path) -> Result<Outcome, String> {
    if !works(root, &["deny", "--version"]) {
        let why = "cargo-deny is not installed; `.ci/run` installs it".to_owned();
        return if std::env::var_os("CI").is_some() {
            Err(why)
        } else {
            Ok(Outcome::Skipped(why))
        };
    }
    cargo(root, &["deny", "check", "bans", "licenses", "sources"], &[])?;
    if works(root, &["deny", "fetch", "db"]) {
        cargo(root, &["deny", "check", "advisories"], &[])
    } else {
        Ok(Outcome::Skipped(
            "the advisory database is out of reach; licences and sources were".to_owned(),
        ))
    }
}

/// Runs every example target, and every binary of a package below `examples/`.
fn examples(root: &Path) -> Result<Outcome, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    let metadata = serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("cargo metadata is not readable: {e}"))?;
    let targets = example_targets(&metadata, &root.join("examples"));
    if targets.is_empty() {
        return Ok(Outcome::Skipped("there are none".to_owned()));
    }
    for (package, flag, name) in targets {
        cargo(root, &["run", "--package", &package, flag, &name], &[])?;
    }
    Ok(Outcome::Passed)
}

fn example_targets(
    metadata: &serde_json::Value,
    folder: &Path,
) -> Vec<(String, &'static str, String)> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut targets = Vec::new();
    for package in list(&metadata["packages"]) {
        let below_examples = Path::new(&text(&package["manifest_path"])).starts_with(folder);
        for target in list(&package["targets"]) {
            let kinds = list(&target["kind"]);
            let flag = if kinds.iter().any(|kind| kind == "example") {
                "--example"
            } else if below_examples && kinds.iter().any(|kind| kind == "bin") {
                "--bin"
            } else {
                continue;
            };
            targets.push((text(&package["name"]), flag, text(&target["name"])));
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_example_targets_and_binaries_below_the_folder() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "core", "manifest_path": "/r/crates/core/Cargo.toml", "targets": [
                { "name": "core", "kind": ["lib"] },
                { "name": "tool", "kind": ["bin"] },
                { "name": "ward", "kind": ["example"] } ] },
            { "name": "wire", "manifest_path": "/r/examples/wire/Cargo.toml", "targets": [
                { "name": "wire", "kind": ["bin"] } ] } ] });
        let found = example_targets(&metadata, Path::new("/r/examples"));
        assert_eq!(
            found,
            [
                ("core".to_owned(), "--example", "ward".to_owned()),
                ("wire".to_owned(), "--bin", "wire".to_owned())
            ]
        );
    }
}
