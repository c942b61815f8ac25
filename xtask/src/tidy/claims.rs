//! The threat model names the tests that hold its claims: they have to be there.

use super::Fault;
use super::source::Source;
use std::path::Path;

const PAGE: &str = "docs/threat-model.md";
const ATTACKERS: &str = "## Attackers";
const SHOWN: &str = "## What shows it";

pub(super) fn check(root: &Path, sources: &[Source], faults: &mut Vec<Fault>) {
    if let Ok(text) = std::fs::read_to_string(root.join(PAGE)) {
        judge(&text, sources, faults);
    }
}

fn judge(text: &str, sources: &[Source], faults: &mut Vec<Fault>) {
    let mut fault = |line: usize, what: String| {
        let path = PAGE.to_owned();
        faults.push(Fault { path, line, what });
    };
    let mut section = "";
    let (mut attackers, mut shown) = (Vec::new(), Vec::new());
    for (no, line) in (1..).zip(text.lines()) {
        if line.starts_with("## ") {
            section = line;
        }
        let first = line.strip_prefix("| ").and_then(|l| l.split(" | ").next());
        match section {
            ATTACKERS => attackers.extend(first.filter(|a| *a != "Attacker").map(|a| (no, a))),
            SHOWN => {
                let unshown = line.strip_prefix("- ").and_then(|l| l.split(':').next());
                shown.extend(first.or(unshown));
                for name in line.split('`').filter(|part| part.contains(".rs::")) {
                    if !is_test(name, sources) {
                        fault(no, format!("there is no test {name}"));
                    }
                }
            }
            _ => {}
        }
    }
    for (no, attacker) in attackers {
        if !shown.contains(&attacker) {
            fault(no, format!("no claim about `{attacker}` under \"{SHOWN}\""));
        }
    }
}

/// Whether `path::name` is a function after a test's attribute, or a property's.
fn is_test(name: &str, sources: &[Source]) -> bool {
    let Some((path, name)) = name.split_once("::") else {
        return false;
    };
    let begins = format!("fn {name}(");
    let source = sources.iter().find(|source| source.path == path);
    source.is_some_and(|source| {
        let lines: Vec<&str> = source.code.lines().map(str::trim).collect();
        let at = lines.iter().position(|line| line.starts_with(&begins));
        let above = at.and_then(|at| lines.get(at.saturating_sub(8)..at));
        // Between the attribute and its function stand only other attributes.
        let mut above = above.unwrap_or_default().iter().rev();
        above
            .by_ref()
            .take_while(|line| !line.is_empty() && !line.ends_with('}'))
            .any(|line| *line == "#[test]")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_names_a_test_that_is_there_and_no_attacker_is_left_out() {
        let source = Source::new(
            "crates/a/src/b.rs".to_owned(),
            "//! B.\n#[test]\n#[cfg(unix)]\nfn holds() {}\n\nfn helps() {}\n",
        );
        let page = |test: &str| {
            format!(
                "## Attackers\n| Attacker | Wants |\n|---|---|\n| Thief | x |\n| Hub | y |\n\n\
                 ## What shows it\n| Thief | claim | `crates/a/src/b.rs::{test}` |\n\n- Hub: not yet\n"
            )
        };
        let faults = |text: &str| {
            let mut faults = Vec::new();
            judge(text, std::slice::from_ref(&source), &mut faults);
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(faults(&page("holds")), [""; 0]);
        for bad in ["helps", "absent"] {
            let found = faults(&page(bad));
            assert!(found.len() == 1 && found[0].contains(bad), "{found:?}");
        }
        let left_out = page("holds").replace("- Hub: not yet\n", "");
        assert!(faults(&left_out)[0].contains("no claim about `Hub`"));
    }
}
