//! Hybrid logical clock: causality first, wall clock as far as it can be believed.

use std::fmt;

/// How far ahead of its own wall clock a replica lets a peer pull it, in milliseconds.
pub const MAX_ADOPTED_DRIFT_MS: i64 = 5 * 60 * 1000;

/// A point of the hybrid logical clock: 48 bits of milliseconds since 1970, 16 bits of counter.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Timestamp(pub i64);

impl Timestamp {
    const MAX_MS: i64 = (1 << 47) - 1;

    /// From milliseconds (kept within 48 signed bits) and a counter.
    pub fn new(ms: i64, counter: u16) -> Self {
        Self((ms.clamp(0, Self::MAX_MS) << 16) | i64::from(counter))
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub const fn ms(self) -> i64 {
        self.0 >> 16
    }

    /// The counter that orders events of one millisecond.
    pub const fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The next point, carrying a full counter into the milliseconds.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms+{}", self.ms(), self.counter())
    }
}

/// The clock of one replica. Pure: the wall clock is handed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    last: Timestamp,
}

impl Clock {
    /// Goes on from the last timestamp this replica gave or adopted.
    pub const fn resume(last: Timestamp) -> Self {
        Self { last }
    }

    /// The last timestamp given or adopted.
    pub const fn last(&self) -> Timestamp {
        self.last
    }

    /// A timestamp later than all this clock gave or adopted, whatever the wall clock says.
    pub fn tick(&mut self, now_ms: i64) -> Timestamp {
        self.last = self.last.next().max(Timestamp::new(now_ms, 0));
        self.last
    }

    /// Learns a peer's timestamp, but never runs more than five minutes ahead of its own wall
    /// clock for it: a tablet set to 2036 must not drag a clinic there.
    pub fn observe(&mut self, peer: Timestamp, now_ms: i64) {
        let limit = Timestamp::new(now_ms.saturating_add(MAX_ADOPTED_DRIFT_MS), u16::MAX);
        self.last = self.last.max(peer.min(limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_back_still_moves_forward() {
        let mut clock = Clock::default();
        let before = clock.tick(1_000_000);
        assert!(clock.tick(5) > before);
    }

    #[test]
    fn a_peer_ten_years_ahead_pulls_by_five_minutes_at_most() {
        let mut clock = Clock::default();
        let now = 1_700_000_000_000;
        clock.observe(Timestamp::new(now + 315_576_000_000, 0), now);
        assert!(clock.tick(now).ms() <= now + MAX_ADOPTED_DRIFT_MS + 1);
    }

    #[test]
    fn a_full_counter_carries_into_the_milliseconds() {
        assert_eq!(Timestamp::new(7, u16::MAX).next(), Timestamp::new(8, 0));
    }
}
