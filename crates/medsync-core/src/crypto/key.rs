//! Secret bytes that forget themselves.

use crate::env::Env;
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Keeps our derived keys apart from anybody else's use of the same input.
const HKDF_SALT: &[u8] = b"medsync v1 hkdf";

/// `N` secret bytes: wiped on drop, never printed, not cloned.
///
/// They live on the heap, so that moving a `Secret` leaves no copy behind on the stack.
pub struct Secret<const N: usize>(Box<[u8; N]>);

/// The random key of a vault, from which or under which all its other keys come.
pub type RootKey = Secret<32>;

impl<const N: usize> Secret<N> {
    /// Takes the bytes and wipes where they came from.
    pub fn take(from: &mut [u8; N]) -> Self {
        let out = Self(Box::new(*from));
        from.zeroize();
        out
    }

    /// Random bytes.
    pub fn random(env: &dyn Env) -> Self {
        Self::fill_with(|buf| env.fill(buf))
    }

    /// Bytes that `fill` writes.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut out = Self(Box::new([0; N]));
        fill(&mut out.0);
        out
    }

    /// From a slice, if it has the right length. Wiping the slice is the caller's.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; N] = bytes.try_into().ok()?;
        Some(Self::fill_with(|out| out.copy_from_slice(bytes)))
    }

    /// The bytes, on purpose.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl Secret<32> {
    /// The key for one use, by HKDF-SHA256. Every use has its own context string.
    pub fn derive(&self, context: &str) -> Self {
        self.derive_with(context, &[])
    }

    /// The key for one use and one thing: `about` (an id, a salt) is bound by its length.
    pub fn derive_with(&self, context: &str, about: &[u8]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(HKDF_SALT), self.expose());
        // One info string per (context, about): the length of the context keeps them apart.
        let context_len = (context.len() as u64).to_le_bytes();
        Self::fill_with(|out| {
            hkdf.expand_multi_info(&[&context_len, context.as_bytes(), about], out)
                .expect("32 bytes are far below HKDF's limit of 255 blocks");
        })
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.0.as_slice().ct_eq(other.0.as_slice()))
    }
}

impl<const N: usize> Eq for Secret<N> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::hex;

    fn root() -> RootKey {
        Secret::take(&mut [7; 32])
    }

    #[test]
    fn a_secret_prints_nothing() {
        assert_eq!(format!("{:?}", root()), "(hidden)");
    }

    #[test]
    fn taking_bytes_wipes_their_source() {
        let mut from = [9; 32];
        let secret = Secret::take(&mut from);
        assert_eq!(from, [0; 32]);
        assert_eq!(secret.expose(), &[9; 32]);
    }

    #[test]
    fn contexts_do_not_run_into_what_they_are_about() {
        assert_ne!(root().derive("a"), root().derive("b"));
        assert_ne!(
            root().derive_with("ab", b"c"),
            root().derive_with("a", b"bc")
        );
    }

    /// Derived keys open files of years ago: this value never changes.
    #[test]
    fn derivation_is_frozen() {
        assert_eq!(hex(root().derive("medsync v1 golden").expose()), GOLDEN);
    }

    const GOLDEN: &str = "c79d7c0567cb9c397ee2dfaac9288659a9a98aaced4b7bd21a34e7a41711b754";
}
