//! Editing a record that a crowd has written to.
//!
//! A change names the changes it builds on and the operations it replaces, and may name 200 of
//! each. Whoever can deliver can write more concurrent changes than that, without any authority,
//! and authority never blocks entry: so an edit must not need to name them all.

use crate::doc::MAX_DEPS;
use crate::doc::causality::Bits;
use crate::doc::state::{ChangeInfo, RecordState};
use crate::error::{Error, Result};
use crate::ids::{ActorId, ChangeId, RecordId};
use crate::model::cell::{Cell, OpId};
use crate::model::kind::KindRules;
use crate::vault::core::Work;
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
    work: &Work,
    record: &RecordId,
    state: &RecordState,
    actor: ActorId,
    cells: &[(Box<str>, Cell)],
    rules: &KindRules,
) -> Result<Option<RecordState>> {
    let heads = state.heads().len();
    let crowded = |k: &crate::doc::state::KeyState| k.visible.len() > OPERATIONS;
    if heads <= HEADS && !state.keys.values().any(crowded) {
        return Ok(None);
    }
    let trusted = |c: &ChangeInfo| c.standing.clinical || c.standing.reviewer;
    let places = 0..state.changes.len();
    let mut kept: Vec<usize> = places
        .filter(|i| state.changes.get(*i).is_some_and(trusted))
        .collect();
    let newest = |i: &usize| std::cmp::Reverse(state.changes.get(*i).map(|c| (c.hlc, c.id)));
    kept = frontier(state, &Bits::closure(&state.changes, &kept));
    kept.sort_by_key(newest);
    kept.truncate(MOST);
    kept.extend(state.last_of(&actor).and_then(|c| state.position(&c.id)));
    let settles = cells.iter().filter_map(|(_, cell)| match cell {
        Cell::Review(review) => Some(&review.settles),
        _ => None,
    });
    kept.extend(settles.flatten().filter_map(|op| writer(state, op)));
    let within = Bits::closure(&state.changes, &kept);
    if heads <= MOST && state.changes.len() == count(state, &within) {
        return Ok(None);
    }
    let mut all = history(work, record, state)?;
    all.retain(|incoming| state.position(&incoming.id).is_some_and(|i| within.has(i)));
    RecordState::replay(all, rules)
        .map(Some)
        .map_err(|fault| Error::integrity_at("a record's history", fault))
}

/// What of a version in view an edit on this part of the record can say it saw.
pub(crate) fn seen_of(state: &RecordState, base: &RecordState, seen: &[ChangeId]) -> Vec<ChangeId> {
    let places: Vec<usize> = seen.iter().filter_map(|id| state.position(id)).collect();
    let closure = Bits::closure(&state.changes, &places);
    let both = |(i, c): (usize, &ChangeInfo)| {
        let there = closure.has(i) && base.position(&c.id).is_some();
        there.then_some(i)
    };
    let both: Vec<usize> = state.changes.iter().enumerate().filter_map(both).collect();
    let both = Bits::closure(&state.changes, &both);
    let mut ids: Vec<ChangeId> = frontier(state, &both)
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

/// The change that wrote an operation.
fn writer(state: &RecordState, op: &OpId) -> Option<usize> {
    let actor = state.actors.iter().position(|a| a.actor == op.actor)?;
    let wrote = |c: &ChangeInfo| c.actor == actor && (c.start_op..=c.end_op).contains(&op.ctr);
    state.changes.iter().position(wrote)
}
