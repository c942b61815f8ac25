//! Which changes are causes of which, while changes are added one by one.

use crate::model::bitset::BitSet;
use crate::model::policy::Causality;
use std::cell::RefCell;

/// Most words that are kept of all sets together: 16 MiB. Beyond, sets are found anew where they
/// are asked for.
const WORDS_MAX: usize = 2 << 20;

/// What one change builds on and saw, by index; causes have lower ones.
#[derive(Debug, Clone, Default)]
struct Parents {
    deps: Vec<usize>,
    seen: Option<Vec<usize>>,
}

/// The causes of a record's changes, in an order in which causes come first.
#[derive(Debug, Default)]
pub(crate) struct Closures {
    parents: Vec<Parents>,
    causes: Vec<Option<BitSet>>,
    words: usize,
    /// What the last change that was asked about had in view.
    asked: RefCell<Option<(usize, BitSet)>>,
}

impl Closures {
    pub(crate) fn len(&self) -> usize {
        self.parents.len()
    }

    /// The changes of a version and all their causes.
    pub(crate) fn of(&self, version: &[usize]) -> BitSet {
        let known = |i: &usize| self.causes.get(*i).and_then(Option::as_ref);
        if let Some(all) = version.iter().map(known).collect::<Option<Vec<_>>>() {
            let mut set: BitSet = version.iter().copied().collect();
            all.into_iter().for_each(|causes| set.join(causes));
            return set;
        }
        let mut set: BitSet = version.iter().copied().collect();
        let after = version.iter().max().map_or(0, |last| last + 1);
        for i in (0..after).rev() {
            if let Some(parents) = self.parents.get(i).filter(|_| set.has(i)) {
                parents.deps.iter().for_each(|d| set.insert(*d));
            }
        }
        set
    }

    /// Adds the next change, whose causes are these.
    pub(crate) fn push(&mut self, deps: Vec<usize>, seen: Option<Vec<usize>>, causes: BitSet) {
        let keep = self.words + causes.words() <= WORDS_MAX;
        self.words += if keep { causes.words() } else { 0 };
        self.causes.push(keep.then_some(causes));
        self.parents.push(Parents { deps, seen });
    }

    fn view(&self, later: usize) -> BitSet {
        self.parents.get(later).map_or_else(BitSet::default, |p| {
            self.of(p.seen.as_ref().unwrap_or(&p.deps))
        })
    }
}

impl Causality for Closures {
    fn saw(&self, later: usize, earlier: usize) -> bool {
        let parents = self.parents.get(later);
        if parents.is_some_and(|p| p.seen.is_none())
            && let Some(Some(causes)) = self.causes.get(later)
        {
            return causes.has(earlier);
        }
        let mut asked = self.asked.borrow_mut();
        if let Some((of, view)) = &*asked
            && *of == later
        {
            return view.has(earlier);
        }
        let view = self.view(later);
        let saw = view.has(earlier);
        *asked = Some((later, view));
        saw
    }
}
