//! Every format of a vault's rows before the present one has a golden vault, which tests open for
//! ever. That of the present one is made when nothing of it changes any more.

use super::Fault;
use super::source::Source;
use std::path::Path;

/// Where the format's number stands.
const NAMED_IN: &str = "crates/medsync-core/src/vault/migrate.rs";
const CONSTANT: &str = "pub const FORMAT: u32 = ";
const FOLDER: &str = "crates/medsync-core/tests/golden";

pub(super) fn check(root: &Path, sources: &[Source], faults: &mut Vec<Fault>) {
    let Some(source) = sources.iter().find(|s| s.path == NAMED_IN) else {
        return;
    };
    let number = |line: &str| line.strip_prefix(CONSTANT)?.strip_suffix(';')?.parse().ok();
    let named = (1..)
        .zip(source.text.lines())
        .find_map(|(no, l)| Some((no, number(l)?)));
    let Some((line, format)) = named else {
        faults.push(source.fault(1, format!("no line `{CONSTANT}N;`")));
        return;
    };
    let newest: u32 = format;
    for format in 1..newest {
        let kept = root.join(FOLDER).join(format!("vault-{format}"));
        if !kept.is_dir() {
            let what = format!("format {format} has no golden vault; `cargo xtask golden`");
            faults.push(source.fault(line, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_without_a_golden_vault_is_a_fault() {
        let root = tempfile::tempdir().expect("a folder");
        let open = Source::new(
            NAMED_IN.to_owned(),
            "//! Opens.\npub const FORMAT: u32 = 3;\n",
        );
        let faults = |sources: &[Source]| {
            let mut faults = Vec::new();
            check(root.path(), sources, &mut faults);
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let all = [open];
        assert_eq!(faults(&all).len(), 2);
        std::fs::create_dir_all(root.path().join(FOLDER).join("vault-1")).expect("a folder");
        let left = faults(&all);
        assert!(
            left.len() == 1 && left[0].contains("migrate.rs:2: format 2"),
            "{left:?}"
        );
        std::fs::create_dir_all(root.path().join(FOLDER).join("vault-2")).expect("a folder");
        assert_eq!(faults(&all), [""; 0]);
        let unnamed = [Source::new(NAMED_IN.to_owned(), "//! Opens.\n")];
        assert_eq!(faults(&unnamed).len(), 1);
    }
}
