//! The recovery key as 24 words a person can write down.

use super::key::Secret;
use crate::env::Env;
use crate::error::{Error, Result};
use bip39::{Language, Mnemonic};
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize, Zeroizing};

/// How many words a recovery key has.
pub const WORD_COUNT: usize = 24;

/// No 24 words of the list, however blanks are typed between them, come near it.
const TEXT_MAX: usize = 4096;

/// 256 random bits as 24 words of BIP39's English list, the last of which holds a checksum.
pub struct Words(Secret<32>);

impl Words {
    /// New words.
    pub fn generate(env: &dyn Env) -> Self {
        Self(Secret::random(env))
    }

    /// Reads 24 words. Blanks, line ends and upper case do not matter.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > TEXT_MAX {
            return Err(Error::invalid(
                "a recovery key is 24 words; this is too long",
            ));
        }
        let mut tidy = Zeroizing::new(String::with_capacity(text.len()));
        for word in text.split_whitespace() {
            if !tidy.is_empty() {
                tidy.push(' ');
            }
            tidy.extend(word.chars().map(|c| c.to_ascii_lowercase()));
        }
        let count = tidy.split(' ').filter(|w| !w.is_empty()).count();
        if count != WORD_COUNT {
            return Err(Error::invalid_at(
                "a recovery key has 24 words",
                format_args!("{count} were given"),
            ));
        }
        // Only a word's position is told: what was typed may be most of a key.
        let mnemonic =
            Mnemonic::parse_in_normalized(Language::English, &tidy).map_err(|e| match e {
                bip39::Error::UnknownWord(at) => Error::invalid_at(
                    "a word is not in the list of recovery words; check its spelling",
                    format_args!("word {}", at + 1),
                ),
                _ => Error::invalid(
                    "the recovery words do not fit together: one is wrong or two changed places; \
                 compare each with the paper",
                ),
            })?;
        let mut entropy = Zeroizing::new(mnemonic.to_entropy_array().0);
        let words = Secret::from_slice(&entropy[..32]);
        entropy.zeroize();
        words
            .map(Self)
            .ok_or(Error::invalid("a recovery key has 24 words"))
    }

    /// The words, one blank between them.
    pub fn phrase(&self) -> Zeroizing<String> {
        let mnemonic = Mnemonic::from_entropy_in(Language::English, self.0.expose())
            .expect("BIP39 has words for 256 bits");
        // 24 words of at most 8 letters: no growth, so no copy is left behind.
        let mut out = Zeroizing::new(String::with_capacity(WORD_COUNT * 9));
        for word in mnemonic.words() {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(word);
        }
        out
    }

    /// The 256 bits.
    pub fn entropy(&self) -> &Secret<32> {
        &self.0
    }
}

impl FromStr for Words {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemEnv;

    #[test]
    fn words_written_down_carelessly_read_back() {
        let words = Words::generate(&SystemEnv);
        let phrase = words.phrase();
        assert_eq!(phrase.split(' ').count(), 24);
        let careless = format!("  {}\n", phrase.to_uppercase().replace(' ', " \t\r\n "));
        let read: Words = careless.parse().expect("the same words");
        assert_eq!(read.entropy(), words.entropy());
        assert_eq!(format!("{words:?}"), "(hidden)");
    }

    #[test]
    fn the_published_vector_of_bip39_holds() {
        let words = Words(Secret::take(&mut [0x80; 32]));
        let start = "letter advice cage absurd amount doctor acoustic avoid letter advice cage";
        assert!(words.phrase().starts_with(start));
        assert!(
            words
                .phrase()
                .ends_with("absurd amount doctor acoustic bless")
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_repeating_it() {
        let phrase = Words::generate(&SystemEnv).phrase();
        let mut words: Vec<_> = phrase.split(' ').collect();
        let said = |words: &[&str]| {
            Words::parse(&words.join(" "))
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(said(&words[..23]).contains("23 were given"));
        let right = std::mem::replace(&mut words[4], "qwerty");
        assert!(said(&words).contains("word 5") && !said(&words).contains("qwerty"));
        // A checksum of 8 bits passes one wrong word in 256: some wrong word is caught.
        let caught = ["zoo", "able", "abandon", "zone", "art", "cat", "dog", "sun"];
        assert!(caught.iter().filter(|w| **w != right).any(|wrong| {
            words[4] = wrong;
            Words::parse(&words.join(" ")).is_err_and(|e| e.to_string().contains("do not fit"))
        }));
        assert!(Words::parse("").is_err() && Words::parse(&"a ".repeat(9000)).is_err());
    }
}
