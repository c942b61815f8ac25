//! The order of imports inside medsync-core: docs/architecture.md draws it, this enforces it.

use super::Fault;
use super::source::{Source, Token};

const FOUNDATIONS: [&str; 6] = ["ids", "time", "env", "phi", "error", "planted"];

/// Each module and what it may import beside the foundations. Foundations may import `error` only,
/// and `error` nothing.
const LAYERS: [(&str, &[&str]); 7] = [
    ("model", &[]),
    ("doc", &["model"]),
    ("crypto", &["model"]),
    ("ledger", &["model", "crypto"]),
    ("store", &["model", "crypto", "ledger"]),
    ("sync", &["model", "crypto", "ledger"]),
    (
        "vault",
        &["model", "doc", "crypto", "ledger", "store", "sync"],
    ),
];

/// Crates that one module alone may name, so that the rest can do without them.
const NAMED_BY: [(&str, &str); 2] = [("automerge", "doc"), ("redb", "store")];

/// May import anything, and anything may import it: it exists only under its feature. So may
/// files `tests.rs` and `*_tests.rs`, which do not ship.
const FREE: &str = "testing";

/// Reports every import that the order forbids.
pub(crate) fn check(source: &Source, faults: &mut Vec<Fault>) {
    let Some(path) = module_path(&source.path) else {
        return;
    };
    let Some(own) = path.first() else {
        return;
    };
    let of_tests = |name: &&str| *name == "tests" || name.ends_with("_tests");
    if *own == FREE || path.iter().any(of_tests) {
        return;
    }
    let known = FOUNDATIONS.contains(own) || LAYERS.iter().any(|(name, _)| name == own);
    if !known {
        let what = format!("module `{own}` has no place in the order of imports (tidy/imports.rs)");
        faults.push(source.fault(1, what));
        return;
    }
    for (line, target) in internal(&source.tokens(), path.len()) {
        if target != *own && target != FREE && !allowed(own).any(|name| name == target) {
            let what = format!("`{own}` must not import `crate::{target}`");
            faults.push(source.fault(line, what));
        }
    }
    for (line, library) in libraries(&source.tokens()) {
        for (name, owner) in NAMED_BY {
            if library == name && *own != owner {
                let what = format!("only `{owner}` names {name}");
                faults.push(source.fault(line, what));
            }
        }
    }
}

/// Whether a file has `mod name;`.
pub(crate) fn declares(source: &Source, name: &str) -> bool {
    source
        .tokens()
        .windows(3)
        .any(|w| w[0].text == "mod" && w[1].text == name && w[2].text == ";")
}

fn allowed(own: &str) -> impl Iterator<Item = &'static str> {
    let layer = LAYERS.iter().find(|(name, _)| *name == own);
    let layers: &[&str] = layer.map_or(&[], |(_, layers)| layers);
    let foundations: &[&str] = match own {
        "error" => &[],
        _ if layer.is_none() => &["error"],
        _ => &FOUNDATIONS,
    };
    foundations.iter().chain(layers).copied()
}

/// `crates/medsync-core/src/a/b.rs` is module `a::b`; lib.rs, which lists all names, is none.
fn module_path(path: &str) -> Option<Vec<&str>> {
    let inside = path.strip_prefix("crates/medsync-core/src/")?;
    let mut parts: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
    if matches!(parts.last(), Some(&"mod" | &"lib")) {
        parts.pop();
    }
    Some(parts)
}

/// Top-level modules that a file's code names through `crate::` or enough `super::`, with lines.
/// Test modules are left out: they do not ship.
fn internal<'a>(tokens: &[Token<'a>], file_depth: usize) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    // Depth at which each open inline module began, and whether it is for tests.
    let mut open: Vec<(usize, bool)> = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if open.last().is_some_and(|(at, _)| *at == depth) {
                    open.pop();
                }
            }
            "mod" if text(tokens, i + 2) == "{" => open.push((depth, is_test(tokens, i))),
            "crate" | "super" if text(tokens, i + 1) == "::" => {
                let before = if i > 0 { text(tokens, i - 1) } else { "" };
                let in_tests = open.iter().any(|(_, test)| *test);
                if in_tests || before == "$" || before == "::" {
                    continue;
                }
                let mut after = i;
                let mut climbed = 0;
                while text(tokens, after) == "super" && text(tokens, after + 1) == "::" {
                    after += 2;
                    climbed += 1;
                }
                if token.text == "crate" {
                    after += 2;
                }
                // Fewer steps than modules stay inside the file's own top-level module.
                if token.text == "crate" || climbed >= file_depth + open.len() {
                    heads(tokens, after, &mut found);
                }
            }
            _ => {}
        }
    }
    found
}

/// The first name of a path, or of each path of a group.
fn heads<'a>(tokens: &[Token<'a>], at: usize, found: &mut Vec<(usize, &'a str)>) {
    if text(tokens, at) != "{" {
        found.extend(tokens.get(at).map(|token| (token.line, token.text)));
        return;
    }
    let mut depth = 0_usize;
    for pair in tokens[at..].windows(2) {
        match pair[0].text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
        if depth == 1 && matches!(pair[0].text, "{" | ",") && pair[1].text != "}" {
            found.push((pair[1].line, pair[1].text));
        }
    }
}

/// Names that a library of [`NAMED_BY`] goes by, wherever they stand outside tests.
fn libraries<'a>(tokens: &[Token<'a>]) -> Vec<(usize, &'a str)> {
    tokens
        .iter()
        .enumerate()
        .filter(|(i, token)| {
            NAMED_BY.iter().any(|(name, _)| *name == token.text)
                && (text(tokens, i + 1) == "::"
                    || (*i > 0 && matches!(text(tokens, i - 1), "use" | "crate")))
        })
        .map(|(_, token)| (token.line, token.text))
        .collect()
}

/// Whether the attributes right before `mod` hold `cfg(test)`.
fn is_test(tokens: &[Token<'_>], at: usize) -> bool {
    tokens[..at]
        .iter()
        .rev()
        .take_while(|token| !matches!(token.text, ";" | "{" | "}"))
        .any(|token| token.text == "test")
}

fn text<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        let source = Source::new(format!("crates/medsync-core/src/{path}"), text);
        let mut faults = Vec::new();
        check(&source, &mut faults);
        faults
            .into_iter()
            .map(|fault| format!("{}: {}", fault.line, fault.what))
            .collect()
    }

    #[test]
    fn the_order_of_imports_holds() {
        assert_eq!(faults("ids.rs", "use crate::error::Result;"), [""; 0]);
        assert_eq!(faults("doc/encode.rs", "use crate::model::x;"), [""; 0]);
        assert_eq!(faults("vault/open.rs", "use crate::store::Store;"), [""; 0]);
        assert_eq!(
            faults("error.rs", "fn f(_: crate::ids::RecordId) {}"),
            ["1: `error` must not import `crate::ids`"]
        );
        assert_eq!(
            faults("sync/session.rs", "use crate::ids;\nuse crate::store::S;"),
            ["2: `sync` must not import `crate::store`"]
        );
        assert_eq!(
            faults("store/log.rs", "use crate::doc;"),
            ["1: `store` must not import `crate::doc`"]
        );
    }

    #[test]
    fn groups_and_super_are_followed() {
        assert_eq!(
            faults(
                "sync/wire.rs",
                "use crate::{\n    ids::{A, B},\n    store::C,\n};"
            ),
            ["3: `sync` must not import `crate::store`"]
        );
        assert_eq!(
            faults(
                "model/mod.rs",
                "use super::vault::V;\nuse super::super::super::x;"
            ),
            [
                "1: `model` must not import `crate::vault`",
                "2: `model` must not import `crate::x`"
            ]
        );
        assert_eq!(faults("model/a.rs", "use super::b;\n"), [""; 0]);
        assert_eq!(
            faults(
                "model/a.rs",
                "mod inner { use super::b; use super::super::super::doc; }"
            ),
            ["1: `model` must not import `crate::doc`"]
        );
        assert_eq!(
            faults("crypto/key.rs", "use crate::*;"),
            ["1: `crypto` must not import `crate::*`"]
        );
    }

    #[test]
    fn tests_testing_text_and_visibility_are_free() {
        let text = "// crate::vault\nconst A: &str = \"crate::vault\";\npub(crate) fn f() {}\n\
                    #[cfg(test)]\nmod tests { use crate::vault::V; }";
        assert_eq!(faults("model/a.rs", text), [""; 0]);
        assert_eq!(
            faults("crypto/key_tests.rs", "use crate::store::S;"),
            [""; 0]
        );
        assert_eq!(faults("testing/sim.rs", "use crate::vault::V;"), [""; 0]);
        assert_eq!(faults("lib.rs", "pub use crate::vault::V;"), [""; 0]);
        assert_eq!(faults("store/fault.rs", "use crate::testing::R;"), [""; 0]);
    }

    #[test]
    fn only_doc_names_automerge_and_only_store_names_redb() {
        assert_eq!(faults("doc/a.rs", "use automerge::Change;"), [""; 0]);
        assert_eq!(faults("store/a.rs", "use redb::Database;"), [""; 0]);
        assert_eq!(
            faults(
                "vault/a.rs",
                "use automerge::Change;\nfn f() { redb::g() }\nlet redb = 1;"
            ),
            [
                "1: only `doc` names automerge",
                "2: only `store` names redb"
            ]
        );
    }

    #[test]
    fn a_new_top_level_module_needs_a_place() {
        let found = faults("helpers.rs", "");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("no place"), "{found:?}");
    }
}
