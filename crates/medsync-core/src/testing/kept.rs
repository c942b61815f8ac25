//! The parsers of what is kept beside the ledger, for fuzzing: what they read lies below a seal and is
//! private otherwise.

use crate::crypto::tries;
use crate::error::Result;
use crate::store;
use crate::vault::anchor;

/// One kind of bytes that a vault keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A commit in the journal.
    Record,
    /// The copies that an anchor remembers.
    Anchor,
    /// Wrong tries of a passphrase.
    Tries,
}

/// Reads bytes and writes what they said.
///
/// # Errors
/// As whoever opens a vault has them.
pub fn reread(kind: Kept, bytes: &[u8]) -> Result<Vec<u8>> {
    match kind {
        Kept::Record => store::reread_record(bytes),
        Kept::Anchor => anchor::reread(bytes),
        Kept::Tries => tries::reread(bytes),
    }
}

/// Small bytes of each kind.
pub fn sample(kind: Kept) -> Vec<u8> {
    match kind {
        Kept::Record => store::sample_record(),
        Kept::Anchor => anchor::sample(),
        Kept::Tries => tries::sample(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_cut_bytes_never_panic() {
        for kind in [Kept::Record, Kept::Anchor, Kept::Tries] {
            let bytes = sample(kind);
            assert_eq!(reread(kind, &bytes), Ok(bytes.clone()), "{kind:?}");
            for at in 0..bytes.len() {
                reread(kind, &bytes[..at]).ok();
                let mut bad = bytes.clone();
                bad[at] ^= 0x80;
                reread(kind, &bad).ok();
            }
        }
    }
}
