//! The second reader: a script that opens a golden vault by docs/format.md alone.

use std::path::Path;
use std::process::Command;

const SCRIPT: &str = "docs/reader/read_vault.py";
const VAULT: &str = "crates/medsync-core/tests/golden/vault-1";
const PASSPHRASE: &str = "a golden passphrase";
const NEEDS: &str = "import cryptography, argon2, blake3, zstandard";

/// Runs it and compares what it counted with what the engine showed. The inner error is why it
/// could not be run.
pub(crate) fn run(root: &Path) -> Result<Result<(), String>, String> {
    let mut asked = Command::new("python3");
    let ready = asked.args(["-c", NEEDS]).output();
    if !ready.is_ok_and(|output| output.status.success()) {
        let why = "python3 with cryptography, argon2-cffi, blake3 and zstandard is not there";
        return Ok(Err(why.to_owned()));
    }
    let output = Command::new("python3")
        .args([SCRIPT, VAULT, PASSPHRASE])
        .current_dir(root)
        .output()
        .map_err(|e| format!("python3 does not start: {e}"))?;
    let listed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the second reader does not read {VAULT}: {said}"));
    }
    let shown = root.join(VAULT).join("shown.txt");
    let shown = std::fs::read_to_string(&shown).map_err(|e| format!("{VAULT}: {e}"))?;
    let (read, expected) = (counted(&listed), shown.lines().next().unwrap_or_default());
    if read == expected {
        println!("the second reader: {read}");
        Ok(Ok(()))
    } else {
        Err(format!(
            "the second reader has {read}, the engine {expected}"
        ))
    }
}

/// The first line of what the engine showed, from the script's list.
fn counted(listed: &str) -> String {
    let commits = listed.lines().filter(|l| l.starts_with("commit ")).count();
    let records = listed.lines().find_map(|l| l.strip_prefix("records "));
    let records = records.map_or(0, |names| names.split_whitespace().count());
    format!("records | {records} | commits | {commits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_and_records_are_counted_from_the_list() {
        let listed =
            "commit 0 1 aa bb\n  item\ncommit 0 2 cc bb\n  change A/1 dd\nrecords A/1 B/2\n";
        assert_eq!(counted(listed), "records | 2 | commits | 2");
        assert_eq!(counted(""), "records | 0 | commits | 0");
    }
}
