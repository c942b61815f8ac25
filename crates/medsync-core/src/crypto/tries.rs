//! Wrong tries of a passphrase or PIN, and how long the next one has to wait.
//!
//! The wait grows, ends at a quarter of an hour, and never becomes a lock-out: whoever waits may try
//! again. A clock that was set back starts the wait anew from there. A clock that was set ahead
//! shortens it: who may set the clock of an unlocked machine could as well copy the vault, and then
//! only the cost of Argon2id stands in the way.

use crate::error::{Error, Result};
use minicbor::{Decoder, Encoder};

/// Tries that cost nothing but their own time: people mistype.
const FREE: u32 = 3;
const FIRST_WAIT_MS: i64 = 1000;
const WAIT_MAX_MS: i64 = 15 * 60 * 1000;
/// What a record of tries that cannot be read stands for.
const UNREADABLE: u32 = 8;

/// Longest record of tries, in bytes.
pub(crate) const TRIES_MAX: usize = 32;

/// Tries since the last right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tries {
    wrong: u32,
    last_ms: i64,
}

impl Tries {
    /// From where they are kept; `None` if nothing is.
    pub(crate) fn read(kept: Option<&[u8]>, now_ms: i64) -> Self {
        let none = Self {
            wrong: 0,
            last_ms: now_ms,
        };
        kept.map_or(none, |bytes| {
            Self::from_bytes(bytes).unwrap_or(Self {
                wrong: UNREADABLE,
                last_ms: now_ms,
            })
        })
    }

    /// Refuses a try that comes too early, and otherwise counts it as a wrong one before it is made:
    /// a process that is killed in between has tried. What it says has to be kept either way.
    pub(crate) fn begin(&mut self, what: &'static str, now_ms: i64) -> Result<()> {
        self.last_ms = self.last_ms.min(now_ms);
        let wait = self.wait_ms();
        let left = wait - now_ms.saturating_sub(self.last_ms);
        if wait > 0 && left > 0 {
            return Err(Error::Wait {
                what,
                seconds: u64::try_from(left).unwrap_or_default().div_ceil(1000),
            });
        }
        self.wrong = self.wrong.saturating_add(1);
        self.last_ms = now_ms;
        Ok(())
    }

    const fn wait_ms(self) -> i64 {
        match self.wrong.checked_sub(FREE) {
            None => 0,
            Some(doubled) if doubled >= 10 => WAIT_MAX_MS,
            Some(doubled) => FIRST_WAIT_MS << doubled,
        }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::new());
        e.array(3)
            .and_then(|e| e.u8(1))
            .and_then(|e| e.u32(self.wrong))
            .and_then(|e| e.i64(self.last_ms))
            .expect("writing to memory does not fail");
        e.into_writer()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut d = Decoder::new(bytes);
        if d.array().ok()? != Some(3) || d.u8().ok()? != 1 {
            return None;
        }
        Some(Self {
            wrong: d.u32().ok()?,
            last_ms: d.i64().ok()?,
        })
    }
}

/// Reads a record of tries and writes what it said.
#[cfg(feature = "testing")]
pub(crate) fn reread(bytes: &[u8]) -> Result<Vec<u8>> {
    let tries = Tries::from_bytes(bytes);
    let tries = tries.ok_or(Error::integrity("a record of tries is damaged"))?;
    let mut next = tries;
    // Whatever it says, the next try is refused or counted.
    next.begin("it", tries.last_ms.saturating_add(1)).ok();
    Ok(tries.to_bytes())
}

/// A small record.
#[cfg(feature = "testing")]
pub(crate) fn sample() -> Vec<u8> {
    let (wrong, last_ms) = (4, 1_700_000_000_000);
    Tries { wrong, last_ms }.to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(result: Result<()>) -> Option<u64> {
        match result {
            Ok(()) => None,
            Err(Error::Wait { seconds, .. }) => Some(seconds),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn waits_grow_and_end_at_a_quarter_of_an_hour() {
        let mut now = 1_000_000;
        let mut tries = Tries::read(None, now);
        for _ in 0..3 {
            assert_eq!(seconds(tries.begin("it", now)), None);
        }
        let mut waits = Vec::new();
        for _ in 0..13 {
            let wait = seconds(tries.begin("it", now)).expect("a wait");
            // Asking again while it runs makes it no longer.
            assert_eq!(seconds(tries.begin("it", now)), Some(wait));
            now += i64::try_from(wait).expect("small") * 1000;
            assert_eq!(seconds(tries.begin("it", now)), None, "never a lock-out");
            waits.push(wait);
        }
        let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900];
        assert_eq!(waits, expected);
    }

    #[test]
    fn a_clock_that_was_set_back_neither_skips_the_wait_nor_makes_it_a_lock_out() {
        let now = 1_700_000_000_000;
        let mut tries = Tries {
            wrong: 5,
            last_ms: now,
        };
        let earlier = now - 10 * 365 * 86_400_000;
        assert_eq!(seconds(tries.begin("it", earlier)), Some(4));
        assert_eq!(seconds(tries.begin("it", earlier + 3999)), Some(1));
        assert_eq!(seconds(tries.begin("it", earlier + 4000)), None);
    }

    #[test]
    fn what_is_kept_reads_back_and_damage_costs_one_wait() {
        let tries = Tries {
            wrong: 7,
            last_ms: -5,
        };
        let kept = tries.to_bytes();
        assert!(kept.len() <= TRIES_MAX);
        assert_eq!(Tries::read(Some(&kept), 9), tries);
        for len in 0..kept.len() {
            let mut damaged = Tries::read(Some(&kept[..len]), 9);
            assert_eq!(seconds(damaged.begin("it", 9)), Some(32));
            assert_eq!(seconds(damaged.begin("it", 32_009)), None);
        }
    }
}
