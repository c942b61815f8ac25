//! What a machine remembers of a vault: an anchor in memory, which a power cut may set back.

use crate::store::fault::Rng;
use crate::vault::Anchor;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Kept {
    live: Option<Vec<u8>>,
    settled: Option<Vec<u8>>,
    /// A power cut took something back, and nothing was remembered since.
    lags: bool,
}

/// The memory of one machine for one vault.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Kept>);

impl Memory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power went: what was not settled may be gone.
    pub(super) fn lose_power(&self, rng: &mut Rng) {
        let mut kept = self.kept();
        if kept.live != kept.settled && rng.one_in(2) {
            kept.live = kept.settled.clone();
            kept.lags = true;
        }
    }

    /// Whether it may remember less than there was.
    pub(super) fn lags(&self) -> bool {
        self.kept().lags
    }
}

impl Anchor for Memory {
    fn load(&self, _: &[u8; 16]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.kept().live.clone())
    }

    fn store(&self, _: &[u8; 16], bytes: &[u8]) -> io::Result<()> {
        let mut kept = self.kept();
        kept.live = Some(bytes.to_vec());
        kept.lags = false;
        Ok(())
    }

    fn settle(&self, _: &[u8; 16]) -> io::Result<()> {
        let mut kept = self.kept();
        kept.settled = kept.live.clone();
        Ok(())
    }
}
