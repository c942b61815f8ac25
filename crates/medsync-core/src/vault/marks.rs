//! What peers said they have.

use crate::error::{Error, Result};
use crate::ids::{ChainId, DeviceKey, ReplicaId};
use crate::vault::core::{Core, pack_row, unpack_row};
use crate::vault::rows::{Row, Rows, kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which commits, by chain: ranges of places, ascending, apart from each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held(BTreeMap<ChainId, Vec<(u64, u64)>>);

impl Held {
    /// Adds the places `first..=last`.
    pub(crate) fn insert(&mut self, chain: ChainId, first: u64, last: u64) {
        let ranges = self.0.entry(chain).or_default();
        let (mut first, mut last) = (first, last);
        // Those that overlap or touch become one with it.
        let from = ranges.partition_point(|r| r.1.saturating_add(1) < first);
        let to = ranges.partition_point(|r| r.0 <= last.saturating_add(1));
        if from < to {
            first = first.min(ranges[from].0);
            last = last.max(ranges[to - 1].1);
        }
        ranges.splice(from..to, [(first, last)]);
    }

    /// Whether all of `first..=last` is here.
    pub(crate) fn covers(&self, chain: &ChainId, first: u64, last: u64) -> bool {
        self.0.get(chain).is_some_and(|ranges| {
            let at = ranges.partition_point(|r| r.1 < last);
            ranges.get(at).is_some_and(|r| r.0 <= first)
        })
    }

    /// Whether all of `other` is here.
    pub(crate) fn covers_all(&self, other: &Self) -> bool {
        other
            .ranges()
            .all(|(c, first, last)| self.covers(c, first, last))
    }

    /// Adds all of `other`.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (chain, first, last) in other.ranges() {
            self.insert(*chain, first, last);
        }
    }

    /// How far a chain is here without a gap.
    pub(crate) fn reach(&self, chain: &ChainId) -> u64 {
        let first = self.0.get(chain).and_then(|ranges| ranges.first());
        first.filter(|r| r.0 == 1).map_or(0, |r| r.1)
    }

    /// Every chain with its ranges.
    pub(crate) fn chains(&self) -> impl ExactSizeIterator<Item = (&ChainId, &[(u64, u64)])> {
        self.0
            .iter()
            .map(|(chain, ranges)| (chain, ranges.as_slice()))
    }

    fn ranges(&self) -> impl Iterator<Item = (&ChainId, u64, u64)> {
        let one = |(chain, ranges): (_, &'_ Vec<_>)| {
            ranges
                .iter()
                .map(move |(first, last)| (chain, *first, *last))
                .collect::<Vec<_>>()
        };
        self.0.iter().flat_map(one)
    }
}

/// A peer's newest mark, row `T` + device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// Rises with each mark the peer gives: one that falls comes from an old backup.
    pub(crate) counter: u64,
    /// The peer's clock.
    pub(crate) hlc: i64,
    /// The incarnation that gave it.
    pub(crate) replica: ReplicaId,
    /// What it holds.
    pub(crate) held: Held,
}

impl Marks {
    pub(crate) fn row(&self, device: &DeviceKey) -> Row {
        (Self::key(device), pack_row(self))
    }

    /// The newest mark of one peer.
    pub(crate) fn load(rows: &dyn Rows, device: &DeviceKey) -> Result<Option<Self>> {
        let row = rows.get(&Self::key(device))?;
        row.map(|row| unpack_row(&row)).transpose()
    }

    fn key(device: &DeviceKey) -> Vec<u8> {
        [&[kind::MARKS][..], &device.0].concat()
    }

    /// The newest mark of every peer.
    pub(crate) fn load_all(rows: &dyn Rows) -> Result<BTreeMap<DeviceKey, Self>> {
        let mut all = BTreeMap::new();
        for (key, row) in rows.all(&[kind::MARKS])? {
            let device = DeviceKey::from_slice(key.get(1..).unwrap_or_default())
                .map_err(|_| Error::integrity("a mark has no device"))?;
            all.insert(device, unpack_row(&row)?);
        }
        Ok(all)
    }
}

/// How many commits no peer's mark covers yet.
pub(crate) fn outbox(rows: &dyn Rows, core: &Core) -> Result<u64> {
    let peers = Marks::load_all(rows)?;
    let covered = |id: &ChainId| {
        let others = peers
            .iter()
            .filter(|(device, _)| **device != core.meta.device);
        others
            .map(|(_, marks)| marks.held.reach(id))
            .max()
            .unwrap_or(0)
    };
    Ok(core
        .chains
        .iter()
        .map(|c| c.seq.saturating_sub(covered(&c.id)))
        .sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AuthorKey;
    use proptest::prelude::*;

    const CHAIN: ChainId = ChainId {
        author: AuthorKey([1; 32]),
        replica: ReplicaId([2; 16]),
    };

    proptest! {
        #[test]
        fn ranges_say_what_was_put_into_them(
            puts in prop::collection::vec((1u64..60, 0u64..8), 0..30),
            asked in (1u64..60, 0u64..8),
        ) {
            let mut held = Held::default();
            let mut model = std::collections::BTreeSet::new();
            for (first, more) in puts {
                held.insert(CHAIN, first, first + more);
                model.extend(first..=first + more);
            }
            let (first, last) = (asked.0, asked.0 + asked.1);
            let all = (first..=last).all(|seq| model.contains(&seq));
            prop_assert_eq!(held.covers(&CHAIN, first, last), all);
            let reach = (1..).take_while(|seq| model.contains(seq)).count() as u64;
            prop_assert_eq!(held.reach(&CHAIN), reach);
            let listed: u64 = held.ranges().map(|(_, first, last)| last - first + 1).sum();
            prop_assert_eq!(listed, model.len() as u64);
        }
    }
}
