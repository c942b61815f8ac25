//! Text armor: bytes that survive a mail, a chat or a printed page.

use crate::error::{Error, Result};
use base64ct::{Base64, Encoding as _};
use std::fmt::Write as _;

const LINE: usize = 64;

const DAMAGED: Error = Error::invalid(
    "this text was damaged or changed on its way; copy it again from where it was made",
);

/// What a carried text does not hold to is a fault of the text, never of the vault that reads it.
pub(crate) fn carried<T>(read: Result<T>) -> Result<T> {
    read.map_err(|error| match error {
        Error::Integrity { .. } => DAMAGED,
        other => other,
    })
}

/// Wraps bytes between `-----BEGIN label-----` and `-----END label-----`.
pub(crate) fn wrap(label: &str, bytes: &[u8]) -> String {
    let body = Base64::encode_string(bytes);
    let mut out = format!("-----BEGIN {label}-----\n");
    for (at, c) in body.chars().enumerate() {
        if at > 0 && at % LINE == 0 {
            out.push('\n');
        }
        out.push(c);
    }
    writeln!(out, "\n-----END {label}-----").expect("a string takes every text");
    out
}

/// The bytes between the lines of `label`, at most `max`. What stands before and after, blanks
/// and line ends do not matter.
pub(crate) fn unwrap(label: &str, text: &str, max: usize) -> Result<Vec<u8>> {
    // Base64 takes 4 for 3; twice that leaves room for line ends and the words around it.
    if text.len() > max.saturating_mul(2).saturating_add(4096) {
        return Err(Error::invalid_at("this text is too long", max));
    }
    let missing = || {
        if text.contains("-----BEGIN MEDSYNC ") {
            Error::invalid_at(
                "this text is of another kind; it should begin with",
                label.to_owned(),
            )
        } else {
            Error::invalid_at(
                "this text has no beginning; look for BEGIN",
                label.to_owned(),
            )
        }
    };
    let (_, rest) = text
        .split_once(&format!("-----BEGIN {label}-----"))
        .ok_or_else(missing)?;
    let (body, _) = rest
        .split_once(&format!("-----END {label}-----"))
        .ok_or(Error::invalid(
            "this text has no end; copy it from the BEGIN line to the END line",
        ))?;
    let body: String = body.split_whitespace().collect();
    let bytes = Base64::decode_vec(&body).map_err(|_| DAMAGED)?;
    if bytes.len() > max {
        return Err(Error::invalid_at("this text is too long", max));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_whatever_a_mail_did_to_the_lines() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = wrap("MEDSYNC REQUEST", &bytes);
        assert!(text.lines().all(|line| line.len() <= LINE));
        let mailed = format!("Hello,\r\n{}\r\nbye", text.replace('\n', "  \r\n"));
        assert_eq!(unwrap("MEDSYNC REQUEST", &mailed, 256), Ok(bytes));
        assert_eq!(
            unwrap("MEDSYNC REQUEST", &wrap("MEDSYNC REQUEST", &[]), 0),
            Ok(vec![])
        );
    }

    #[test]
    fn the_wrong_kind_a_cut_and_damage_have_their_own_words() {
        let text = wrap("MEDSYNC REQUEST", &[7; 100]);
        let error = |label, text: &str, max| unwrap(label, text, max).unwrap_err().to_string();
        assert!(error("MEDSYNC GRANT", &text, 200).contains("another kind"));
        assert!(error("MEDSYNC GRANT", "hello", 200).contains("no beginning"));
        assert!(
            error(
                "MEDSYNC REQUEST",
                text.trim_end_matches("END MEDSYNC REQUEST-----\n"),
                200
            )
            .contains("no end")
        );
        assert!(error("MEDSYNC REQUEST", &text.replace("Bw", "B!"), 200).contains("damaged"));
        assert!(error("MEDSYNC REQUEST", &text, 99).contains("too long"));
        assert!(error("MEDSYNC REQUEST", &"x".repeat(9000), 99).contains("too long"));
    }
}
