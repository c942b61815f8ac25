//! What both sides hold, in memory.

use crate::doc::lean::change::Parts;
use crate::doc::lean::{Base, Known, Place};
use crate::ids::{ActorId, ChangeId, DataKeyId, RecordId};
use crate::model::cell::OpId;
use crate::model::cell_value::CellValue;
use std::collections::HashMap;
use std::fmt;

struct Kept {
    id: ChangeId,
    place: Place,
    shared: bool,
    end_op: u64,
    parts: Parts,
}

#[derive(Default)]
struct Changes {
    patient: Option<RecordId>,
    key: Option<DataKeyId>,
    all: Vec<Kept>,
}

/// Changes in memory that answer as [`Known`].
#[derive(Default)]
pub struct Held {
    records: HashMap<RecordId, Changes>,
    places: HashMap<Place, (RecordId, ChangeId)>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} records)", self.records.len())
    }
}

impl Held {
    /// Adds a change, after those it builds on. `shared` says that the other side surely has it.
    /// `false`, and nothing done, for what is no change of a flat record.
    pub fn insert(
        &mut self,
        record: &RecordId,
        (patient, key): (Option<&RecordId>, DataKeyId),
        place: Place,
        shared: bool,
        bytes: &[u8],
    ) -> bool {
        let Some((id, parts)) = Parts::of(bytes).and_then(|parts| Some((parts.id?, parts))) else {
            return false;
        };
        let end_op = parts.start_op.saturating_add(parts.ops.len() as u64) - 1;
        let changes = self.records.entry(record.clone()).or_default();
        if changes.all.is_empty() {
            changes.patient = patient.cloned();
            changes.key = Some(key);
        }
        if changes.key != Some(key) {
            changes.key = None;
        }
        self.places.insert(place, (record.clone(), id));
        changes.all.push(Kept {
            id,
            place,
            shared,
            end_op,
            parts,
        });
        true
    }

    fn find(&self, record: &RecordId, id: &ChangeId) -> Option<&Kept> {
        let all = &self.records.get(record)?.all;
        all.iter().rev().find(|kept| kept.id == *id)
    }

    /// What a version builds on, itself included, causes first.
    fn past(&self, record: &RecordId, version: &[ChangeId]) -> Option<Vec<&Kept>> {
        let all = &self.records.get(record)?.all;
        let at = |id: &ChangeId| all.iter().rposition(|kept| kept.id == *id);
        let mut within = vec![false; all.len()];
        for id in version {
            *within.get_mut(at(id)?)? = true;
        }
        for i in (0..all.len()).rev() {
            if within[i] {
                for dep in &all[i].parts.deps {
                    *within.get_mut(at(dep)?)? = true;
                }
            }
        }
        let past = all.iter().zip(within).filter(|(_, within)| *within);
        Some(past.map(|(kept, _)| kept).collect())
    }
}

impl Known for Held {
    fn place(&mut self, record: &RecordId, change: &ChangeId) -> Option<Place> {
        let kept = self.find(record, change).filter(|kept| kept.shared)?;
        Some(kept.place)
    }

    fn at(&mut self, place: &Place) -> Option<(RecordId, ChangeId)> {
        self.places.get(place).cloned()
    }

    fn base(&mut self, record: &RecordId, version: &[ChangeId]) -> Option<Base> {
        let ends = version.iter().map(|id| Some(self.find(record, id)?.end_op));
        let ends = ends.collect::<Option<_>>()?;
        let changes = self.records.get(record)?;
        Some(Base {
            ends,
            patient: changes.patient.clone(),
            key: changes.key,
        })
    }

    fn last(
        &mut self,
        record: &RecordId,
        version: &[ChangeId],
        actor: &ActorId,
    ) -> Option<(u64, ChangeId)> {
        let past = self.past(record, version)?;
        let own = past.iter().filter(|kept| kept.parts.actor == Some(*actor));
        let last = own.max_by_key(|kept| kept.parts.seq)?;
        Some((last.parts.seq, last.id))
    }

    fn operation(
        &mut self,
        record: &RecordId,
        version: &[ChangeId],
        id: &OpId,
    ) -> Option<(Box<str>, CellValue)> {
        let past = self.past(record, version)?;
        let of = |kept: &&&Kept| {
            let within = (kept.parts.start_op..=kept.end_op).contains(&id.ctr);
            within && kept.parts.actor == Some(id.actor)
        };
        let kept = past.iter().find(of)?;
        let index = usize::try_from(id.ctr - kept.parts.start_op).ok()?;
        let op = kept.parts.ops.get(index)?;
        Some((op.key.clone(), op.value.clone()))
    }
}
