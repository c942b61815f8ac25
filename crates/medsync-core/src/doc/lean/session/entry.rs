//! What an entry says beside its change.

use crate::doc::lean::coder::Coder;
use crate::doc::lean::session::Session;
use crate::doc::lean::{Fault, Key};
use crate::ids::{ChangeId, DataKeyId, RecordId};
use zeroize::Zeroizing;

const SEEN_MAX: usize = 200;
const PATIENTS_MAX: usize = 4096;

/// Which patient an entry names: the record's, none, the record itself, the one before, another.
const SAME: usize = 0;
const NONE: usize = 1;
const ITSELF: usize = 2;
const BEFORE: usize = 3;
const OTHER: usize = 4;

impl Session {
    pub(super) fn key<C: Coder>(
        &mut self,
        c: &mut C,
        key: &Key,
        expected: Option<DataKeyId>,
    ) -> Result<Key, Fault> {
        let same = expected == Some(key.id);
        let id = match expected {
            Some(expected) if c.bit(&mut self.same_key, same)? => expected,
            _ => DataKeyId(c.bytes(key.id.0)?),
        };
        let grant = match c.bit(&mut self.granted, key.grant.is_some())? {
            true => {
                let given = key.grant.as_ref().map_or([0; 32], |grant| **grant);
                Some(Zeroizing::new(c.bytes(given)?))
            }
            false => None,
        };
        Ok(Key { id, grant })
    }

    pub(super) fn learn(
        &mut self,
        number: Option<u64>,
        patient: Option<&RecordId>,
        key: DataKeyId,
    ) {
        if let Some(mirror) = number.and_then(|number| self.mirrors.get_mut(number)) {
            mirror.key = Some(key);
            if mirror.patient.is_none() {
                mirror.patient = patient.cloned();
            }
        }
        if let Some(patient) = patient
            && (self.keys.len() < PATIENTS_MAX || self.keys.contains_key(patient))
        {
            self.keys.insert(patient.clone(), key);
        }
        if patient.is_some() {
            self.patient = patient.cloned();
        }
    }

    pub(super) fn record<C: Coder>(&mut self, c: &mut C, record: &str) -> Result<RecordId, Fault> {
        let text = self.values.text(c, "record", record)?;
        text.parse().map_err(|_| Fault::Malformed)
    }

    pub(super) fn patient<C: Coder>(
        &mut self,
        c: &mut C,
        record: &RecordId,
        of_record: Option<RecordId>,
        given: Option<&RecordId>,
    ) -> Result<Option<RecordId>, Fault> {
        let which = match given {
            given if of_record.is_some() && given == of_record.as_ref() => SAME,
            None => NONE,
            Some(given) if given == record => ITSELF,
            given if given == self.patient.as_ref() => BEFORE,
            Some(_) => OTHER,
        };
        Ok(match c.symbol(&mut self.patients, which)? {
            SAME => of_record,
            NONE => None,
            ITSELF => Some(record.clone()),
            BEFORE => self.patient.clone(),
            _ => Some(self.record(c, given.map_or("", RecordId::as_str))?),
        })
    }

    pub(super) fn seen<C: Coder>(
        &mut self,
        c: &mut C,
        number: Option<u64>,
        seen: Option<&Vec<ChangeId>>,
    ) -> Result<Option<Vec<ChangeId>>, Fault> {
        if !c.bit(&mut self.has_seen, seen.is_some())? {
            return Ok(None);
        }
        let seen = seen.map_or(&[][..], |seen| seen);
        let mirror = number.and_then(|number| self.mirrors.get(number));
        let nodes = mirror.map_or(&[][..], |mirror| &mirror.nodes);
        let count = c.below(&mut self.seen, seen.len(), SEEN_MAX + 1)?;
        let mut out = Vec::with_capacity(count);
        for i in 0..count {
            let given = seen.get(i).copied().unwrap_or(ChangeId([0; 32]));
            let at = nodes.iter().rev().position(|(id, _)| *id == given);
            out.push(match c.bit(&mut self.seen_known, at.is_some())? {
                true => {
                    let back = c.below(&mut self.distance, at.unwrap_or(0), nodes.len())?;
                    nodes.iter().rev().nth(back).ok_or(Fault::Malformed)?.0
                }
                false => ChangeId(c.bytes(given.0)?),
            });
        }
        Ok(Some(out))
    }

    pub(super) fn source<C: Coder>(
        &mut self,
        c: &mut C,
        source: Option<&(String, [u8; 16])>,
    ) -> Result<Option<(String, [u8; 16])>, Fault> {
        if !c.bit(&mut self.has_source, source.is_some())? {
            return Ok(None);
        }
        let name = source.map_or("", |(name, _)| name);
        let name = self.values.text(c, "source", name)?;
        Ok(Some((
            name,
            c.bytes(source.map_or([0; 16], |(_, digest)| *digest))?,
        )))
    }
}
