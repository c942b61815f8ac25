//! What both sides of a session hold, from the rows of one of them.

use crate::doc;
use crate::doc::causality::Bits;
use crate::doc::lean::{Base, Known, Place};
use crate::doc::state::{ChangeInfo, RecordState};
use crate::error::{Error, Result};
use crate::ids::{ActorId, ChainId, ChangeId, DataKeyId, RecordId};
use crate::ledger::entry::Entry;
use crate::model::cell::OpId;
use crate::model::cell_value::CellValue;
use crate::vault::commit_row::LeafRow;
use crate::vault::core::{Core, load_commit, load_record};
use crate::vault::rows::Rows;
use std::collections::HashMap;

/// Records whose state is kept at a time.
const STATES_MAX: usize = 64;

/// Answers for a vault. Of an error nothing is known to the other side: it is kept, and the answer
/// is that nothing is known.
pub(crate) struct Both<'a> {
    rows: &'a dyn Rows,
    core: &'a Core,
    /// Whether the other side has a commit of a chain, and all that it builds on.
    shared: &'a dyn Fn(&ChainId, u64) -> bool,
    states: HashMap<RecordId, RecordState>,
    fault: Option<Error>,
}

/// A change of a record as it is stored.
struct Stored {
    place: Place,
    key: DataKeyId,
    bytes: Vec<u8>,
}

impl<'a> Both<'a> {
    pub(crate) fn new(
        rows: &'a dyn Rows,
        core: &'a Core,
        shared: &'a dyn Fn(&ChainId, u64) -> bool,
    ) -> Self {
        Self {
            rows,
            core,
            shared,
            states: HashMap::new(),
            fault: None,
        }
    }

    /// What went wrong in the store, if anything did.
    pub(crate) fn fault(&mut self) -> Option<Error> {
        self.fault.take()
    }

    fn caught<T>(&mut self, result: Result<Option<T>>) -> Option<T> {
        result.unwrap_or_else(|error| {
            self.fault.get_or_insert(error);
            None
        })
    }

    fn state(&mut self, record: &RecordId) -> Result<Option<&RecordState>> {
        if !self.states.contains_key(record) {
            let Some((state, _)) = load_record(self.rows, record)? else {
                return Ok(None);
            };
            if self.states.len() >= STATES_MAX {
                self.states.clear();
            }
            self.states.insert(record.clone(), state);
        }
        Ok(self.states.get(record))
    }

    fn stored(
        &self,
        record: &RecordId,
        state: &RecordState,
        change: &ChangeInfo,
    ) -> Result<Option<Stored>> {
        let Some(number) = state.actors.get(change.actor).map(|actor| actor.chain) else {
            return Ok(None);
        };
        let chain = self.core.chain(number)?.id;
        // Of a chain that forked a place does not say which commit.
        if self.core.forks.has(&chain) {
            return Ok(None);
        }
        let seq = change.commit_seq;
        let Some(row) = load_commit(self.rows, number, seq)? else {
            return Ok(None);
        };
        for (index, leaf) in (0..).zip(row.leaves) {
            let of = leaf.change()?.map(|(entry, _)| entry);
            if of.is_some_and(|e| e.record == *record && e.change == change.id)
                && let LeafRow::Change { key, change, .. } = leaf
            {
                return Ok(Some(Stored {
                    place: Place { chain, seq, index },
                    key,
                    bytes: change,
                }));
            }
        }
        Ok(None)
    }

    fn find_place(&mut self, record: &RecordId, change: &ChangeId) -> Result<Option<Place>> {
        let Some(state) = self.state(record)?.cloned() else {
            return Ok(None);
        };
        let Some(at) = state.position(change).filter(|_| !state.clashes()) else {
            return Ok(None);
        };
        let stored = self.stored(record, &state, &state.changes[at])?;
        let place = stored.map(|stored| stored.place);
        Ok(place.filter(|place| (self.shared)(&place.chain, place.seq)))
    }

    fn find_at(&self, place: &Place) -> Result<Option<(RecordId, ChangeId)>> {
        if self.core.forks.has(&place.chain) {
            return Ok(None);
        }
        let Some(number) = self.core.chain_no(&place.chain) else {
            return Ok(None);
        };
        let Some(row) = load_commit(self.rows, number, place.seq)? else {
            return Ok(None);
        };
        let index = usize::try_from(place.index).unwrap_or(usize::MAX);
        let Some(LeafRow::Change { entry, .. }) = row.leaves.get(index) else {
            return Ok(None);
        };
        Ok(match Entry::parse(entry)? {
            Entry::Change(entry) => Some((entry.record, entry.change)),
            _ => None,
        })
    }

    fn find_base(&mut self, record: &RecordId, version: &[ChangeId]) -> Result<Option<Base>> {
        let Some(state) = self.state(record)?.cloned() else {
            return Ok(None);
        };
        let places: Option<Vec<usize>> = version.iter().map(|id| state.position(id)).collect();
        let Some(places) = places else {
            return Ok(None);
        };
        let key = match places.first() {
            Some(at) => self.stored(record, &state, &state.changes[*at])?,
            None => None,
        };
        Ok(Some(Base {
            ends: places.iter().map(|at| state.changes[*at].end_op).collect(),
            patient: state.patient,
            key: key.map(|stored| stored.key),
        }))
    }

    /// The changes that a version builds on, itself included, by an actor.
    fn by(
        &mut self,
        record: &RecordId,
        version: &[ChangeId],
        actor: &ActorId,
    ) -> Result<Option<(RecordState, Vec<usize>)>> {
        let Some(state) = self.state(record)?.cloned() else {
            return Ok(None);
        };
        let places: Vec<usize> = version.iter().filter_map(|id| state.position(id)).collect();
        let past = Bits::closure(&state.changes, &places);
        let is_by = |change: &ChangeInfo| {
            let by = state.actors.get(change.actor);
            by.is_some_and(|by| by.actor == *actor)
        };
        let all = state.changes.iter().enumerate();
        let of = all.filter(|(i, change)| past.has(*i) && is_by(change));
        let of = of.map(|(i, _)| i).collect();
        Ok(Some((state, of)))
    }

    fn find_operation(
        &mut self,
        record: &RecordId,
        version: &[ChangeId],
        id: &OpId,
    ) -> Result<Option<(Box<str>, CellValue)>> {
        let Some((state, of)) = self.by(record, version, &id.actor)? else {
            return Ok(None);
        };
        let within = |at: &&usize| {
            let change = &state.changes[**at];
            (change.start_op..=change.end_op).contains(&id.ctr)
        };
        let Some(change) = of.iter().find(within).map(|at| &state.changes[*at]) else {
            return Ok(None);
        };
        let Some(stored) = self.stored(record, &state, change)? else {
            return Ok(None);
        };
        let Ok((flat, _)) = doc::decode(&stored.bytes) else {
            return Ok(None);
        };
        let index = usize::try_from(id.ctr - change.start_op).unwrap_or(usize::MAX);
        let op = flat.ops.get(index);
        Ok(op.map(|op| (op.key.clone(), op.cell.to_value())))
    }
}

impl Known for Both<'_> {
    fn place(&mut self, record: &RecordId, change: &ChangeId) -> Option<Place> {
        let found = self.find_place(record, change);
        self.caught(found)
    }

    fn at(&mut self, place: &Place) -> Option<(RecordId, ChangeId)> {
        let found = self.find_at(place);
        self.caught(found)
    }

    fn base(&mut self, record: &RecordId, version: &[ChangeId]) -> Option<Base> {
        let found = self.find_base(record, version);
        self.caught(found)
    }

    fn last(
        &mut self,
        record: &RecordId,
        version: &[ChangeId],
        actor: &ActorId,
    ) -> Option<(u64, ChangeId)> {
        let found = self.by(record, version, actor);
        let (state, of) = self.caught(found)?;
        let last = of.iter().map(|at| &state.changes[*at]);
        let last = last.max_by_key(|change| change.seq)?;
        Some((last.seq, last.id))
    }

    fn operation(
        &mut self,
        record: &RecordId,
        version: &[ChangeId],
        id: &OpId,
    ) -> Option<(Box<str>, CellValue)> {
        let found = self.find_operation(record, version, id);
        self.caught(found)
    }
}
