//! Power cuts under the whole vault, as many as one likes.

use std::path::Path;
use std::process::Command;

/// The test that plays them. It is run, not linked: the engine's simulated disks are behind a
/// feature that no other program of the workspace should be built with.
const TEST: &str = "cuts::as_many_as_asked";

/// Runs `count` cuts from a seed on, in the profile that this program was built in. A failure names
/// the seed of its day.
pub(crate) fn run(root: &Path, count: u64, seed: u64) -> Result<(), String> {
    let mut args = vec!["test"];
    if !cfg!(debug_assertions) {
        args.push("--release");
    }
    args.extend(["--package", "medsync-core", "--test", "it", "--"]);
    args.extend(["--ignored", "--exact", "--nocapture", TEST]);
    let status = Command::new("cargo")
        .args(args)
        .env("MEDSYNC_CUTS", count.to_string())
        .env("MEDSYNC_SEED", seed.to_string())
        .current_dir(root)
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("a cut lost something; the lines above say which seed".to_owned())
    }
}
