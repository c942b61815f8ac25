//! Simulated worlds, as many as one likes, or one of them again.

use std::path::Path;
use std::process::Command;

/// The test that plays them, run and not linked for the reason that `cuts` has.
const TEST: &str = "sim::as_many_as_asked";

/// Plays `count` worlds from a seed on, in the profile that this program was built in.
pub(crate) fn run(root: &Path, count: u64, seed: u64) -> Result<(), String> {
    let asked = [("MEDSYNC_WORLDS", count), ("MEDSYNC_SEED", seed)];
    play(
        root,
        &asked.map(|(name, number)| (name, number.to_string())),
    )
}

/// What CI plays: 2,000 worlds, or as many as ten minutes are enough for.
pub(crate) fn ci(root: &Path) -> Result<(), String> {
    let asked = [
        // More once more were seen to pass in ten minutes (docs/simulation.md).
        ("MEDSYNC_WORLDS", "900".to_owned()),
        ("MEDSYNC_SECONDS", "600".to_owned()),
    ];
    play(root, &asked)
}

/// Plays one world again, or some steps of it: `SEED[:STEPS][!REPLICAS]`.
pub(crate) fn replay(root: &Path, plan: &str) -> Result<(), String> {
    play(root, &[("MEDSYNC_REPLAY", plan.to_owned())])
}

fn play(root: &Path, asked: &[(&str, String)]) -> Result<(), String> {
    let mut args = vec!["test"];
    if !cfg!(debug_assertions) {
        args.push("--release");
    }
    args.extend(["--package", "medsync-core", "--test", "it", "--"]);
    args.extend(["--ignored", "--exact", "--nocapture", TEST]);
    let status = Command::new("cargo")
        .args(args)
        .envs(asked.iter().map(|(name, value)| (name, value)))
        .current_dir(root)
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("a world failed; the lines above say how to play it again".to_owned())
    }
}
