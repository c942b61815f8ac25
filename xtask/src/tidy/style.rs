//! Lengths, characters and words.

use super::Fault;
use super::source::{Source, is_word};

/// Longest file: beyond it nobody keeps the whole in mind.
const FILE_LINES_MAX: usize = 600;
/// Longest function, from `fn` to its closing brace: a screen.
const FUNCTION_LINES_MAX: usize = 70;

/// Code that must not stand in the sources, each with the reason. Split in two, so that this list
/// does not find itself.
const BANNED_CODE: [(&str, &str); 5] = [
    ("todo!", "finish it or leave it out"),
    ("unimplemented!", "finish it or leave it out"),
    ("dbg!", "left over from debugging"),
    (
        "transaction_at",
        "it breaks the gate every change must pass",
    ),
    ("isolate(", "it breaks the gate every change must pass"),
];

/// Words banned everywhere, comments included.
const BANNED_WORDS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Words that DESIGN's vocabulary keeps out of medsync-core's public names: each has a term of its
/// own there, and two words for one thing are two things to the reader.
const BANNED_IN_NAMES: [&str; 8] = [
    "conflict",
    "document",
    "transaction",
    "user",
    "client",
    "server",
    "close",
    "message",
];

/// Public names that hold a banned word all the same, with the reason.
const NAMES_ALLOWED: [(&str, &str); 1] = [(
    "DocumentReference",
    "the name of a FHIR kind is not ours to choose",
)];

/// Reports lengths, characters and words.
pub(crate) fn check(source: &Source, faults: &mut Vec<Fault>) {
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines; {FILE_LINES_MAX} at most");
        faults.push(source.fault(FILE_LINES_MAX + 1, what));
    }
    for (number, (text, code)) in (1..).zip(source.text.lines().zip(source.code.lines())) {
        if let Some(c) = text.chars().find(|c| !c.is_ascii()) {
            let what = format!("U+{:04X}: sources are ASCII, escape it", u32::from(c));
            faults.push(source.fault(number, what));
        }
        for word in BANNED_WORDS {
            if has_word(text, word) {
                faults.push(source.fault(number, format!("{word}: file an issue instead")));
            }
        }
        for (banned, why) in BANNED_CODE {
            if has_code(code, banned) {
                faults.push(source.fault(number, format!("`{banned}`: {why}")));
            }
        }
    }
    functions(source, faults);
    if source.path.starts_with("crates/medsync-core/src/") {
        public_names(source, faults);
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c| !is_word(c)).any(|found| found == word)
}

/// As [`has_word`], for code that may end in punctuation.
fn has_code(code: &str, banned: &str) -> bool {
    code.match_indices(banned).any(|(at, _)| {
        let (before, rest) = code.split_at(at);
        let after = rest.split_at(banned.len()).1;
        let joined_before = before.ends_with(is_word);
        let joined_after = banned.ends_with(is_word) && after.starts_with(is_word);
        !(joined_before || joined_after)
    })
}

/// rustfmt puts a function's closing brace under the start of its first line.
fn functions(source: &Source, faults: &mut Vec<Fault>) {
    let lines: Vec<&str> = source.code.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        if !starts_function(body) || body.ends_with(';') || body.ends_with('}') {
            continue;
        }
        let indent = line.len() - body.len();
        let end = lines[start + 1..].iter().position(|line| {
            let body = line.trim_start();
            line.len() - body.len() == indent && (body.starts_with('}') || body.ends_with(';'))
        });
        let length = end.map_or(lines.len() - start, |end| end + 2);
        if length > FUNCTION_LINES_MAX {
            let what = format!("a function of {length} lines; {FUNCTION_LINES_MAX} at most");
            faults.push(source.fault(start + 1, what));
        }
    }
}

fn starts_function(body: &str) -> bool {
    let mut words = body.split_whitespace();
    words
        .find(|word| {
            !matches!(
                *word,
                "pub" | "const" | "async" | "unsafe" | "extern" | "\"" | "default"
            ) && !word.starts_with("pub(")
                && !word.starts_with('"')
        })
        .is_some_and(|word| word == "fn")
}

fn public_names(source: &Source, faults: &mut Vec<Fault>) {
    let tokens = source.tokens();
    for (i, token) in tokens.iter().enumerate() {
        if token.text != "pub" {
            continue;
        }
        let mut rest = tokens[i + 1..]
            .iter()
            .skip_while(|t| matches!(t.text, "const" | "async" | "unsafe"));
        let Some("fn" | "struct" | "enum" | "trait" | "type") = rest.next().map(|t| t.text) else {
            continue;
        };
        let Some(name) = rest.next() else { continue };
        if NAMES_ALLOWED
            .iter()
            .any(|(allowed, _)| *allowed == name.text)
        {
            continue;
        }
        for word in words(name.text) {
            let singular = word.strip_suffix('s').unwrap_or(&word);
            if BANNED_IN_NAMES.contains(&singular) || BANNED_IN_NAMES.contains(&word.as_str()) {
                let what = format!(
                    "public name `{}`: `{word}` is not in docs/glossary.md",
                    name.text
                );
                faults.push(source.fault(name.line, what));
            }
        }
    }
}

/// The lower-case words of a snake_case or CamelCase name.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c != '_', words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        check(&Source::new(path.to_owned(), text), &mut faults);
        faults
            .into_iter()
            .map(|fault| format!("{}: {}", fault.line, fault.what))
            .collect()
    }

    #[test]
    fn long_files_and_functions_are_found() {
        assert_eq!(faults("a.rs", &"\n".repeat(600)), [""; 0]);
        assert_eq!(faults("a.rs", &"\n".repeat(601)).len(), 1);
        let function = |lines: usize| {
            let body = "        x();\n".repeat(lines - 3);
            format!("impl A {{\n    pub fn f(\n    ) {{\n{body}    }}\n}}\nfn g();\n")
        };
        assert_eq!(faults("a.rs", &function(70)), [""; 0]);
        assert_eq!(
            faults("a.rs", &function(71)),
            ["2: a function of 71 lines; 70 at most"]
        );
        let declared = "trait T {\n    fn f(\n        a: A,\n    ) -> B;\n}\n";
        assert_eq!(
            faults("a.rs", &format!("{declared}{}", "\n".repeat(90))),
            [""; 0]
        );
    }

    #[test]
    fn banned_words_are_found_where_they_count() {
        let word = BANNED_WORDS[0];
        assert_eq!(faults("a.rs", &format!("// {word}: later\n")).len(), 1);
        assert_eq!(faults("a.rs", "let x = \"todo!\"; // dbg!\n"), [""; 0]);
        assert_eq!(faults("a.rs", "todo!()\n").len(), 1);
        assert_eq!(
            faults("a.rs", "doc.isolate(&heads); my_isolate(1);\n").len(),
            1
        );
        assert_eq!(faults("a.rs", "doc.transaction_at(x);\n").len(), 1);
        assert_eq!(
            faults("a.rs", "// caf\u{e9}\n"),
            ["1: U+00E9: sources are ASCII, escape it"]
        );
    }

    #[test]
    fn public_names_keep_to_the_vocabulary() {
        let core = "crates/medsync-core/src/vault/mod.rs";
        for bad in [
            "pub fn close(self) {}",
            "pub const fn list_conflicts() {}",
            "pub struct UserName;",
            "pub enum SyncMessage {}",
            "pub trait DocumentStore {}",
        ] {
            assert_eq!(faults(core, bad).len(), 1, "{bad}");
        }
        for good in [
            "pub(crate) fn close(self) {}",
            "fn user() {}",
            "pub fn enclosed() {}",
            "pub struct DocumentReference;",
        ] {
            assert_eq!(faults(core, good), [""; 0], "{good}");
        }
        assert_eq!(
            faults("crates/medsync-cli/src/main.rs", "pub fn close() {}"),
            [""; 0]
        );
    }
}
