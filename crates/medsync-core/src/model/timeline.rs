//! The operations of one key with what covers each, to which more can be added.
//!
//! What an operation covers depends on what its author saw and on nothing that came since, so each
//! is judged once. Whoever writes thousands of values side by side makes a long list of it, and no
//! more: an operation costs a walk over the list, not over all pairs of it.

use crate::model::bitset::BitSet;
use crate::model::cell::Cell;
use crate::model::pack::PolicyRow;
use crate::model::policy::{
    Causality, Operation, Outcome, Side, Traits, decides, entitled, in_question, out_of_place,
    settle, trusted, verdict,
};

/// What an author had in view of a key.
pub(crate) enum View<'a> {
    /// Every operation that stands there so far.
    All,
    /// Those of the changes that it says yes to.
    Of(&'a dyn Fn(usize) -> bool),
}

/// A key's operations, causes first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    operations: Vec<Operation>,
    traits: Vec<Traits>,
    covered_by: Vec<BitSet>,
    /// The operations that nothing covers.
    current: Vec<usize>,
}

impl Timeline {
    /// Adds an operation whose causes are all there.
    pub(crate) fn push(&mut self, policy: &PolicyRow, operation: Operation, view: &View<'_>) {
        let at = self.operations.len();
        self.traits.push(Traits::new(policy, &operation));
        self.operations.push(operation);
        self.covered_by.push(BitSet::default());
        let Some(covered) = self.covers(policy, at, view) else {
            self.traits[at] = self.traits[at].unconfirmed();
            self.current.push(at);
            return;
        };
        for x in &covered {
            if let Some(by) = self.covered_by.get_mut(*x) {
                by.insert(at);
            }
        }
        if !covered.is_empty() {
            self.current.retain(|x| covered.binary_search(x).is_err());
        }
        self.current.push(at);
    }

    /// What the newest operation covers, ascending; `None` if it takes more than its author may.
    fn covers(&self, policy: &PolicyRow, at: usize, view: &View<'_>) -> Option<Vec<usize>> {
        let Some(y) = self.side(at).filter(Side::confirmed) else {
            return Some(Vec::new());
        };
        let there: Vec<Side<'_>> = match view {
            View::All => self.current.iter().filter_map(|x| self.side(*x)).collect(),
            View::Of(saw) => {
                let before = self.operations.iter().take(at).enumerate();
                let seen = before.filter(|(_, x)| saw(x.change)).map(|(x, _)| x);
                self.candidates(&seen.collect())
            }
        };
        if out_of_place(&y, &there) && !in_question(policy, &there) {
            return None;
        }
        let contested = decides(policy) && verdict(policy, &trusted(&there)).is_contested();
        let covered = there.iter().filter(|x| entitled(policy, &y, x, contested));
        let mut covered: Vec<usize> = covered.map(Side::at).collect();
        covered.sort_unstable();
        Some(covered)
    }

    /// What the key shows.
    pub(crate) fn outcome(&self, policy: &PolicyRow, causality: &dyn Causality) -> Outcome {
        let sides = self.current.iter().filter_map(|x| self.side(*x)).collect();
        settle(policy, sides, &|| self.last_agreed(policy, causality))
    }

    fn side(&self, at: usize) -> Option<Side<'_>> {
        let (operation, traits) = (self.operations.get(at)?, self.traits.get(at)?);
        Some(Side::new(operation, at, *traits))
    }

    /// Of a causally closed set of operations, those that none of the set covers.
    fn candidates(&self, set: &BitSet) -> Vec<Side<'_>> {
        let open = |x: &usize| self.covered_by.get(*x).is_some_and(|by| !by.meets(set));
        let open = set.iter().filter(open);
        open.filter_map(|x| self.side(x)).collect()
    }

    /// What was shown in the version that the authors of all trusted candidates had in view. Where
    /// that was contested itself, what its sides had in common, and so on: a loop and no recursion,
    /// because people who go on disagreeing set the depth.
    fn last_agreed(&self, policy: &PolicyRow, causality: &dyn Causality) -> Option<Cell> {
        let mut set: BitSet = (0..self.operations.len()).collect();
        loop {
            let sides = trusted(&self.candidates(&set));
            let common = self.common(&set, &sides, causality);
            let before = self.candidates(&common);
            // What nobody with authority wrote was never agreed among those who have it.
            let doubtful = sides.iter().any(Side::confirmed) && !before.iter().any(Side::confirmed);
            if before.is_empty() || doubtful || common == set {
                return None;
            }
            let further = std::cell::Cell::new(false);
            let outcome = settle(policy, before, &|| {
                further.set(true);
                None
            });
            if !further.get() {
                return outcome.shown;
            }
            set = common;
        }
    }

    /// Of a set, what all sides had in view.
    fn common(&self, set: &BitSet, sides: &[Side<'_>], causality: &dyn Causality) -> BitSet {
        let mut common = set.clone();
        for side in sides {
            if common.is_empty() {
                break;
            }
            let saw = |x: &usize| {
                let earlier = self.operations.get(*x).map(|x| x.change);
                earlier.is_some_and(|earlier| causality.saw(side.change(), earlier))
            };
            common = common.iter().filter(saw).collect();
        }
        common
    }
}
