//! The threat model, and what is said of hostile input, name the tests that hold their claims: they
//! have to be there.

use super::Fault;
use super::source::Source;
use std::path::Path;

const PAGE: &str = "docs/threat-model.md";
const HOSTILE: &str = "docs/hostile-input.md";
const ATTACKERS: &str = "## Attackers";
const HELD: &str = "## What holds";
const SHOWN: &str = "## What shows it";

pub(super) fn check(root: &Path, sources: &[Source], faults: &mut Vec<Fault>) {
    if let Ok(text) = std::fs::read_to_string(root.join(PAGE)) {
        judge(&text, sources, faults);
    }
    if let Ok(text) = std::fs::read_to_string(root.join(HOSTILE)) {
        judge_names(&text, sources, faults);
    }
}

/// Whether every test that is named is there, and every row of attacks names one.
fn judge_names(text: &str, sources: &[Source], faults: &mut Vec<Fault>) {
    let mut fault = |line: usize, what: String| {
        let path = HOSTILE.to_owned();
        faults.push(Fault { path, line, what });
    };
    let mut section = "";
    for (no, line) in (1..).zip(text.lines()) {
        if line.starts_with("## ") {
            section = line;
        }
        let names: Vec<&str> = line.split('`').filter(|p| p.contains(".rs::")).collect();
        let row = section == HELD && line.starts_with("| ") && !line.starts_with("| Attack |");
        if row && names.is_empty() {
            fault(no, "an attack without a test".to_owned());
        }
        for name in names {
            if !is_test(name, sources) {
                fault(no, format!("there is no test {name}"));
            }
        }
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

    #[test]
    fn an_attack_names_a_test_that_is_there() {
        let source = Source::new(
            "crates/a/src/b.rs".to_owned(),
            "//! B.\n#[test]\nfn holds() {}\n",
        );
        let faults = |test: &str| {
            let text =
                format!("## What holds\n| Attack | Held by |\n|---|---|\n| bombs | {test} |\n");
            let mut faults = Vec::new();
            judge_names(&text, std::slice::from_ref(&source), &mut faults);
            faults.len()
        };
        assert_eq!(faults("`crates/a/src/b.rs::holds`"), 0);
        assert_eq!(faults("`crates/a/src/b.rs::absent`"), 1);
        assert_eq!(faults("nothing"), 1);
    }
}
