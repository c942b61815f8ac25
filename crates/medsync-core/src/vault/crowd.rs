//! Editing a record that a crowd has written to, or whose history forked.
//!
//! Of the strands of a forked record an edit goes on one, for a change cannot build on two that
//! clash: the one with the author's own last change, else the main one. Its author had all of them
//! in view all the same, and its entry says so.
//!
//! A change names the changes it builds on and the operations it replaces, and may name 200 of
//! each. Whoever can deliver can write more concurrent changes than that, without any authority,
//! and authority never blocks entry: so an edit must not need to name them all.

use crate::doc::MAX_DEPS;
use crate::doc::causality::Bits;
use crate::doc::state::{ChangeInfo, RecordState};
use crate::error::{Error, Result};
use crate::ids::{ActorId, ChangeId, RecordId};
use crate::ledger::entry::SEEN_MAX;
use crate::model::cell::{Cell, OpId};
use crate::model::kind::KindRules;
use crate::vault::core::Core;
use crate::vault::rows::Rows;
use crate::vault::write::history;

/// Heads that an edit builds on, whoever wrote them.
const HEADS: usize = 16;
/// Operations side by side at one key that an edit builds on, whoever wrote them.
const OPERATIONS: usize = 64;
/// Most heads of people with authority: room is left for the author's own.
const MOST: usize = MAX_DEPS as usize - 20;

/// The record as an edit should build on it, where that is not all of it: without what people
/// without authority wrote, unless it is the author's own or this edit decides on it.
pub(crate) fn base(
    (rows, core): (&dyn Rows, &Core),
    record: &RecordId,
    state: &RecordState,
    actor: ActorId,
    cells: &[(Box<str>, Cell)],
    rules: &KindRules,
) -> Result<Option<RecordState>> {
    let heads = state.heads().len();
    let many = |k: &crate::doc::state::KeyState| k.visible.len() > OPERATIONS;
    let crowded = heads > HEADS || state.keys.values().any(many);
    let clashes = state.clashes();
    if !crowded && !clashes {
        return Ok(None);
    }
    let own = state.last_of(&actor).and_then(|c| state.position(&c.id));
    let mut kept: Vec<usize> = own.into_iter().collect();
    if crowded {
        kept.extend(trusted(state));
        let settles = cells.iter().filter_map(|(_, cell)| match cell {
            Cell::Review(review) => Some(&review.settles),
            _ => None,
        });
        kept.extend(settles.flatten().flat_map(|op| writers(state, op)));
    }
    let within = match clashes {
        true => state.strand_of(kept, !crowded),
        false => Bits::closure(&state.changes, &kept),
    };
    if heads <= MOST && state.changes.len() == count(state, &within) {
        return Ok(None);
    }
    let mut all = history(rows, core, record, state)?;
    all.retain(|incoming| state.position(&incoming.id).is_some_and(|i| within.has(i)));
    RecordState::replay(all, rules)
        .map(Some)
        .map_err(|fault| Error::integrity_at("a record's history", fault))
}

/// The newest changes of people with authority that no other of them builds on.
fn trusted(state: &RecordState) -> Vec<usize> {
    let places = 0..state.changes.len();
    let trusted: Vec<usize> = places.filter(|i| is_trusted(state, *i)).collect();
    let newest = |i: &usize| std::cmp::Reverse(state.changes.get(*i).map(|c| (c.hlc, c.id)));
    let mut kept = frontier(state, &Bits::closure(&state.changes, &trusted));
    kept.sort_by_key(newest);
    kept.truncate(MOST);
    kept
}

fn is_trusted(state: &RecordState, change: usize) -> bool {
    let standing = state.changes.get(change).map(|c| c.standing);
    standing.is_some_and(|s| s.clinical || s.reviewer)
}

/// What of a version in view an edit on this part of the record can say it saw: of other strands
/// all, as far as an entry has room; of a crowd what it builds on.
pub(crate) fn seen_of(state: &RecordState, base: &RecordState, seen: &[ChangeId]) -> Vec<ChangeId> {
    let places: Vec<usize> = seen.iter().filter_map(|id| state.position(id)).collect();
    let closure = Bits::closure(&state.changes, &places);
    let there = |i: &usize| {
        state
            .changes
            .get(*i)
            .map(|c| base.position(&c.id).is_some())
    };
    let mut named: Vec<usize>;
    if state.clashes() {
        named = frontier(state, &closure);
        if named.len() > SEEN_MAX {
            named.sort_by_key(|i| {
                let newest = state.changes.get(*i).map(|c| (c.hlc, c.id));
                (there(i), is_trusted(state, *i), newest)
            });
            named.drain(..named.len() - SEEN_MAX);
        }
    } else {
        named = (0..state.changes.len())
            .filter(|i| closure.has(*i) && there(i) == Some(true))
            .collect();
        named = frontier(state, &Bits::closure(&state.changes, &named));
    }
    let mut ids: Vec<ChangeId> = named
        .into_iter()
        .filter_map(|i| Some(state.changes.get(i)?.id))
        .collect();
    ids.sort_unstable();
    ids
}

/// Of a causally closed set of changes those that no other of it builds on.
fn frontier(state: &RecordState, set: &Bits) -> Vec<usize> {
    let mut covered = vec![false; state.changes.len()];
    for (i, change) in state.changes.iter().enumerate() {
        for dep in change.deps.iter().filter(|_| set.has(i)) {
            if let Some(covered) = covered.get_mut(*dep) {
                *covered = true;
            }
        }
    }
    let left = covered.iter().enumerate();
    left.filter(|(i, covered)| set.has(*i) && !**covered)
        .map(|(i, _)| i)
        .collect()
}

fn count(state: &RecordState, set: &Bits) -> usize {
    (0..state.changes.len()).filter(|i| set.has(*i)).count()
}

/// The changes that wrote an operation of this id: strands may use one id twice.
fn writers<'a>(state: &'a RecordState, op: &'a OpId) -> impl Iterator<Item = usize> + 'a {
    let wrote = |c: &ChangeInfo| {
        let by = state.actors.get(c.actor);
        by.is_some_and(|a| a.actor == op.actor) && (c.start_op..=c.end_op).contains(&op.ctr)
    };
    let changes = state.changes.iter().enumerate();
    changes.filter(move |(_, c)| wrote(c)).map(|(i, _)| i)
}
