//! Cipher suites: XAES-256-GCM for hardware with AES, XChaCha20-Poly1305 for the rest.
//!
//! Both take 192-bit nonces, which may be random for ever: a restored file or a cloned machine
//! repeats a counter, but never a random nonce. Neither commits to its key, so whoever unlocks
//! checks the key by a MAC (see [`super::keyfile`]).

use crate::error::{Error, Result};
use aes::Aes256;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use cmac::{Cmac, Mac};
use std::fmt;
use zeroize::Zeroizing;

/// Length of a nonce, in bytes.
pub const NONCE_LEN: usize = 24;
/// Length of an authentication tag, in bytes.
pub const TAG_LEN: usize = 16;

/// AES-GCM's own nonce.
const GCM_NONCE_LEN: usize = 12;

/// How a file's pages are encrypted. The number stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM with C2SP's extended nonce: fastest where the processor has AES.
    #[default]
    Xaes256Gcm = 1,
    /// XChaCha20-Poly1305: for processors without AES instructions.
    XChaCha20Poly1305 = 2,
}

impl Suite {
    /// The number that stands in files.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The suite of that number.
    pub fn from_number(number: u8) -> Result<Self> {
        match number {
            1 => Ok(Self::Xaes256Gcm),
            2 => Ok(Self::XChaCha20Poly1305),
            found => Err(Error::TooNew {
                what: "the cipher suite",
                found: found.into(),
                known: Self::XChaCha20Poly1305.number().into(),
            }),
        }
    }
}

/// A cipher under one key, ready for many pages.
pub struct PageAead(Cipher);

enum Cipher {
    // Boxed: key schedules of very different sizes.
    Xaes(Box<Cmac<Aes256>>),
    XChaCha(Box<XChaCha20Poly1305>),
}

impl PageAead {
    /// A cipher of this suite under this key.
    pub fn new(suite: Suite, key: &[u8; 32]) -> Self {
        Self(match suite {
            Suite::Xaes256Gcm => Cipher::Xaes(Box::new(Cmac::new(key.into()))),
            Suite::XChaCha20Poly1305 => {
                Cipher::XChaCha(Box::new(XChaCha20Poly1305::new(key.into())))
            }
        })
    }

    /// Encrypts `buf` in place and returns its tag. A nonce is random and used once.
    pub fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
        const PROOF: &str = "no caller has a buffer of 64 GiB, the limit of both ciphers";
        match &self.0 {
            Cipher::Xaes(mac) => {
                let (key, nonce) = xaes_derive(mac, nonce);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), buf)
                    .expect(PROOF);
                let mut out = [0; TAG_LEN];
                out.copy_from_slice(tag.as_ref());
                out
            }
            Cipher::XChaCha(cipher) => cipher
                .encrypt_inout_detached(nonce.into(), aad, buf.into())
                .expect(PROOF)
                .into(),
        }
    }

    /// Decrypts `ciphertext` into `out`, which has its length. False if anything was changed; then
    /// `out` holds zeros.
    #[must_use]
    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        out: &mut [u8],
    ) -> bool {
        if ciphertext.len() != out.len() {
            return false;
        }
        let ok = match &self.0 {
            Cipher::Xaes(mac) => {
                let (key, nonce) = xaes_derive(mac, nonce);
                key.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out)
                    .is_ok()
            }
            Cipher::XChaCha(cipher) => {
                out.copy_from_slice(ciphertext);
                cipher
                    .decrypt_inout_detached(nonce.into(), aad, out.into(), tag.into())
                    .is_ok()
            }
        };
        if !ok {
            out.fill(0);
        }
        ok
    }
}

impl fmt::Debug for PageAead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Cipher::Xaes(_) => "PageAead(XAES-256-GCM)",
            Cipher::XChaCha(_) => "PageAead(XChaCha20-Poly1305)",
        })
    }
}

/// C2SP's derivation: SP 800-108 in counter mode over CMAC-AES-256, label `X`, context the first
/// half of the nonce. The second half is AES-GCM's nonce.
fn xaes_derive(mac: &Cmac<Aes256>, nonce: &[u8; NONCE_LEN]) -> (LessSafeKey, Nonce) {
    let mut key = Zeroizing::new([0; 32]);
    let mut message = [0, 0, b'X', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    message[4..].copy_from_slice(&nonce[..GCM_NONCE_LEN]);
    for (counter, half) in (1..).zip(key.chunks_exact_mut(16)) {
        message[1] = counter;
        let mut mac = mac.clone();
        mac.update(&message);
        half.copy_from_slice(&mac.finalize().into_bytes());
    }
    let mut rest = [0; GCM_NONCE_LEN];
    rest.copy_from_slice(&nonce[GCM_NONCE_LEN..]);
    let key = UnboundKey::new(&AES_256_GCM, &*key).expect("32 bytes are an AES-256 key");
    (LessSafeKey::new(key), Nonce::assume_unique_for_key(rest))
}

/// Seals something small (a key, a body of a leaf) with XChaCha20-Poly1305: ciphertext, then tag.
/// The nonce is random and stored beside it.
pub fn seal_small(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    // Room for the tag from the start: growing later would leave a copy of the plaintext behind.
    let mut out = Vec::with_capacity(plaintext.len() + TAG_LEN);
    out.extend_from_slice(plaintext);
    let tag = PageAead::new(Suite::XChaCha20Poly1305, key).seal(nonce, aad, &mut out);
    out.extend_from_slice(&tag);
    out
}

/// Opens what [`seal_small`] made. `None` if the key, nonce, context or bytes are others.
pub fn open_small(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
    let mut out = Zeroizing::new(vec![0; ciphertext.len()]);
    PageAead::new(Suite::XChaCha20Poly1305, key)
        .open(nonce, aad, ciphertext, tag, &mut out)
        .then_some(out)
}

#[cfg(test)]
#[path = "suite_tests.rs"]
mod tests;
