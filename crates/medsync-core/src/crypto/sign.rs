//! ed25519 over `context || 0x00 || message`: a signature of one use never fits another.

use crate::env::Env;
use crate::error::{Error, Result};
use ed25519_dalek::Signer as _;
use std::fmt;
use zeroize::Zeroizing;

/// A raw ed25519 signature.
pub type Signature = [u8; 64];

/// An ed25519 key that signs. Its seed is wiped when it is dropped and never printed.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// A new key.
    pub fn generate(env: &dyn Env) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        env.fill(&mut *seed);
        Self::from_seed(&seed)
    }

    /// The seed: all there is of the key.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a message for one use.
    pub fn sign(&self, context: &str, message: &[u8]) -> Signature {
        self.0.sign(&tagged(context, message)).to_bytes()
    }

    /// Signs bytes that carry their own context (a COSE `Sig_structure`).
    pub(crate) fn sign_bare(&self, message: &[u8]) -> Signature {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(hidden)")
    }
}

/// Checks a signature strictly: no weak keys, no second form of a signature.
///
/// # Errors
/// [`Error::Integrity`] when the signature is not by this key over this message for this use.
pub fn verify(
    public: &[u8; 32],
    context: &str,
    message: &[u8],
    signature: &Signature,
) -> Result<()> {
    verify_bare(public, &tagged(context, message), signature)
}

/// Checks a signature over bytes that carry their own context.
pub(crate) fn verify_bare(public: &[u8; 32], message: &[u8], signature: &Signature) -> Result<()> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(public)
        .map_err(|_| Error::integrity("a public key is no point of the curve"))?;
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
        .map_err(|_| Error::integrity("a signature does not fit"))
}

fn tagged(context: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(context.len() + 1 + message.len());
    out.extend_from_slice(context.as_bytes());
    // No context holds a zero byte, so context and message cannot run into each other.
    out.push(0);
    out.extend_from_slice(message);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemEnv;

    #[test]
    fn a_signature_fits_its_key_its_use_and_its_message_only() {
        let key = SigningKey::from_seed(&[7; 32]);
        let signature = key.sign("use a", b"message");
        assert_eq!(
            verify(&key.public(), "use a", b"message", &signature),
            Ok(())
        );
        assert!(verify(&key.public(), "use b", b"message", &signature).is_err());
        assert!(verify(&key.public(), "use a", b"massage", &signature).is_err());
        let other = SigningKey::generate(&SystemEnv).public();
        assert!(verify(&other, "use a", b"message", &signature).is_err());
        for at in 0..64 {
            let mut bad = signature;
            bad[at] ^= 1;
            assert!(verify(&key.public(), "use a", b"message", &bad).is_err());
        }
    }

    #[test]
    fn a_weak_key_verifies_nothing() {
        // The neutral point signs everything under lax rules.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(verify(&neutral, "use", b"anything", &signature).is_err());
    }

    #[test]
    fn a_key_comes_back_from_its_seed_and_is_never_printed() {
        let key = SigningKey::generate(&SystemEnv);
        assert_eq!(SigningKey::from_seed(&key.seed()).public(), key.public());
        assert_eq!(format!("{key:?}"), "SigningKey(hidden)");
    }
}
