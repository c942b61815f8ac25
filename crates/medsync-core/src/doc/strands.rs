//! Strands: what becomes of a record when a chain forks.
//!
//! A copy of a device writes under the name of the original, and both write a change with one actor
//! and one number: they *clash*. Automerge takes only one of the two, so each consistent, causally
//! closed set of changes is a strand, a document of its own. Nothing is dropped: the state of the
//! record unites the strands, and its policies judge the operations of all of them.

use crate::doc::causality::Bits;
use crate::doc::state::{ChangeInfo, Incoming, RecordState};
use crate::ids::{ActorId, ChangeId};
use std::collections::{BTreeSet, HashMap, HashSet};

/// A change that stands in another commit too: its id, the chain number, the place.
type Again = (ChangeId, u32, u64);

/// Keeps each change once, by id. Of several commits that hold it the one counts that has
/// authority, then the first in its chain, then that of the lower id: whichever came first.
pub(crate) fn each_once(mut all: Vec<Incoming>) -> (Vec<Incoming>, Vec<Again>) {
    let counts = |i: &Incoming| i.standing.clinical || i.standing.reviewer;
    all.sort_by_cached_key(|i| {
        let rank = (!counts(i), i.commit_seq, i.commit, i.chain);
        (i.change.start_op, i.id, rank)
    });
    let mut again: Vec<Again> = Vec::new();
    all.dedup_by(|next, kept| {
        if next.id != kept.id {
            return false;
        }
        let place = (next.id, next.chain, next.commit_seq);
        let same = place == (kept.id, kept.chain, kept.commit_seq);
        if !same && again.last() != Some(&place) {
            again.push(place);
        }
        true
    });
    (all, again)
}

/// Puts changes in order: by (first operation, hash), but after their causes and after what their
/// authors had in view. Leaves out what lacks a cause. What is in view of each other, which only a
/// forger writes, is broken up at the first in order.
pub(crate) fn in_order(all: Vec<Incoming>) -> Vec<Incoming> {
    let places: HashMap<ChangeId, usize> = all.iter().map(|i| i.id).zip(0..).collect();
    let mut needs: Vec<(usize, usize)> = vec![(0, 0); all.len()];
    let mut wake: Vec<Vec<(usize, bool)>> = vec![Vec::new(); all.len()];
    let mut sorted = true;
    for (i, incoming) in all.iter().enumerate() {
        for dep in &incoming.change.deps {
            match places.get(dep) {
                Some(at) => {
                    needs[i].0 += 1;
                    wake[*at].push((i, true));
                    sorted &= *at < i;
                }
                None => {
                    needs[i].0 = usize::MAX / 2;
                    sorted = false;
                }
            }
        }
        // What is not here is not in view of what is: strands are looked at one by one.
        for at in incoming.seen.iter().flatten().filter_map(|s| places.get(s)) {
            needs[i].1 += 1;
            wake[*at].push((i, false));
            sorted &= *at < i;
        }
    }
    if sorted {
        return all;
    }
    let order = order(&mut needs, &wake);
    let mut all: Vec<Option<Incoming>> = all.into_iter().map(Some).collect();
    let take = |i: usize| all.get_mut(i).and_then(Option::take);
    order.into_iter().filter_map(take).collect()
}

/// The order of changes that need so many causes and so many others in view.
fn order(needs: &mut [(usize, usize)], wake: &[Vec<(usize, bool)>]) -> Vec<usize> {
    let mut ready: BTreeSet<usize> = BTreeSet::new();
    let mut blocked: BTreeSet<usize> = BTreeSet::new();
    for (i, (causes, seen)) in needs.iter().enumerate() {
        match (causes, seen) {
            (0, 0) => drop(ready.insert(i)),
            (0, _) => drop(blocked.insert(i)),
            _ => {}
        }
    }
    let mut order = Vec::with_capacity(needs.len());
    while let Some(next) = ready.pop_first().or_else(|| blocked.pop_first()) {
        order.push(next);
        needs[next].0 = usize::MAX / 2;
        for (i, is_cause) in &wake[next] {
            let need = &mut needs[*i];
            match is_cause {
                true => need.0 = need.0.saturating_sub(1),
                false => need.1 = need.1.saturating_sub(1),
            }
            match need {
                (0, 0) => {
                    blocked.remove(i);
                    ready.insert(*i);
                }
                (0, _) => drop(blocked.insert(*i)),
                _ => {}
            }
        }
    }
    order
}

impl RecordState {
    /// Whether two changes of one actor have one number: the record has more than one strand.
    pub fn clashes(&self) -> bool {
        // Each change follows its actor's one before it: without a clash they are counted.
        let mut counts: HashMap<ActorId, (usize, u64)> = HashMap::new();
        let mut plain = vec![(0_u64, 0_u64); self.actors.len()];
        for change in &self.changes {
            if let Some((count, last)) = plain.get_mut(change.actor) {
                *count += 1;
                *last = change.seq.max(*last);
            }
        }
        for (actor, (count, last)) in self.actors.iter().zip(plain) {
            let sum = counts.entry(actor.actor).or_default();
            sum.0 += usize::try_from(count).unwrap_or(usize::MAX);
            sum.1 = sum.1.max(last);
        }
        counts.values().any(|(count, last)| *count as u64 > *last)
    }

    /// Whether no two changes of a set clash.
    pub(crate) fn is_one_strand(&self, set: &Bits) -> bool {
        let mut taken = BTreeSet::new();
        let within = self.changes.iter().enumerate().filter(|(i, _)| set.has(*i));
        let mut numbers = within.map(|(_, change)| self.number(change));
        numbers.all(|number| taken.insert(number))
    }

    fn number(&self, change: &ChangeInfo) -> (Option<ActorId>, u64) {
        let actor = self.actors.get(change.actor).map(|a| a.actor);
        (actor, change.seq)
    }

    /// One strand: each of these changes with its causes, as far as nothing clashes with what is
    /// there already. With `rest`, then whatever else fits, in order.
    pub(crate) fn strand_of(&self, first: impl IntoIterator<Item = usize>, rest: bool) -> Bits {
        let mut strand = Bits::closure(&self.changes, &[]);
        let mut taken: HashSet<(Option<ActorId>, u64)> = HashSet::new();
        for seed in first {
            let causes = Bits::closure(&self.changes, &[seed]);
            let new = |i: &usize| causes.has(*i) && !strand.has(*i);
            let new: Vec<usize> = (0..self.changes.len()).filter(new).collect();
            let numbers: Vec<_> = new
                .iter()
                .filter_map(|i| self.changes.get(*i))
                .map(|change| self.number(change))
                .collect();
            if !numbers.iter().any(|number| taken.contains(number)) {
                taken.extend(numbers);
                new.into_iter().for_each(|i| strand.add(i));
            }
        }
        let rest = self.changes.iter().enumerate().filter(|_| rest);
        for (i, change) in rest {
            let rooted = !strand.has(i) && change.deps.iter().all(|dep| strand.has(*dep));
            if rooted && taken.insert(self.number(change)) {
                strand.add(i);
            }
        }
        strand
    }

    /// The strands, the main one first. Without a clash there is one, of all changes. Each further
    /// one begins with the first change that no strand before it has.
    pub fn strands(&self) -> Vec<Bits> {
        let mut strands: Vec<Bits> = Vec::new();
        let mut next = 0;
        while next < self.changes.len() {
            if strands.iter().any(|strand| strand.has(next)) {
                next += 1;
            } else {
                strands.push(self.strand_of([next], true));
            }
        }
        strands
    }
}
