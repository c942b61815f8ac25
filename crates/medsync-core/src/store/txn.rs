//! Transactions and what they list.

use super::engine::{Engine, Gate};
use super::overlay::{Change, Overlay, Walk};
use super::tree::{Rows, Tree};
use crate::error::Result;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

type Pair = (Vec<u8>, Vec<u8>);
/// What a transaction will write: a value, or nothing for a deletion.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A view of one commit. Later commits do not change it.
pub struct ReadTxn {
    tree: Arc<Tree>,
    overlay: Arc<Overlay>,
    seq: u64,
}

impl ReadTxn {
    pub(super) const fn new(tree: Arc<Tree>, overlay: Arc<Overlay>, seq: u64) -> Self {
        Self { tree, overlay, seq }
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(value) = self.overlay.get(key, self.seq) {
            return Ok(value.map(|value| value.to_vec()));
        }
        self.tree.with(key, |value| value.into_owned())
    }

    /// What `f` makes of a key's value.
    pub fn with<R>(&self, key: &[u8], f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        if let Some(value) = self.overlay.get(key, self.seq) {
            return Ok(value.as_deref().map(f));
        }
        self.tree.with(key, |value| f(&value))
    }

    /// Entries whose keys start with `prefix`, in order; `.rev()` for the other way.
    pub fn prefix(&self, prefix: &[u8]) -> Result<Entries<'static>> {
        self.entries(prefix, after_prefix(prefix).as_deref())
    }

    /// Entries from `start` up to but without `end`, in order; `.rev()` for the other way.
    pub fn range(&self, start: &[u8], end: &[u8]) -> Result<Entries<'static>> {
        self.entries(start, Some(end))
    }

    fn entries(&self, start: &[u8], end: Option<&[u8]>) -> Result<Entries<'static>> {
        let Some(bounds) = bounds(start, end) else {
            return Ok(Entries(Source::Nothing));
        };
        let stored = Entries(Source::Stored(Box::new(self.tree.range(bounds)?)));
        if self.overlay.is_empty() {
            return Ok(stored);
        }
        let walk = Walk::new(&self.overlay, self.seq, start, end);
        Ok(stored.under(Changed::Overlay(walk)))
    }
}

impl fmt::Debug for ReadTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadTxn")
    }
}

/// The one transaction that may write. It reads what it wrote; nobody else does before `commit`.
///
/// Changes wait in memory until then.
pub struct WriteTxn {
    engine: Arc<Engine>,
    gate: Gate,
    base: ReadTxn,
    changes: Changes,
}

/// A commit that is handed in and not known to be durable yet.
#[must_use = "a staged commit may still be lost; settle it"]
pub struct Staged {
    engine: Arc<Engine>,
    seq: u64,
}

impl Staged {
    /// Returns when it is durable, and with it all that were handed in before. An error stops the
    /// store.
    pub fn settle(self) -> Result<()> {
        self.engine.settle(self.seq)
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staged({})", self.seq)
    }
}

impl WriteTxn {
    pub(super) const fn new(engine: Arc<Engine>, gate: Gate, base: ReadTxn) -> Self {
        Self {
            engine,
            gate,
            base,
            changes: BTreeMap::new(),
        }
    }

    /// The value of a key, as this transaction would leave it.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.base.get(key),
        }
    }

    /// What `f` makes of a key's value.
    pub fn with<R>(&self, key: &[u8], f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        match self.changes.get(key) {
            Some(change) => Ok(change.as_deref().map(f)),
            None => self.base.with(key, f),
        }
    }

    /// Entries whose keys start with `prefix`, in order; `.rev()` for the other way.
    pub fn prefix(&self, prefix: &[u8]) -> Result<Entries<'_>> {
        self.entries(prefix, after_prefix(prefix).as_deref())
    }

    /// Entries from `start` up to but without `end`, in order; `.rev()` for the other way.
    pub fn range(&self, start: &[u8], end: &[u8]) -> Result<Entries<'_>> {
        self.entries(start, Some(end))
    }

    fn entries(&self, start: &[u8], end: Option<&[u8]>) -> Result<Entries<'_>> {
        let stored = self.base.entries(start, end)?;
        let Some(bounds) = bounds(start, end) else {
            return Ok(Entries(Source::Nothing));
        };
        Ok(stored.under(Changed::Own(self.changes.range::<[u8], _>(bounds))))
    }

    /// Sets a key's value.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes.insert(key.into(), Some(value.into()));
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.changes.insert(key.into(), None);
    }

    /// Makes all of it durable and visible, or none of it. An error stops the store.
    pub fn commit(self) -> Result<()> {
        self.stage()?.settle()
    }

    /// Hands it in: the next transaction builds on it, and together with whatever else is handed
    /// in meanwhile it becomes durable when somebody settles it.
    pub fn stage(self) -> Result<Staged> {
        let Self {
            engine,
            gate,
            base,
            changes,
        } = self;
        // Before anything is freed: this view would keep the pages that a checkpoint replaces.
        drop(base);
        let seq = engine.stage(gate, changes)?;
        Ok(Staged { engine, seq })
    }
}

impl fmt::Debug for WriteTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteTxn({} changes)", self.changes.len())
    }
}

/// The first key after all that start with `prefix`; `None` if no key can be.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != u8::MAX)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after)
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// `None` for a range that holds nothing: maps panic over a start beyond the end.
fn bounds<'a>(start: &'a [u8], end: Option<&'a [u8]>) -> Option<Bounds<'a>> {
    match end {
        Some(end) if start >= end => None,
        Some(end) => Some((Bound::Included(start), Bound::Excluded(end))),
        None => Some((Bound::Included(start), Bound::Unbounded)),
    }
}

/// Entries in key order, from both ends.
pub struct Entries<'a>(Source<'a>);

enum Source<'a> {
    Nothing,
    Stored(Box<Rows>),
    Merged(Box<Merged<'a>>),
}

impl Entries<'static> {
    /// These entries with changes over them.
    fn under(self, changed: Changed<'_>) -> Entries<'_> {
        Entries(Source::Merged(Box::new(Merged {
            stored: Ends::new(self),
            changed: Ends::new(changed),
        })))
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Pair>;
    fn next(&mut self) -> Option<Self::Item> {
        self.pull(Side::Front)
    }
}

impl DoubleEndedIterator for Entries<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.pull(Side::Back)
    }
}

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entries")
    }
}

#[derive(Clone, Copy)]
enum Side {
    Front,
    Back,
}

trait Pull {
    type Item;
    fn pull(&mut self, side: Side) -> Option<Self::Item>;
}

impl Pull for Entries<'_> {
    type Item = Result<Pair>;
    fn pull(&mut self, side: Side) -> Option<Self::Item> {
        let rows = match &mut self.0 {
            Source::Nothing => return None,
            Source::Merged(merged) => return merged.pull(side),
            Source::Stored(rows) => rows,
        };
        match side {
            Side::Front => rows.next(),
            Side::Back => rows.next_back(),
        }
    }
}

/// Where changes over stored entries come from.
enum Changed<'a> {
    Overlay(Walk),
    Own(btree_map::Range<'a, Vec<u8>, Option<Vec<u8>>>),
}

impl Pull for Changed<'_> {
    type Item = Change;
    fn pull(&mut self, side: Side) -> Option<Change> {
        match (self, side) {
            (Self::Overlay(walk), Side::Front) => walk.next(),
            (Self::Overlay(walk), Side::Back) => walk.next_back(),
            (Self::Own(own), Side::Front) => own.next().map(|(k, v)| (k.clone(), v.clone())),
            (Self::Own(own), Side::Back) => own.next_back().map(|(k, v)| (k.clone(), v.clone())),
        }
    }
}

/// A source that takes an item back at the side it came from.
struct Ends<P: Pull> {
    front: Option<P::Item>,
    back: Option<P::Item>,
    middle: P,
}

impl<P: Pull> Ends<P> {
    const fn new(middle: P) -> Self {
        Self {
            front: None,
            back: None,
            middle,
        }
    }

    fn pull(&mut self, side: Side) -> Option<P::Item> {
        match side {
            Side::Front => (self.front.take())
                .or_else(|| self.middle.pull(side))
                .or_else(|| self.back.take()),
            Side::Back => (self.back.take())
                .or_else(|| self.middle.pull(side))
                .or_else(|| self.front.take()),
        }
    }

    fn put_back(&mut self, side: Side, item: P::Item) {
        match side {
            Side::Front => self.front = Some(item),
            Side::Back => self.back = Some(item),
        }
    }
}

/// What is stored, with a transaction's changes over it.
struct Merged<'a> {
    stored: Ends<Entries<'static>>,
    changed: Ends<Changed<'a>>,
}

impl Merged<'_> {
    fn pull(&mut self, side: Side) -> Option<Result<Pair>> {
        loop {
            let stored = match self.stored.pull(side).transpose() {
                Ok(stored) => stored,
                Err(error) => return Some(Err(error)),
            };
            let (key, change) = match (stored, self.changed.pull(side)) {
                (stored, None) => return stored.map(Ok),
                (None, Some(change)) => change,
                (Some(stored), Some(change)) => {
                    let order = match side {
                        Side::Front => stored.0.cmp(&change.0),
                        Side::Back => change.0.cmp(&stored.0),
                    };
                    if order.is_lt() {
                        self.changed.put_back(side, change);
                        return Some(Ok(stored));
                    }
                    // The same key: the change stands in for what is stored.
                    if order.is_gt() {
                        self.stored.put_back(side, Ok(stored));
                    }
                    change
                }
            };
            if let Some(value) = change {
                return Some(Ok((key, value)));
            }
        }
    }
}
