//! What taking up foreign input costs, counted and not timed: so that where a step ends depends on
//! the input alone, on every machine and in the simulator.

use std::cell::Cell;

/// Where a step ends, in units. One is about a microsecond of a release build on a slow core: far
/// enough below 100 ms that a step which is judged too low still stays there.
pub(crate) const STEP: u64 = 40_000;

/// A commit that is stored, or read again to be delivered.
pub(crate) const COMMIT: u64 = 16;
/// A batch: its rows, and looking up its chain.
pub(crate) const BATCH: u64 = 20;
/// A signature that is verified.
pub(crate) const SIGNATURE: u64 = 60;
/// A change that is judged and taken.
pub(crate) const CHANGE: u64 = 20;
/// One of its operations, until its record is written.
pub(crate) const OPERATION: u64 = 2;
/// Rows of a record that are read or written.
pub(crate) const RECORD: u64 = 20;
/// So many bytes that are read, unsealed, packed or written.
const BYTES: usize = 64;

/// The cost of handling so many bytes.
pub(crate) const fn of_bytes(bytes: usize) -> u64 {
    (bytes / BYTES) as u64
}

/// What one work cost so far.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    units: Cell<u64>,
    at_once: Cell<bool>,
}

impl Spent {
    pub(crate) fn add(&self, units: u64) {
        self.units.set(self.units.get().saturating_add(units));
    }

    /// Whether it is enough for one step.
    pub(crate) fn is_enough(&self) -> bool {
        self.units.get() >= STEP && !self.at_once.get()
    }

    /// From now on nothing is enough: this work does all of it.
    pub(crate) fn do_all_at_once(&self) {
        self.at_once.set(true);
    }
}
