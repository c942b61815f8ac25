//! Runs the walkthrough as its reader would, so that no command in it can go stale.

use std::path::Path;
use std::process::Command;

/// The page, relative to the repository.
pub(crate) const PAGE: &str = "docs/walkthrough.md";

/// Builds the release command and runs the page's blocks in a fresh folder with it on `PATH`.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let page = std::fs::read_to_string(root.join(PAGE)).map_err(|e| format!("{PAGE}: {e}"))?;
    let script = script(&page)?;
    let shared = root
        .join("../shared")
        .canonicalize()
        .map_err(|e| format!("../shared, the real data the walkthrough uses: {e}"))?;
    let built = Command::new("cargo")
        .args(["build", "--release", "--package", "medsync-cli"])
        .current_dir(root)
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if !built.success() {
        return Err("the medsync command does not build".to_owned());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |given| root.join(given));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        std::iter::once(target.join("release")).chain(std::env::split_paths(&path)),
    )
    .map_err(|e| format!("PATH: {e}"))?;
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let status = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("SHARED", shared)
        .env("HOME", folder.path())
        .status()
        .map_err(|e| format!("bash does not start: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!(
            "{PAGE} ended with {status}, in the block named last"
        ))
    }
}

/// One bash script of all blocks; each names its line in the page before it runs.
fn script(page: &str) -> Result<String, String> {
    let mut script = String::from("set -euo pipefail\n");
    let mut opened = None;
    let mut blocks = 0;
    for (number, line) in (1..).zip(page.lines()) {
        match opened {
            None if line.trim_end() == "```sh" => {
                opened = Some(number);
                blocks += 1;
                script += &format!("echo '-- {PAGE}:{number}' >&2\n");
            }
            None => {}
            Some(_) if line.trim_end() == "```" => opened = None,
            Some(_) => {
                script += line;
                script.push('\n');
            }
        }
    }
    match (opened, blocks) {
        (Some(line), _) => Err(format!("{PAGE}:{line}: the block is never closed")),
        (None, 0) => Err(format!("{PAGE} has no sh block")),
        (None, _) => Ok(script),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sh_blocks_run_in_their_order() {
        let page = "# T\n```sh\na=1\n```\ntext\n```text\nrm -rf\n```\n```sh\necho $a\n```\n";
        let script = script(page).expect("two blocks");
        assert_eq!(
            script,
            "set -euo pipefail\n\
             echo '-- docs/walkthrough.md:2' >&2\na=1\n\
             echo '-- docs/walkthrough.md:9' >&2\necho $a\n"
        );
    }

    #[test]
    fn a_page_without_blocks_or_with_an_open_one_fails() {
        assert!(script("nothing here\n").is_err());
        assert!(script("```sh\necho\n").is_err());
    }
}
