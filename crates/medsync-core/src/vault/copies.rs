//! The copies of one device, each with its newest marks.
//!
//! A device is one copy, unless its vault was cloned or put back: then each goes on under a name of
//! its own. A copy says which names it gave up; nobody bears those any more, so what they lacked is
//! not kept for them. That needs no clock and nobody's decision.

use crate::error::Result;
use crate::ids::{DeviceKey, ReplicaId};
use crate::store::WriteTxn;
use crate::vault::marks::Marks;
use crate::vault::rows::{Rows, kind};

/// Most copies of one device that are known by their marks; beyond, those that were silent longest
/// are forgotten, until they leave marks again.
const COPIES_MAX: usize = 8;

/// What is known of the copies of one device.
#[derive(Debug, Clone)]
pub(crate) struct Copies {
    device: DeviceKey,
    marks: Vec<Marks>,
    changed: bool,
}

impl Copies {
    fn prefix(device: &DeviceKey) -> Vec<u8> {
        [&[kind::MARKS][..], &device.0].concat()
    }

    fn key(&self, replica: &ReplicaId) -> Vec<u8> {
        [&Self::prefix(&self.device)[..], &replica.0].concat()
    }

    /// The copies of a device.
    pub(crate) fn load(rows: &dyn Rows, device: &DeviceKey) -> Result<Self> {
        let rows = rows.all(&Self::prefix(device))?;
        // Marks decide what is sent again, nothing else: those of an older format are none.
        let marks = rows.iter().filter_map(|(_, row)| Marks::from_row(row));
        Ok(Self {
            device: *device,
            marks: marks.collect(),
            changed: false,
        })
    }

    /// The newest marks of each.
    pub(crate) fn marks(&self) -> &[Marks] {
        &self.marks
    }

    /// Takes marks up. Returns whether they are older than what is known.
    pub(crate) fn take(&mut self, mut new: Marks) -> bool {
        if self.gave_up(&new.replica).is_some() {
            return false;
        }
        let known = self.marks.iter().position(|m| m.replica == new.replica);
        let mut falls = false;
        if let Some(at) = known {
            let known = &self.marks[at];
            let rises = new.hlc > known.hlc || new.counter > known.counter;
            falls = new.hlc < known.hlc || new.counter < known.counter;
            if !rises {
                return falls;
            }
            if falls {
                // A vault that was restored counts from an older number, one whose clock went back has
                // an older time: which of both is the truth, only what both say.
                new.held.keep_only(&known.held);
            }
            self.marks.remove(at);
        }
        self.marks.retain(|m| !new.former.contains(&m.replica));
        self.marks.push(new);
        while self.marks.len() > COPIES_MAX {
            let silent = (0..self.marks.len()).min_by_key(|at| self.marks[*at].hlc);
            silent.map(|at| self.marks.remove(at));
        }
        self.changed = true;
        falls
    }

    /// The copy that gave a name up.
    fn gave_up(&self, replica: &ReplicaId) -> Option<&Marks> {
        let later = |m: &&Marks| m.replica != *replica && m.former.contains(replica);
        self.marks.iter().find(later)
    }

    /// What whoever left marks of this name, number and time should hear of: newer ones, or those
    /// of a copy that gave the name up.
    pub(crate) fn newer(&self, replica: &ReplicaId, counter: u64, hlc: i64) -> Option<&Marks> {
        let newer = |m: &&Marks| m.replica == *replica && (m.counter, m.hlc) > (counter, hlc);
        let same = self.marks.iter().find(newer);
        same.or_else(|| self.gave_up(replica))
    }

    pub(crate) const fn is_changed(&self) -> bool {
        self.changed
    }

    /// Writes what changed.
    pub(crate) fn put(&self, txn: &mut WriteTxn) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        for (key, _) in txn.all(&Self::prefix(&self.device))? {
            txn.delete(key);
        }
        for marks in &self.marks {
            txn.put(self.key(&marks.replica), marks.to_row());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AuthorKey, ChainId};
    use crate::vault::marks::{Held, Tips};

    const fn name(no: u8) -> ReplicaId {
        ReplicaId([no; 16])
    }

    const CHAIN: ChainId = ChainId {
        author: AuthorKey([1; 32]),
        replica: name(9),
    };

    fn marks(no: u8, former: &[u8], counter: u64, hlc: i64, places: u64) -> Marks {
        let mut held = Held::default();
        held.insert(CHAIN, 1, places);
        Marks {
            counter,
            hlc,
            replica: name(no),
            held,
            tips: Tips::new(),
            former: former.iter().map(|no| name(*no)).collect(),
            claim: vec![no],
            signature: vec![0; 64],
        }
    }

    fn none() -> Copies {
        Copies {
            device: DeviceKey([1; 32]),
            marks: Vec::new(),
            changed: false,
        }
    }

    fn names(copies: &Copies) -> Vec<u8> {
        copies.marks().iter().map(|m| m.replica.0[0]).collect()
    }

    #[test]
    fn two_copies_stand_beside_each_other_until_one_gives_its_name_up() {
        let mut copies = none();
        assert!(!copies.take(marks(1, &[], 5, 50, 10)));
        assert!(!copies.take(marks(2, &[], 1, 10, 3)));
        assert_eq!(names(&copies), [1, 2]);
        assert!(!copies.take(marks(3, &[1], 1, 20, 4)));
        assert_eq!(names(&copies), [2, 3]);
        // An old stick's.
        assert!(!copies.take(marks(1, &[], 9, 90, 10)));
        assert_eq!(names(&copies), [2, 3]);
        let told = copies.newer(&name(1), 9, 90).map(|m| m.replica);
        assert_eq!(told, Some(name(3)));
        // A twin that gave up the same.
        copies.take(marks(4, &[1], 1, 20, 4));
        assert_eq!(names(&copies), [2, 3, 4]);
    }

    #[test]
    fn of_two_truths_of_one_copy_only_what_both_say_is_believed() {
        let mut copies = none();
        copies.take(marks(1, &[], 5, 50, 10));
        assert!(copies.take(marks(1, &[], 4, 40, 3)), "an old stick's");
        assert!(copies.marks()[0].held.covers(&CHAIN, 1, 10));
        let told = copies.newer(&name(1), 4, 40).map(|m| m.counter);
        assert_eq!(told, Some(5));
        assert!(copies.newer(&name(1), 5, 50).is_none());
        assert!(copies.take(marks(1, &[], 4, 60, 12)));
        assert_eq!(copies.marks()[0].held.reach(&CHAIN), 10);
        assert!(!copies.take(marks(1, &[], 5, 70, 3)));
        assert_eq!(copies.marks()[0].held.reach(&CHAIN), 3, "the newest word");
    }

    #[test]
    fn a_device_that_lists_copies_without_end_is_forgotten_in_part() {
        let mut copies = none();
        for no in 1..=20 {
            copies.take(marks(no, &[], 1, i64::from(no), 1));
        }
        assert_eq!(names(&copies), (13..=20).collect::<Vec<_>>());
        // Each gave the other's name up: no copy is left that anything is kept for.
        let mut copies = none();
        copies.take(marks(1, &[2], 1, 1, 1));
        copies.take(marks(2, &[1], 1, 1, 1));
        assert_eq!(names(&copies), [1]);
    }
}
