//! The golden vaults: one of every format of the rows, which every later engine has to open.

use std::path::Path;
use std::process::Command;

/// The test that makes one. It is run, not linked, like that of `cuts`.
const TEST: &str = "golden::makes_the_golden_vault_of_the_present_format";

/// Makes the golden vault of the present format; one that is there stays, unless `again` says that
/// nobody has a vault of that format yet.
pub(crate) fn run(root: &Path, again: bool) -> Result<(), String> {
    let args = "test --package medsync-core --test it -- --ignored --exact --nocapture";
    let status = Command::new("cargo")
        .args(args.split(' '))
        .arg(TEST)
        .env("MEDSYNC_GOLDEN", if again { "again" } else { "once" })
        .current_dir(root)
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("no golden vault was made; the lines above say why".to_owned())
    }
}
