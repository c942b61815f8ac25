//! The power cut: an import in a process of its own, killed in the middle of its writing.

use super::clinic::PASSPHRASE;
use crate::exit::{Done, FAILED, Failure};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Bytes the vault grows by before the plug is pulled: some of the import is durable then.
const GROWTH: u64 = 6 << 20;
/// Longest wait for that, in steps of 5 ms.
const STEPS: usize = 4000;

/// Imports a file into a vault by a second process and kills that before it is done. Returns
/// whether the process was still writing.
pub(super) fn during_import(vault: &Path, passphrase: &Path, file: &Path) -> Done<bool> {
    let mut secret = fs::File::create(passphrase)?;
    secret.write_all(PASSPHRASE.as_bytes())?;
    drop(secret);
    let start = size(vault);
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--vault")
        .arg(vault)
        .arg("--passphrase-file")
        .arg(passphrase)
        .args(["import", "--source", "district"])
        .arg(file)
        .env_remove("MEDSYNC_PIN_FILE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let cut = pull_the_plug(&mut child, vault, start);
    fs::remove_file(passphrase)?;
    cut
}

fn pull_the_plug(child: &mut Child, vault: &Path, start: u64) -> Done<bool> {
    for _ in 0..STEPS {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                let hint = "run the same import by hand to see why";
                return Err(Failure::new(FAILED, "the demo's import failed", hint));
            }
            return Ok(false);
        }
        if size(vault) >= start + GROWTH {
            // The first part is being made durable: let that end, and cut into the next.
            sleep(Duration::from_millis(80));
            break;
        }
        sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()?;
    Ok(true)
}

/// Bytes the vault's files take on the disk, holes not counted.
fn size(vault: &Path) -> u64 {
    let files = fs::read_dir(vault).into_iter().flatten().flatten();
    files
        .filter_map(|f| f.metadata().ok())
        .map(|m| m.len())
        .sum()
}
