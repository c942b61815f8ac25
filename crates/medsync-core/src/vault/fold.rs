//! Text as it is searched: what people type and what stands in a record, brought to one form.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::canonical_combining_class;

/// Longest folded value, in bytes. Longer ones are found by their beginning.
pub(super) const VALUE_MAX: usize = 128;

/// Characters of one text that are read; an index is for names and codes, not for narratives.
const TEXT_MAX: usize = 4096;

/// Words of one text that are kept.
const WORDS_MAX: usize = 64;

/// Appends the folded form of a text: lower case, compatibility forms and accents gone, blanks
/// collapsed, at most [`VALUE_MAX`] bytes. It never holds a control character, so 0 can end it.
pub(super) fn fold(text: &str, out: &mut String) {
    let start = out.len();
    let mut blank = false;
    each_char(text, &mut |c| {
        if c == ' ' {
            blank = out.len() > start;
            return true;
        }
        if out.len() - start + usize::from(blank) + c.len_utf8() > VALUE_MAX {
            return false;
        }
        if std::mem::take(&mut blank) {
            out.push(' ');
        }
        out.push(c);
        true
    });
}

/// Calls `each` with the folded words of a text. Apostrophes join (`o'brien` is one word), other
/// punctuation splits.
pub(super) fn words(text: &str, each: &mut dyn FnMut(&str)) {
    let (mut word, mut left) = (String::new(), WORDS_MAX);
    each_char(text, &mut |c| {
        if splits(c) {
            if !word.is_empty() {
                each(&word);
                word.clear();
                left -= 1;
            }
        } else if !joins(c) && word.len() + c.len_utf8() <= VALUE_MAX {
            word.push(c);
        }
        left > 0
    });
    if !word.is_empty() {
        each(&word);
    }
}

/// Calls `each` with the folded characters until it says `false`; every blank is `' '`.
fn each_char(text: &str, each: &mut dyn FnMut(char) -> bool) {
    let blank = |c: char| {
        if c.is_whitespace() || c.is_control() {
            ' '
        } else {
            c
        }
    };
    // Most values are ASCII, where none of the tables below has anything to say.
    if text.is_ascii() {
        let lower = |b: u8| blank(char::from(b.to_ascii_lowercase()));
        text.bytes().take(TEXT_MAX).map(lower).all(each);
    } else {
        text.chars()
            .take(TEXT_MAX)
            .nfkd()
            .filter(|c| !is_accent(*c) && !is_invisible(*c))
            .flat_map(char::to_lowercase)
            .nfc()
            .map(blank)
            .all(each);
    }
}

/// Marks that people leave out when they type. A vowel sign, a virama or a tone mark is as good as
/// a letter (without them most Hindi names would fall together), so the general category M is too
/// wide; the combining class tells them apart.
fn is_accent(c: char) -> bool {
    // 1: overlays; 7: nuktas; 10..=36: Hebrew points, Arabic and Syriac vowel marks;
    // 200 on: accents above, below and beside.
    matches!(canonical_combining_class(c), 1 | 7 | 10..=36 | 200..)
}

/// Joiners, direction marks and the like, which nobody sees in a name.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// Apostrophes and what is typed for them.
const fn joins(c: char) -> bool {
    matches!(c, '\'' | '`' | '\u{2bc}' | '\u{2018}' | '\u{2019}')
}

/// Blanks, ASCII punctuation, dashes, dandas, Arabic and CJK commas and stops.
const fn splits(c: char) -> bool {
    (c.is_ascii_punctuation() && !joins(c))
        || matches!(c, ' ' | '\u{b7}' | '\u{964}' | '\u{965}' | '\u{60c}' | '\u{61b}' | '\u{6d4}'
            | '\u{2010}'..='\u{2015}' | '\u{201c}'..='\u{201f}' | '\u{2022}'..='\u{2026}'
            | '\u{3001}' | '\u{3002}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folded(text: &str) -> String {
        let mut out = String::new();
        fold(text, &mut out);
        out
    }

    fn split(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        words(text, &mut |word| out.push(word.to_owned()));
        out
    }

    #[test]
    fn case_accents_width_and_blanks_are_gone() {
        for (text, expected) in [
            ("  M\u{fc}ller \t\n Jos\u{e9} ", "muller jose"),
            ("Mu\u{308}ller", "muller"),
            ("\u{ff2d}\u{ff32}\u{ff2e}\u{3000}\u{ff11}", "mrn 1"),
            ("\u{130}STANBUL", "istanbul"),
            ("Nguy\u{1ec5}n", "nguyen"),
            ("Zo\u{200d}\u{eb}", "zoe"),
            ("a\0b", "a b"),
            ("", ""),
            (" \u{301} ", ""),
        ] {
            assert_eq!(folded(text), expected);
        }
    }

    #[test]
    fn devanagari_keeps_its_vowels_and_loses_its_nukta() {
        // Rama and Roma differ in vowel signs only.
        let (rama, roma) = ("\u{930}\u{93e}\u{92e}", "\u{930}\u{94b}\u{92e}\u{93e}");
        assert_eq!(folded(rama), rama);
        assert_ne!(folded(rama), folded(roma));
        // Fatima with the nukta composed, apart and left out; with a joiner inside.
        let plain = "\u{92b}\u{93e}\u{924}\u{93f}\u{92e}\u{93e}";
        assert_eq!(folded(plain), plain);
        let nukta = "\u{95e}\u{93e}\u{924}\u{93f}\u{92e}\u{93e}";
        let apart = "\u{92b}\u{93c}\u{93e}\u{924}\u{93f}\u{92e}\u{200d}\u{93e}";
        assert_eq!(folded(nukta), plain);
        assert_eq!(folded(apart), plain);
        // A virama stays: it joins consonants.
        let krishna = "\u{915}\u{943}\u{937}\u{94d}\u{923}";
        assert_eq!(split(krishna), [krishna]);
    }

    #[test]
    fn words_split_at_punctuation_and_join_at_apostrophes() {
        assert_eq!(split("O'Brien, Al-Hassan"), ["obrien", "al", "hassan"]);
        assert_eq!(split("O\u{2019}Brien\u{2013}Smith"), ["obrien", "smith"]);
        assert_eq!(split(" - ' "), [""; 0]);
        assert_eq!(split(&"a ".repeat(10_000)).len(), WORDS_MAX);
    }

    #[test]
    fn long_values_end_at_a_character() {
        assert_eq!(folded(&"a".repeat(1 << 20)).len(), VALUE_MAX);
        let long = folded(&format!("a{}", "\u{930}".repeat(1000)));
        assert_eq!(long.len(), 127);
        assert_eq!(split(&"\u{930}".repeat(1000)), ["\u{930}".repeat(42)]);
        assert_eq!(folded(&format!("a{}", "\u{301}".repeat(1 << 20))), "a");
        assert!(!folded(&format!("{} b", "a".repeat(127))).ends_with(' '));
    }

    proptest! {
        #[test]
        fn folding_is_bounded_clean_and_settles(text in any::<String>()) {
            let once = folded(&text);
            prop_assert!(once.len() <= VALUE_MAX);
            prop_assert!(!once.chars().any(char::is_control));
            prop_assert_eq!(folded(&once), once);
            for word in split(&text) {
                prop_assert_eq!(split(&word), [word.clone()]);
            }
        }
    }
}
