//! A source file, with comments and the insides of literals blanked out, and its tokens.

use super::Fault;

/// One `.rs` file.
pub(crate) struct Source {
    /// Relative to the repository, with forward slashes.
    pub(crate) path: String,
    /// As it stands.
    pub(crate) text: String,
    /// The same lines, with blanks for comments and the insides of string and char literals.
    pub(crate) code: String,
}

/// An identifier, `::`, or any other single character, with its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

impl Source {
    pub(crate) fn new(path: String, text: &str) -> Self {
        Self {
            path,
            text: text.to_owned(),
            code: mask(text),
        }
    }

    pub(crate) fn fault(&self, line: usize, what: String) -> Fault {
        Fault {
            path: self.path.clone(),
            line,
            what,
        }
    }

    pub(crate) fn tokens(&self) -> Vec<Token<'_>> {
        let mut tokens = Vec::new();
        for (line, text) in (1..).zip(self.code.lines()) {
            let mut rest = text.trim_start();
            while let Some(first) = rest.chars().next() {
                let end = if is_word(first) {
                    rest.find(|c| !is_word(c)).unwrap_or(rest.len())
                } else if rest.starts_with("::") {
                    2
                } else {
                    first.len_utf8()
                };
                let (token, tail) = rest.split_at(end);
                tokens.push(Token { text: token, line });
                rest = tail.trim_start();
            }
        }
        tokens
    }
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length in characters of the comment or literal that starts at `at`, and how many characters at
/// its two ends stay (a literal keeps its quotes).
fn blank(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let rest = &chars[at..];
    let word_before = at > 0 && is_word(chars[at - 1]);
    match rest {
        ['/', '/', ..] => Some((line_length(rest), 0)),
        ['/', '*', ..] => Some((comment_length(rest), 0)),
        ['"', ..] => Some((quoted_length(rest, '"'), 1)),
        ['r', '"' | '#', ..] if !word_before || chars[at - 1] == 'b' => {
            raw_length(rest).map(|length| (length, 0))
        }
        ['\'', '\\', ..] => Some((quoted_length(rest, '\''), 1)),
        // Two characters on there is a quote: a char. Otherwise it is a lifetime.
        ['\'', _, '\'', ..] => Some((3, 1)),
        _ => None,
    }
}

fn line_length(rest: &[char]) -> usize {
    rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
}

fn comment_length(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut i = 0;
    while i < rest.len() {
        match &rest[i..] {
            ['/', '*', ..] => {
                depth += 1;
                i += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    rest.len()
}

fn quoted_length(rest: &[char], quote: char) -> usize {
    let mut i = 1;
    while i < rest.len() {
        match rest[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    rest.len()
}

/// None for `r#name`, which is an identifier.
fn raw_length(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let mut i = 2 + hashes;
    while i < rest.len() {
        let closes = rest[i] == '"'
            && rest.len() > i + hashes
            && rest[i + 1..].iter().take(hashes).all(|c| *c == '#');
        if closes {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(rest.len())
}

fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let Some((length, kept)) = blank(&chars, i) else {
            out.push(chars[i]);
            i += 1;
            continue;
        };
        let end = (i + length).min(chars.len());
        for (at, c) in chars[i..end].iter().enumerate() {
            let stays = at < kept || at + kept >= end - i;
            out.push(if *c == '\n' || (kept > 0 && stays) {
                *c
            } else {
                ' '
            });
        }
        i = end;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let source = "a(\"x // y\\\"\", 'b', '\\'', b\"q\"); // note\nfn f<'a>() {} /* 1\n/* 2 */ */ c\nr#\"p \"q\" \"#; r#type";
        let expected = "a(\"        \", ' ', '  ', b\" \");        \nfn f<'a>() {}     \n           c\n           ; r#type";
        assert_eq!(mask(source), expected);
    }

    #[test]
    fn tokens_know_their_lines() {
        let source = Source::new("a.rs".to_owned(), "use crate::ids;\n  x");
        let tokens: Vec<_> = source
            .tokens()
            .iter()
            .map(|token| (token.text.to_owned(), token.line))
            .collect();
        let expected = [
            ("use", 1),
            ("crate", 1),
            ("::", 1),
            ("ids", 1),
            (";", 1),
            ("x", 2),
        ];
        assert_eq!(tokens, expected.map(|(text, line)| (text.to_owned(), line)));
    }
}
