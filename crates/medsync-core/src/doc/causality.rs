//! Which change is a cause of which, and which version an author had in view.

use crate::doc::state::ChangeInfo;
use crate::model::policy::Causality;

/// A set of changes, by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits(Vec<u64>);

impl Bits {
    fn empty(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    /// Adds change `i`.
    pub(crate) fn add(&mut self, i: usize) {
        if let Some(word) = self.0.get_mut(i / 64) {
            *word |= 1 << (i % 64);
        }
    }

    fn join(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    /// Whether change `i` is in the set.
    pub fn has(&self, i: usize) -> bool {
        self.0
            .get(i / 64)
            .is_some_and(|word| word & (1 << (i % 64)) != 0)
    }

    /// The changes of a version and all their causes. Causes have lower indexes.
    pub fn closure(changes: &[ChangeInfo], version: &[usize]) -> Self {
        let mut set = Self::empty(changes.len());
        version.iter().for_each(|i| set.add(*i));
        for i in (0..changes.len()).rev() {
            if set.has(i) {
                changes[i].deps.iter().for_each(|d| set.add(*d));
            }
        }
        set
    }
}

/// For each change: its causes, and what its author had in view.
#[derive(Debug, Clone)]
pub struct Seen {
    causes: Vec<Bits>,
    seen: Vec<Option<Bits>>,
}

impl Seen {
    /// From changes in an order in which causes come first.
    pub fn new(changes: &[ChangeInfo]) -> Self {
        let mut this = Self {
            causes: Vec::with_capacity(changes.len()),
            seen: Vec::new(),
        };
        for change in changes {
            let causes = this.closure(&change.deps, changes.len());
            let seen = change
                .seen
                .as_ref()
                .map(|seen| this.closure(seen, changes.len()));
            this.causes.push(causes);
            this.seen.push(seen);
        }
        this
    }

    fn closure(&self, version: &[usize], len: usize) -> Bits {
        let mut set = Bits::empty(len);
        for i in version {
            set.add(*i);
            if let Some(causes) = self.causes.get(*i) {
                set.join(causes);
            }
        }
        set
    }

    /// Whether `later` has `earlier` among its causes, seen or not.
    pub fn builds_on(&self, later: usize, earlier: usize) -> bool {
        self.causes
            .get(later)
            .is_some_and(|causes| causes.has(earlier))
    }
}

impl Causality for Seen {
    fn saw(&self, later: usize, earlier: usize) -> bool {
        match self.seen.get(later) {
            Some(Some(seen)) => seen.has(earlier),
            _ => self.builds_on(later, earlier),
        }
    }
}
