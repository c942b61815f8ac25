//! What a text is made of: its shape, and the numbers and identifiers in it.
//!
//! `2026-11-25` and `2025-01-02` have one shape. The digits are coded as numbers, hexadecimal runs
//! and UUIDs as the bits they are; the shape is named once and from then on by its place in a table.

use crate::doc::lean::Fault;

const DIGITS: char = '\u{1}';
const HEX: char = '\u{2}';
const UUID: char = '\u{3}';
/// Before a text that holds one of these characters: it stands for itself.
const VERBATIM: char = '\u{4}';
/// Widths stand in shapes as characters from here on.
const WIDTH: u32 = 0x20;
const DIGITS_MAX: usize = 18;
const HEX_MIN: usize = 8;
const HEX_MAX: usize = 16;
const UUID_LEN: usize = 36;

/// A number in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Token {
    /// Decimal digits: how many, and their value.
    Digits(usize, u64),
    /// Lower-case hexadecimal digits: how many, and their value.
    Hex(usize, u64),
    /// The bits of a UUID in lower case.
    Uuid(u128),
}

/// Takes a text apart.
pub(super) fn split(text: &str, shape: &mut String, tokens: &mut Vec<Token>) {
    shape.clear();
    tokens.clear();
    if text.bytes().any(|b| (1..=4).contains(&b)) {
        shape.push(VERBATIM);
        shape.push_str(text);
        return;
    }
    let bytes = text.as_bytes();
    let (mut at, mut plain) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        if !is_hex(*byte) {
            at += 1;
            continue;
        }
        let run = &bytes[at..];
        let length = run.iter().take_while(|b| is_hex(**b)).count();
        let taken = token(run, length);
        if let Some((token, used)) = taken {
            shape.push_str(text.get(plain..at).unwrap_or_default());
            push_mark(shape, token);
            tokens.push(token);
            at += used;
            plain = at;
        } else {
            // Letters that are no number by themselves; digits after them may be one.
            at += run[..length]
                .iter()
                .take_while(|b| !b.is_ascii_digit())
                .count()
                .max(1);
        }
    }
    shape.push_str(text.get(plain..).unwrap_or_default());
}

const fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The number that a run of hexadecimal digits starts with, and its length in bytes.
fn token(rest: &[u8], run: usize) -> Option<(Token, usize)> {
    if let Some(bits) = rest.get(..UUID_LEN).and_then(uuid) {
        return Some((Token::Uuid(bits), UUID_LEN));
    }
    let digits = rest[..run]
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .count();
    if digits < run && run >= HEX_MIN && rest[..run].iter().any(u8::is_ascii_digit) {
        let width = run.min(HEX_MAX);
        return Some((Token::Hex(width, value(&rest[..width], 16)?), width));
    }
    let width = digits.min(DIGITS_MAX);
    match width {
        0 => None,
        _ => Some((Token::Digits(width, value(&rest[..width], 10)?), width)),
    }
}

fn value(digits: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

fn uuid(text: &[u8]) -> Option<u128> {
    let dash = |i: usize| matches!(i, 8 | 13 | 18 | 23);
    let mut bits = 0;
    for (i, byte) in text.iter().enumerate() {
        match (dash(i), byte) {
            (true, b'-') => {}
            (false, b'0'..=b'9') => bits = bits << 4 | u128::from(byte - b'0'),
            (false, b'a'..=b'f') => bits = bits << 4 | u128::from(byte - b'a' + 10),
            _ => return None,
        }
    }
    Some(bits)
}

fn push_mark(shape: &mut String, token: Token) {
    let (mark, width) = match token {
        Token::Digits(width, _) => (DIGITS, width),
        Token::Hex(width, _) => (HEX, width),
        Token::Uuid(_) => (UUID, 0),
    };
    shape.push(mark);
    if mark != UUID {
        let width = u32::try_from(width).unwrap_or(0) + WIDTH;
        shape.push(char::from_u32(width).unwrap_or(' '));
    }
}

/// Puts a text together again; `fill` gives each number its value.
pub(super) fn join(
    shape: &str,
    out: &mut String,
    mut fill: impl FnMut(Token) -> Result<Token, Fault>,
) -> Result<(), Fault> {
    if let Some(text) = shape.strip_prefix(VERBATIM) {
        out.push_str(text);
        return Ok(());
    }
    let mut rest = shape.chars();
    while let Some(c) = rest.next() {
        let mut width = |max: usize| {
            let width = rest.next().map_or(0, u32::from).saturating_sub(WIDTH);
            let width = usize::try_from(width).unwrap_or(0);
            match (1..=max).contains(&width) {
                true => Ok(width),
                false => Err(Fault::Malformed),
            }
        };
        let empty = match c {
            DIGITS => Token::Digits(width(DIGITS_MAX)?, 0),
            HEX => Token::Hex(width(HEX_MAX)?, 0),
            UUID => Token::Uuid(0),
            plain => {
                out.push(plain);
                continue;
            }
        };
        match fill(empty)? {
            Token::Digits(width, value) => digits(out, width, value.into(), 10),
            Token::Hex(width, value) => digits(out, width, value.into(), 16),
            Token::Uuid(bits) => {
                for (i, (width, below)) in [(8, 96), (4, 80), (4, 64), (4, 48), (12, 0)]
                    .into_iter()
                    .enumerate()
                {
                    if i > 0 {
                        out.push('-');
                    }
                    digits(out, width, bits >> below & ((1 << (4 * width)) - 1), 16);
                }
            }
        }
    }
    Ok(())
}

/// Appends so many digits of a number.
fn digits(out: &mut String, width: usize, value: u128, radix: u32) {
    let (mut rest, mut all) = (value, [0u8; 40]);
    for place in all.iter_mut().take(width).rev() {
        *place = u8::try_from(rest % u128::from(radix)).unwrap_or(0);
        rest /= u128::from(radix);
    }
    let digit = |d: &u8| char::from_digit((*d).into(), radix).unwrap_or('0');
    out.extend(all.iter().take(width).map(digit));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) -> (String, Vec<Token>) {
        let (mut shape, mut tokens, mut out) = (String::new(), Vec::new(), String::new());
        split(text, &mut shape, &mut tokens);
        let mut all = tokens.iter().copied();
        join(&shape, &mut out, |_| Ok(all.next().expect("as many"))).expect("joins");
        assert_eq!(out, text);
        (shape, tokens)
    }

    #[test]
    fn dates_identifiers_and_uuids_are_numbers() {
        assert_eq!(check("2026-11-25").1.len(), 3);
        assert_eq!(check("obs-0a1b2c3d").1, [Token::Hex(8, 0x0a1b_2c3d)]);
        let uuid = "Patient/01020304-0506-0708-090a-0b0c0d0e0f10";
        assert_eq!(check(uuid).1.len(), 1);
        assert_eq!(check("a bad face").1, []);
        assert_eq!(check("b12").1, [Token::Digits(2, 12)]);
        assert_eq!(check("\u{1}12").1, []);
        assert_eq!(check(&"9".repeat(40)).1.len(), 3);
    }

    proptest! {
        #[test]
        fn every_text_comes_together_again(text in any::<String>(), hex in "[0-9a-f-]{0,60}") {
            check(&text);
            check(&hex);
            check(&format!("{hex}{text}"));
        }
    }
}
