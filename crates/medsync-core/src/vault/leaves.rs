//! The leaves of received commits: opening them, and completing those that came damaged.
//!
//! A sealed leaf's body is not signed, only its hash is: whoever carries a batch can put another
//! body, or none, in its place. So a body that does not open says nothing about the author, and
//! must not stand in the way of the true one: the leaf counts as withheld until that comes.

use crate::doc;
use crate::error::Result;
use crate::ledger::commit::{Header, ITEMS_MAX};
use crate::ledger::entry::Entry;
use crate::ledger::wire::{VerifiedBatch, WireLeaf, open_leaf};
use crate::vault::commit_row::{CommitRow, LeafRow};
use crate::vault::core::{Work, load_data_key};

/// What a sealed leaf holds, as far as it can be known here.
pub(crate) enum Opened {
    Change(LeafRow),
    /// Its data key is not here.
    NoKey,
    /// Not what was committed.
    Damaged,
}

/// Opens a sealed leaf if its key is here.
pub(crate) fn open(work: &Work, header: &Header, index: u32, leaf: &LeafRow) -> Result<Opened> {
    let LeafRow::Sealed {
        key,
        leaf,
        nonce,
        body,
    } = leaf
    else {
        return Ok(Opened::Damaged);
    };
    let Some(data_key) = load_data_key(work, key)? else {
        return Ok(Opened::NoKey);
    };
    let wire = WireLeaf::Sealed {
        key: *key,
        leaf: *leaf,
        nonce: *nonce,
        body: body.clone(),
    };
    let Ok(opened) = open_leaf(header, index, &wire, data_key.key.expose()) else {
        return Ok(Opened::Damaged);
    };
    // The entry is what was signed; the change beside it must be the one that it names.
    if let Entry::Change(entry) = &opened.entry
        && doc::change_id(&opened.change) != Some(entry.change)
    {
        return Ok(Opened::Damaged);
    }
    Ok(Opened::Change(LeafRow::Change {
        key: *key,
        entry: opened.entry_bytes,
        change: opened.change,
    }))
}

/// A received leaf as it is kept.
fn kept(work: &Work, header: &Header, index: u32, leaf: &WireLeaf) -> Result<LeafRow> {
    let stored = LeafRow::from(leaf);
    let WireLeaf::Sealed { leaf, .. } = leaf else {
        return Ok(stored);
    };
    Ok(match open(work, header, index, &stored)? {
        Opened::Change(opened) => opened,
        Opened::NoKey => stored,
        Opened::Damaged => LeafRow::Withheld(*leaf),
    })
}

/// Opens a commit's leaves with the keys that are here. The second part names a contradiction.
pub(crate) fn take(
    work: &Work,
    (batch, commit): (&VerifiedBatch, usize),
    header: &Header,
    leaves: &[WireLeaf],
) -> Result<(CommitRow, Option<&'static str>)> {
    let mut row = CommitRow {
        header: header.bytes().to_vec(),
        leaves: Vec::with_capacity(leaves.len()),
    };
    let items = leaves.iter().filter(|l| matches!(l, WireLeaf::Item(_)));
    // Each may be signed by itself: a commit is judged in one step.
    let mut fault = (items.count() > ITEMS_MAX).then_some("a commit has too many items");
    for (index, leaf) in (0u32..).zip(leaves) {
        row.leaves.push(kept(work, header, index, leaf)?);
        // An item's bytes are its leaf: its author wrote them so.
        if matches!(leaf, WireLeaf::Item(_)) && batch.item(commit, index).is_err() {
            fault = Some("an item is malformed");
        }
    }
    Ok((row, fault))
}

/// Puts leaves in place that were withheld, damaged or without their key when the commit first
/// came. Whether any was.
pub(crate) fn fill_in(
    work: &Work,
    header: &Header,
    row: &mut CommitRow,
    leaves: &[WireLeaf],
) -> Result<bool> {
    let mut changed = false;
    for ((index, have), leaf) in (0u32..).zip(&mut row.leaves).zip(leaves) {
        let whole = matches!(have, LeafRow::Item(_) | LeafRow::Change { .. });
        if whole || matches!(leaf, WireLeaf::Withheld(_)) {
            continue;
        }
        let new = kept(work, header, index, leaf)?;
        // Of two that cannot be opened yet neither is known to be true: the last one is kept, and
        // whoever has the true one sends it again.
        if !matches!(new, LeafRow::Withheld(_)) && new != *have {
            *have = new;
            changed = true;
        }
    }
    Ok(changed)
}
