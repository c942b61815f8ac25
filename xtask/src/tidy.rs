//! What rustc and clippy do not check: the order of imports, lengths, words, forgotten files.

mod claims;
mod golden;
mod imports;
mod source;
mod style;

use source::Source;
use std::fmt;
use std::path::Path;

/// One thing to mend.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Checks every source file of the repository and prints what to mend.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut sources = Vec::new();
    collect(root, root, &mut sources)?;
    let mut faults = judge(&sources);
    golden::check(root, &sources, &mut faults);
    claims::check(root, &sources, &mut faults);
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() {
        println!("{} files are tidy", sources.len());
        Ok(())
    } else {
        Err(format!("{} faults", faults.len()))
    }
}

fn judge(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources {
        style::check(source, &mut faults);
        imports::check(source, &mut faults);
    }
    forgotten_tests(sources, &mut faults);
    faults.sort();
    faults
}

fn collect(root: &Path, folder: &Path, into: &mut Vec<Source>) -> Result<(), String> {
    let unreadable = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        entries.push(entry.map_err(unreadable)?.path());
    }
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(root, &path, into)?;
            }
        } else if name.ends_with(".rs") {
            let text = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let relative = relative.to_string_lossy().replace('\\', "/");
            into.push(Source::new(relative, &String::from_utf8_lossy(&text)));
        }
    }
    Ok(())
}

/// A file beside `tests/it/main.rs` that no `mod` names never runs, and nobody notices.
fn forgotten_tests(sources: &[Source], faults: &mut Vec<Fault>) {
    for source in sources {
        let Some((crate_path, file)) = source.path.split_once("/tests/it/") else {
            continue;
        };
        if file == "main.rs" {
            continue;
        }
        let (holder, module) = match file.trim_end_matches(".rs").rsplit_once('/') {
            None => ("main.rs".to_owned(), file.trim_end_matches(".rs")),
            Some((folder, "mod")) => match folder.rsplit_once('/') {
                None => ("main.rs".to_owned(), folder),
                Some((above, name)) => (format!("{above}.rs"), name),
            },
            Some((folder, name)) => (format!("{folder}.rs"), name),
        };
        let plain = format!("{crate_path}/tests/it/{holder}");
        let as_mod = plain.replace(".rs", "/mod.rs");
        let named = sources
            .iter()
            .filter(|other| other.path == plain || other.path == as_mod)
            .any(|other| imports::declares(other, module));
        if !named {
            faults.push(source.fault(1, format!("no `mod {module};` in {holder}: it never runs")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(tree: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = tree
            .iter()
            .map(|(path, text)| Source::new((*path).to_owned(), text))
            .collect();
        judge(&sources).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_test_file_that_no_mod_names_is_found() {
        let main = ("crates/a/tests/it/main.rs", "mod edit;\nmod deep;\n");
        let deep = ("crates/a/tests/it/deep/mod.rs", "mod inner;\n");
        let fine = [
            main,
            deep,
            ("crates/a/tests/it/edit.rs", ""),
            ("crates/a/tests/it/deep/inner.rs", ""),
        ];
        assert_eq!(faults(&fine), [""; 0]);
        let with_lost = [
            main,
            deep,
            ("crates/a/tests/it/lost.rs", ""),
            ("crates/a/tests/it/deep/gone.rs", ""),
        ];
        assert_eq!(
            faults(&with_lost),
            [
                "crates/a/tests/it/deep/gone.rs:1: no `mod gone;` in deep.rs: it never runs",
                "crates/a/tests/it/lost.rs:1: no `mod lost;` in main.rs: it never runs",
            ]
        );
    }

    #[test]
    fn a_tree_on_disk_is_walked_without_its_build_folder() {
        let tree = tempfile::tempdir().expect("a temporary folder");
        for (path, text) in [
            ("crates/medsync-core/src/model/a.rs", "use crate::vault;\n"),
            ("target/debug/build.rs", "use crate::vault;\n"),
            (".git/hook.rs", "use crate::vault;\n"),
        ] {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().expect("not the root")).expect("created");
            std::fs::write(path, text).expect("written");
        }
        let mut sources = Vec::new();
        collect(tree.path(), tree.path(), &mut sources).expect("readable");
        assert_eq!(sources.len(), 1);
        assert!(run(tree.path()).is_err());
    }
}
