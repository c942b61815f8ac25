//! What foreign input costs: memory and processor time of each attack.

use std::path::Path;
use std::process::Command;

/// Runs the measurement, in the profile that this program was built in, of the attacks whose name
/// contains `only`.
pub(crate) fn run(root: &Path, only: Option<&str>) -> Result<(), String> {
    let mut args = vec!["test"];
    if !cfg!(debug_assertions) {
        args.push("--release");
    }
    args.extend(["--package", "medsync-core", "--test", "hostile", "--"]);
    args.extend(["--ignored", "--exact", "--nocapture", "figures"]);
    let status = Command::new("cargo")
        .args(args)
        .env("MEDSYNC_BOMB", only.unwrap_or_default())
        .current_dir(root)
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("an attack could not be measured; the lines above say which".to_owned())
    }
}
