//! What peers said they have.

use crate::error::{Error, Result};
use crate::ids::{ChainId, CommitId, DeviceKey, ReplicaId};
use crate::ledger::forks::{Branches, Lineage};
use crate::vault::branches::{is_open, lineage};
use crate::vault::core::{Chain, Core, load_commit, pack_row, unpack_row};
use crate::vault::rows::{Rows, kind};
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

    /// Forgets a chain.
    pub(crate) fn remove(&mut self, chain: &ChainId) {
        self.0.remove(chain);
    }

    /// Whether anything of a chain is here.
    pub(crate) fn has(&self, chain: &ChainId) -> bool {
        self.0.contains_key(chain)
    }

    /// Leaves what is also in `other`.
    pub(crate) fn keep_only(&mut self, other: &Self) {
        let mut both = Self::default();
        for (chain, ranges) in &self.0 {
            let mut theirs = other.0.get(chain).map_or(&[][..], Vec::as_slice);
            for (first, last) in ranges {
                while let Some(((low, high), rest)) = theirs.split_first()
                    && low <= last
                {
                    if high >= first {
                        both.insert(*chain, *first.max(low), *last.min(high));
                    }
                    if high > last {
                        break;
                    }
                    theirs = rest;
                }
            }
        }
        *self = both;
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
}

/// A copy's newest mark, row `T` + device + incarnation.
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
    /// Where its chains end before the first gap.
    pub(crate) tips: Tips,
    /// The names that it gave up.
    pub(crate) former: Vec<ReplicaId>,
    /// What it signed of this, to be passed on.
    pub(crate) claim: Vec<u8>,
    /// The signature over it.
    pub(crate) signature: Vec<u8>,
}

/// Commits of each chain that a vault holds with all before them, by place and id: where the chain
/// ends before the first gap, and some on the way there. Two branches of a fork have the same places,
/// so only ids tell them apart; of a chain that forked every branch's end is named.
pub(crate) type Tips = BTreeMap<ChainId, Vec<(u64, CommitId)>>;

/// Most commits that tips name of one chain.
pub(crate) const TIPS_MAX: usize = 4096;

/// How far below an end further commits are named: where another vault knows a branch only in part,
/// that part is found to within a factor.
const STEPS: [u64; 5] = [0, 16, 256, 4096, 65_536];

/// What a vault holds of its chains without a gap.
pub(crate) fn tips(rows: &dyn Rows, core: &Core, held: &Held) -> Result<Tips> {
    let mut tips = Tips::new();
    for (id, _) in held.chains() {
        let (reach, no) = (held.reach(id), core.chain_no(id));
        let Some(no) = no.filter(|_| reach > 0) else {
            continue;
        };
        let mut named = match core.forks.get(id) {
            Some(branches) => ends(rows, branches, reach)?,
            None => Vec::new(),
        };
        if !core.forks.has(id) || named.is_empty() {
            let branches = core.forks.get(id);
            let end = branches.map_or(reach, |b| reach.min(b.trunk().saturating_sub(1)));
            named = at_steps(end, &mut |seq| {
                let row = load_commit(rows, no, seq)?;
                Ok(row.map(|row| row.header()).transpose()?.map(|h| h.id()))
            })?;
        }
        named.sort_unstable();
        named.dedup();
        named.truncate(TIPS_MAX);
        tips.insert(*id, named);
    }
    Ok(tips)
}

fn at_steps(
    end: u64,
    id: &mut dyn FnMut(u64) -> Result<Option<CommitId>>,
) -> Result<Vec<(u64, CommitId)>> {
    let mut named = Vec::new();
    for step in STEPS {
        let Some(seq) = end.checked_sub(step).filter(|seq| *seq > 0) else {
            break;
        };
        named.extend(id(seq)?.map(|id| (seq, id)));
    }
    Ok(named)
}

/// The ends of branches that are here down to the trunk, and some commits below them.
fn ends(rows: &dyn Rows, branches: &Branches, reach: u64) -> Result<Vec<(u64, CommitId)>> {
    let mut named = Vec::new();
    for (id, _) in branches.ends() {
        let (mut line, whole) = branches.down(id);
        if !whole || reach < branches.trunk().saturating_sub(1) {
            continue;
        }
        // What came damaged or without its key is not here, nor is what follows it.
        line.reverse();
        let mut open = 0;
        for (_, node) in &line {
            if !is_open(rows, node.number, node.seq)? {
                break;
            }
            open += 1;
        }
        line.truncate(open);
        if let Some((_, last)) = line.last() {
            named.extend(at_steps(last.seq, &mut |seq| {
                let at = line.partition_point(|(_, node)| node.seq < seq);
                let there = line.get(at).filter(|(_, node)| node.seq == seq);
                Ok(there.map(|(id, _)| *id))
            })?);
        }
    }
    Ok(named)
}

/// What a peer has, as far as it said and as far as that is known here.
pub(crate) struct Has<'a> {
    held: &'a Held,
    /// Of chains that forked, here or there: what the peer's tips descend from.
    lines: BTreeMap<ChainId, Lineage>,
}

impl<'a> Has<'a> {
    pub(crate) fn new(rows: &dyn Rows, core: &Core, held: &'a Held, tips: &Tips) -> Result<Self> {
        let mut lines: BTreeMap<ChainId, Lineage> = BTreeMap::new();
        for chain in core.forks.chains() {
            lines.insert(*chain, Lineage::default());
        }
        for (chain, named) in tips {
            let Some(main) = core.chain_no(chain) else {
                continue;
            };
            if !core.forks.has(chain) && held.has(chain) {
                let mut other = false;
                for (seq, id) in named {
                    let row = load_commit(rows, main, *seq)?;
                    let here = row.map(|row| row.header()).transpose()?;
                    other |= here.is_some_and(|header| header.id() != *id);
                }
                // One line: what it says of places holds.
                if !other {
                    continue;
                }
            }
            let line = lines.entry(*chain).or_default();
            for (seq, id) in named {
                line.join(lineage(rows, core, chain, (*seq, id))?.unwrap_or_default());
            }
        }
        Ok(Self { held, lines })
    }

    /// Whether the peer has all of a run of commits.
    pub(crate) fn covers(&self, chain: &ChainId, first: u64, (last, id): (u64, &CommitId)) -> bool {
        match self.lines.get(chain) {
            Some(line) => line.has(last, id),
            None => self.held.covers(chain, first, last),
        }
    }

    /// How many commits of a chain it lacks, of those that are here without a gap.
    fn lacks(&self, core: &Core, chain: &Chain) -> u64 {
        let Some(line) = self.lines.get(&chain.id) else {
            return chain.seq.saturating_sub(self.held.reach(&chain.id));
        };
        match core.forks.get(&chain.id) {
            Some(branches) => {
                let lacks = branches.nodes().filter(|(id, n)| !line.has(n.seq, id));
                lacks.count() as u64
            }
            None => (1..=chain.seq)
                .filter(|seq| !line.has(*seq, &chain.tip))
                .count() as u64,
        }
    }
}

impl Marks {
    pub(crate) fn to_row(&self) -> Vec<u8> {
        pack_row(self)
    }

    pub(crate) fn from_row(row: &[u8]) -> Option<Self> {
        unpack_row(row).ok()
    }

    /// The newest marks of every copy of every device.
    fn load_all(rows: &dyn Rows) -> Result<Vec<(DeviceKey, Self)>> {
        let mut all = Vec::new();
        for (key, row) in rows.all(&[kind::MARKS])? {
            let device = DeviceKey::from_slice(key.get(1..33).unwrap_or_default())
                .map_err(|_| Error::integrity("a mark has no device"))?;
            all.extend(Self::from_row(&row).map(|marks| (device, marks)));
        }
        Ok(all)
    }
}

/// How many commits no peer's mark covers yet.
pub(crate) fn outbox(rows: &dyn Rows, core: &Core) -> Result<u64> {
    let peers = Marks::load_all(rows)?;
    let others = peers
        .iter()
        .filter(|(device, _)| *device != core.meta.device);
    let peers = others
        .map(|(_, marks)| Has::new(rows, core, &marks.held, &marks.tips))
        .collect::<Result<Vec<_>>>()?;
    let nobody = Held::default();
    let none = Has::new(rows, core, &nobody, &Tips::new())?;
    let mut sum = 0;
    for (chain, no) in core.chains.iter().zip(0u32..) {
        // The first number stands for a chain that has several.
        if core.chain_no(&chain.id) == Some(no) {
            let lacks = peers.iter().chain([&none]).map(|p| p.lacks(core, chain));
            sum += lacks.min().unwrap_or(0);
        }
    }
    Ok(sum)
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
            others in prop::collection::vec((1u64..60, 0u64..8), 0..30),
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
            let ranges = held.chains().flat_map(|(_, ranges)| ranges);
            let listed: u64 = ranges.map(|(first, last)| last - first + 1).sum();
            prop_assert_eq!(listed, model.len() as u64);
            let (mut other, mut both) = (Held::default(), held.clone());
            for (first, more) in others {
                other.insert(CHAIN, first, first + more);
            }
            both.keep_only(&other);
            for seq in 1..80 {
                let there = held.covers(&CHAIN, seq, seq) && other.covers(&CHAIN, seq, seq);
                prop_assert_eq!(both.covers(&CHAIN, seq, seq), there);
            }
        }
    }
}
