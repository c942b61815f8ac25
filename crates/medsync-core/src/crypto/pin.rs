//! A person's secret under that person's own PIN.

use super::kdf::{Kdf, SALT_LEN};
use super::key::Secret;
use super::suite::{NONCE_LEN, TAG_LEN, open_small, seal_small};
use crate::env::Env;
use crate::error::{Error, Result};
use minicbor::{Decoder, Encoder};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const FORMAT: u32 = 1;
const WHAT: &str = "the sealed key";
const BROKEN: Error = Error::integrity("a key sealed under a PIN is damaged");

/// Longest sealed secret, in bytes.
const SECRET_MAX: usize = 1024;

/// Seals a secret under a PIN. `context` names its use and its owner; opening needs the same.
///
/// Four digits are guessed in minutes whatever the parameters: what this returns belongs into the
/// encrypted vault, where it keeps the people of one device apart, and nowhere else.
pub fn seal_under_pin(
    env: &dyn Env,
    pin: &[u8],
    kdf: Kdf,
    context: &str,
    secret: &[u8],
) -> Result<Vec<u8>> {
    if pin.is_empty() || secret.len() > SECRET_MAX {
        return Err(Error::invalid(
            "a PIN is not empty, and seals at most 1 KiB",
        ));
    }
    let salt: [u8; SALT_LEN] = env.bytes();
    let nonce: [u8; NONCE_LEN] = env.bytes();
    let (key, check) = keys(kdf, pin, &salt, context)?;
    let sealed = seal_small(key.expose(), &nonce, context.as_bytes(), secret);
    Ok(encode(kdf, &salt, &nonce, check.expose(), &sealed))
}

/// Opens what [`seal_under_pin`] made; `Error::WrongSecret` for another PIN or context.
pub fn open_under_pin(pin: &[u8], context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let parts = Parts::decode(sealed)?;
    let (key, check) = keys(parts.kdf, pin, &parts.salt, context)?;
    // The cipher does not commit to its key; this does.
    if !bool::from(check.expose().ct_eq(&parts.check)) {
        return Err(Error::WrongSecret("the PIN"));
    }
    open_small(key.expose(), &parts.nonce, context.as_bytes(), parts.sealed).ok_or(BROKEN)
}

fn keys(
    kdf: Kdf,
    pin: &[u8],
    salt: &[u8; SALT_LEN],
    context: &str,
) -> Result<(Secret<32>, Secret<32>)> {
    let stretched = kdf.stretch(pin, salt)?;
    // The parameters are bound too, though changing them already gives another key.
    let mut about = encode_kdf(kdf);
    about.extend_from_slice(context.as_bytes());
    Ok((
        stretched.derive_with("medsync v1 pin key", &about),
        stretched.derive_with("medsync v1 pin check", &about),
    ))
}

const NEVER: &str = "writing to memory does not fail";

fn encode_kdf(kdf: Kdf) -> Vec<u8> {
    minicbor::to_vec(kdf).expect(NEVER)
}

fn encode(
    kdf: Kdf,
    salt: &[u8; SALT_LEN],
    nonce: &[u8; NONCE_LEN],
    check: &[u8; 32],
    sealed: &[u8],
) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.array(6)
        .and_then(|e| e.u32(FORMAT))
        .and_then(|e| e.encode(kdf))
        .and_then(|e| e.bytes(salt))
        .and_then(|e| e.bytes(nonce))
        .and_then(|e| e.bytes(check))
        .and_then(|e| e.bytes(sealed))
        .expect(NEVER);
    e.into_writer()
}

struct Parts<'a> {
    kdf: Kdf,
    salt: [u8; SALT_LEN],
    nonce: [u8; NONCE_LEN],
    check: [u8; 32],
    sealed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut d = Decoder::new(bytes);
        if d.array().map_err(|_| BROKEN)? != Some(6) {
            return Err(BROKEN);
        }
        let found = d.u32().map_err(|_| BROKEN)?;
        if found > FORMAT {
            return Err(Error::TooNew {
                what: WHAT,
                found,
                known: FORMAT,
            });
        }
        let kdf = d.decode().map_err(|_| BROKEN)?;
        let mut bytes = || d.bytes().map_err(|_| BROKEN);
        let parts = Self {
            kdf,
            salt: bytes()?.try_into().map_err(|_| BROKEN)?,
            nonce: bytes()?.try_into().map_err(|_| BROKEN)?,
            check: bytes()?.try_into().map_err(|_| BROKEN)?,
            sealed: bytes()?,
        };
        let at_end = d.position() == d.input().len();
        if found != FORMAT || !at_end || parts.sealed.len() > SECRET_MAX + TAG_LEN {
            return Err(BROKEN);
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemEnv;

    #[test]
    fn a_key_opens_under_its_own_pin_and_context_only() {
        let seal = || {
            seal_under_pin(
                &SystemEnv,
                b"4711",
                Kdf::for_tests(),
                "nurse",
                b"signing key",
            )
        };
        let sealed = seal().expect("seals");
        let open = |pin: &[u8], context| open_under_pin(pin, context, &sealed);
        assert_eq!(&**open(b"4711", "nurse").expect("opens"), b"signing key");
        let wrong = Err(Error::WrongSecret("the PIN"));
        assert_eq!(open(b"4712", "nurse").map(|_| ()), wrong);
        assert_eq!(open(b"4711", "doctor").map(|_| ()), wrong);
        assert_ne!(sealed, seal().expect("seals"));
    }

    #[test]
    fn damaged_seals_are_errors() {
        let sealed = seal_under_pin(&SystemEnv, b"1", Kdf::for_tests(), "c", b"s").expect("seals");
        for len in 0..sealed.len() {
            assert!(open_under_pin(b"1", "c", &sealed[..len]).is_err());
        }
        let mut longer = sealed.clone();
        longer.push(0);
        assert_eq!(open_under_pin(b"1", "c", &longer).map(|_| ()), Err(BROKEN));
        let mut newer = sealed.clone();
        newer[1] = 9;
        assert!(matches!(
            open_under_pin(b"1", "c", &newer),
            Err(Error::TooNew { found: 9, .. })
        ));
        let mut last = sealed;
        if let Some(byte) = last.last_mut() {
            *byte ^= 1;
        }
        assert_eq!(open_under_pin(b"1", "c", &last).map(|_| ()), Err(BROKEN));
    }
}
