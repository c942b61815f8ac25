//! Envelopes for devices: age files to X25519 recipients.
//!
//! age draws its file key and ephemeral keys from the operating system, not from
//! [`Env`](crate::env::Env): a replayed world gets other ciphertext, never other plaintext.

use super::key::Secret;
use crate::error::{Error, Result};
use bech32::{Bech32, Hrp};
use std::io::{Read, Write};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Most recipients of one envelope.
pub const RECIPIENTS_MAX: usize = 1024;

const PUBLIC: Hrp = Hrp::parse_unchecked("age");
const SECRET: Hrp = Hrp::parse_unchecked("age-secret-key-");

/// Encrypts for devices, by their X25519 keys. Who they are does not show.
///
/// # Errors
/// [`Error::Invalid`] without recipients, with too many, or for a key that is no X25519 key.
pub fn seal_to(recipients: &[[u8; 32]], plaintext: &[u8]) -> Result<Vec<u8>> {
    if recipients.is_empty() || recipients.len() > RECIPIENTS_MAX {
        return Err(Error::invalid("an envelope has 1 to 1024 recipients"));
    }
    let keys = recipients
        .iter()
        .map(recipient)
        .collect::<Result<Vec<_>>>()?;
    let encryptor =
        age::Encryptor::with_recipients(keys.iter().map(|key| key as &dyn age::Recipient))
            .map_err(|_| Error::invalid("these recipients do not go together"))?;
    let write = || -> std::io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(plaintext.len() + 200 + 130 * recipients.len());
        let mut writer = encryptor.wrap_output(&mut out)?;
        writer.write_all(plaintext)?;
        writer.finish()?;
        Ok(out)
    };
    write().map_err(|e| Error::io("sealing an envelope", &e))
}

/// Decrypts an envelope with a device's X25519 secret, reading at most `max_len` bytes.
///
/// A damaged recipient line cannot be told from one for somebody else.
///
/// # Errors
/// [`Error::NotFound`] when the envelope is for other devices, [`Error::Integrity`] when it is
/// damaged, [`Error::Invalid`] when it holds more than `max_len` bytes.
pub fn open_with(secret: &[u8; 32], bytes: &[u8], max_len: usize) -> Result<Vec<u8>> {
    const DAMAGED: Error = Error::integrity("an envelope is damaged or incomplete");
    let identity = identity(secret)?;
    let decryptor = age::Decryptor::new_buffered(bytes).map_err(|_| DAMAGED)?;
    let reader = decryptor
        .decrypt(std::iter::once(&identity as &dyn age::Identity))
        .map_err(|e| match e {
            age::DecryptError::NoMatchingKeys => {
                Error::NotFound("key here among the recipients of this envelope")
            }
            _ => DAMAGED,
        })?;
    let mut out = Zeroizing::new(Vec::new());
    let limit = u64::try_from(max_len).unwrap_or(u64::MAX);
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|_| DAMAGED)?;
    if out.len() > max_len {
        return Err(Error::invalid_at(
            "an envelope holds more than its limit",
            max_len,
        ));
    }
    Ok(std::mem::take(&mut *out))
}

/// Whether a shared secret with this key depends on ours. age panics at keys where it does not,
/// so that they must never reach it.
pub(crate) fn is_contributory(public: &[u8; 32]) -> bool {
    // Clamped scalars are multiples of 8: a low-order point gives zero with each of them.
    StaticSecret::from([0x42; 32])
        .diffie_hellman(&PublicKey::from(*public))
        .was_contributory()
}

fn recipient(public: &[u8; 32]) -> Result<age::x25519::Recipient> {
    const WHAT: Error = Error::invalid("a recipient's key is no X25519 key");
    if !is_contributory(public) {
        return Err(WHAT);
    }
    bech32::encode_lower::<Bech32>(PUBLIC, public)
        .map_err(|_| WHAT)?
        .parse()
        .map_err(|_| WHAT)
}

fn identity(secret: &[u8; 32]) -> Result<age::x25519::Identity> {
    const WHAT: Error = Error::invalid("not an X25519 secret");
    Zeroizing::new(bech32::encode_lower::<Bech32>(SECRET, secret).map_err(|_| WHAT)?)
        .parse()
        .map_err(|_| WHAT)
}

/// A recipient's key as age writes it, `age1..`.
pub fn recipient_text(public: &[u8; 32]) -> Result<String> {
    recipient(public).map(|key| key.to_string())
}

/// Reads a recipient's key, `age1..`.
///
/// # Errors
/// [`Error::Invalid`] for anything else, low-order keys included.
pub fn parse_recipient(text: &str) -> Result<[u8; 32]> {
    const WHAT: Error = Error::invalid("a recipient is an X25519 key as age writes it, age1..");
    let (hrp, bytes) = bech32::decode(text.trim()).map_err(|_| WHAT)?;
    let public: [u8; 32] = bytes.try_into().map_err(|_| WHAT)?;
    if hrp != PUBLIC || !is_contributory(&public) {
        return Err(WHAT);
    }
    Ok(public)
}

/// A secret key as age writes it, `AGE-SECRET-KEY-1..`.
pub fn identity_text(secret: &Secret<32>) -> Result<Zeroizing<String>> {
    let text = bech32::encode_upper::<Bech32>(SECRET, secret.expose());
    text.map(Zeroizing::new)
        .map_err(|_| Error::invalid("not an X25519 secret"))
}

/// Reads the first secret key of an identity file; comments and blank lines do not matter.
///
/// # Errors
/// [`Error::Invalid`] if there is none.
pub fn parse_identity(text: &str) -> Result<Secret<32>> {
    const WHAT: Error =
        Error::invalid("an identity file holds a line AGE-SECRET-KEY-1.., as age-keygen writes it");
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    let (hrp, bytes) = bech32::decode(line.ok_or(WHAT)?).map_err(|_| WHAT)?;
    let bytes = Zeroizing::new(bytes);
    match hrp == SECRET {
        true => Secret::from_slice(&bytes).ok_or(WHAT),
        false => Err(WHAT),
    }
}

/// The public key of a secret one.
pub fn public_of(secret: &Secret<32>) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*secret.expose())).to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(seed: u8) -> ([u8; 32], [u8; 32]) {
        let secret = [seed; 32];
        let public = PublicKey::from(&StaticSecret::from(secret)).to_bytes();
        (secret, public)
    }

    #[test]
    fn every_recipient_opens_and_nobody_else() {
        let (ours, our_public) = pair(1);
        let (theirs, their_public) = pair(2);
        let sealed = seal_to(&[our_public, their_public], b"allergy").unwrap();
        assert_eq!(open_with(&ours, &sealed, 100).unwrap(), b"allergy");
        assert_eq!(open_with(&theirs, &sealed, 7).unwrap(), b"allergy");
        let stranger = open_with(&pair(3).0, &sealed, 100);
        assert!(matches!(stranger, Err(Error::NotFound(_))), "{stranger:?}");
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_refused() {
        let (secret, public) = pair(1);
        let sealed = seal_to(&[public], b"allergy: penicillin").unwrap();
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open_with(&secret, &bad, 100).is_err(), "flip at {at}");
            assert!(
                open_with(&secret, &sealed[..at], 100).is_err(),
                "cut at {at}"
            );
        }
        let mut bad = sealed.clone();
        *bad.last_mut().unwrap() ^= 1;
        assert!(matches!(
            open_with(&secret, &bad, 100),
            Err(Error::Integrity { .. })
        ));
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let (secret, public) = pair(1);
        let sealed = seal_to(&[public], &vec![0; 200_000]).unwrap();
        assert!(matches!(
            open_with(&secret, &sealed, 199_999),
            Err(Error::Invalid { .. })
        ));
        assert_eq!(open_with(&secret, &sealed, 200_000).unwrap().len(), 200_000);
    }

    #[test]
    fn keys_read_back_as_age_writes_them() {
        let secret = Secret::take(&mut [7; 32]);
        let text = identity_text(&secret).unwrap();
        assert!(text.starts_with("AGE-SECRET-KEY-1"));
        let file = format!("# created: today\n\n{}\n", *text);
        assert_eq!(parse_identity(&file).unwrap(), secret);
        let public = recipient_text(&public_of(&secret)).unwrap();
        assert_eq!(parse_recipient(&public).unwrap(), public_of(&secret));
        let zeros = bech32::encode_lower::<Bech32>(PUBLIC, &[0; 32]).unwrap();
        for bad in ["", "age1qqqq", &text, &zeros] {
            assert!(parse_recipient(bad).is_err(), "{bad}");
        }
        assert!(parse_identity("# nothing").is_err() && parse_identity(&public).is_err());
    }

    #[test]
    fn a_low_order_key_is_refused_before_age_sees_it() {
        let mut one = [0; 32];
        one[0] = 1;
        for bad in [[0; 32], one] {
            assert!(matches!(seal_to(&[bad], b"x"), Err(Error::Invalid { .. })));
        }
        assert!(seal_to(&[], b"x").is_err());
    }
}
