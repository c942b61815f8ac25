//! The power cut: an import in a process of its own, killed in the middle of its writing.

use super::clinic::PASSPHRASE;
use crate::exit::{Done, FAILED, Failure};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Bytes the vault grows by in an import, and not by being opened.
const GROWTH: u64 = 1 << 20;
/// How often to look.
const LOOK: Duration = Duration::from_millis(2);
/// Longest wait, in looks.
const LOOKS: usize = 10_000;

/// Imports a file into a vault by a second process and kills that before it is done. Returns
/// whether the process was still writing.
pub(super) fn during_import(vault: &Path, passphrase: &Path, file: &Path) -> Done<bool> {
    let mut secret = fs::File::create(passphrase)?;
    secret.write_all(PASSPHRASE.as_bytes())?;
    drop(secret);
    let start = size(vault);
    // What this machine remembers of the vault changes each time more of it is durable.
    let memory = passphrase.with_file_name("memory");
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--vault")
        .arg(vault)
        .arg("--passphrase-file")
        .arg(passphrase)
        .args(["import", "--source", "district"])
        .arg(file)
        .env("MEDSYNC_STATE", &memory)
        .env_remove("MEDSYNC_PIN_FILE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let cut = pull_the_plug(&mut child, &memory, || size(vault) >= start + GROWTH);
    fs::remove_file(passphrase)?;
    cut
}

/// Kills the import once a first part of it is durable, while it writes the next.
fn pull_the_plug(child: &mut Child, memory: &Path, growing: impl Fn() -> bool) -> Done<bool> {
    let mut before = remembered(memory);
    for _ in 0..LOOKS {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                let hint = "run the same import by hand to see why";
                return Err(Failure::new(FAILED, "the demo's import failed", hint));
            }
            return Ok(false);
        }
        let now = remembered(memory);
        match growing() {
            false => before = now,
            true if before != now => break,
            true => {}
        }
        sleep(LOOK);
    }
    child.kill()?;
    child.wait()?;
    Ok(true)
}

/// What this machine remembers of its vaults.
fn remembered(memory: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(memory).into_iter().flatten().flatten();
    files.filter_map(|f| fs::read(f.path()).ok()).collect()
}

/// Bytes the vault's files take on the disk, holes not counted.
fn size(vault: &Path) -> u64 {
    let files = fs::read_dir(vault).into_iter().flatten().flatten();
    files
        .filter_map(|f| f.metadata().ok())
        .map(|m| m.len())
        .sum()
}
