//! Records found by what stands in question: an interim may show none of a field's candidates, and
//! a patient whose name two people wrote apart is to be found by both.
//!
//! Open questions are few beside records, so they are looked through instead of indexed.

use crate::doc::state::RecordState;
use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::model::json::Json;
use crate::model::kind::{ActivePack, field_of_key};
use crate::vault::core::load_record;
use crate::vault::fold::fold;
use crate::vault::index;
use crate::vault::query::{IDENTIFIER, Want, wanted};
use crate::vault::read::value_of;
use crate::vault::rows::{Rows, kind};
use std::collections::BTreeSet;

/// Most questions that one search looks through.
const QUESTIONS_MAX: usize = 20_000;

/// Records with open questions that a text describes, counting every candidate's words.
pub(super) fn search(rows: &dyn Rows, pack: &ActivePack, text: &str) -> Result<Vec<RecordId>> {
    let wanted = wanted(text);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut whole = String::new();
    fold(text, &mut whole);
    records(rows, pack, &mut |record, views| {
        let mut held = Held::default();
        for index in &pack.kind(record.kind()).kind().indexes {
            if index.words || index.name == IDENTIFIER {
                for view in views {
                    index::values(index, view, &mut |value| held.put(&index.name, value));
                }
            }
        }
        Ok(held.identifiers.contains(&whole) || wanted.iter().all(|want| held.has(want)))
    })
}

/// Records that one of their candidates gives to a patient.
pub(super) fn of_patient(
    rows: &dyn Rows,
    pack: &ActivePack,
    patient: &RecordId,
) -> Result<Vec<RecordId>> {
    records(rows, pack, &mut |record, views| {
        let mut owners = views
            .iter()
            .filter_map(|view| index::patient_of(pack, record, view));
        Ok(owners.any(|owner| owner == *patient))
    })
}

#[derive(Default)]
struct Held {
    words: BTreeSet<String>,
    identifiers: BTreeSet<String>,
}

impl Held {
    fn put(&mut self, index: &str, value: &str) {
        let set = match index {
            IDENTIFIER => &mut self.identifiers,
            _ => &mut self.words,
        };
        set.insert(value.to_owned());
    }

    fn has(&self, want: &Want) -> bool {
        let from = self.words.range(want.word.clone()..).next();
        from.is_some_and(|word| word.starts_with(&want.word))
            || self.identifiers.contains(&want.written)
    }
}

type Fits<'a> = &'a mut dyn FnMut(&RecordId, &[Json]) -> Result<bool>;

/// The records with open questions that fit, told by what they show and by each candidate.
fn records(rows: &dyn Rows, pack: &ActivePack, fits: Fits<'_>) -> Result<Vec<RecordId>> {
    let mut open: BTreeSet<RecordId> = BTreeSet::new();
    let mut left = QUESTIONS_MAX;
    rows.scan(&[kind::QUESTION], &[kind::QUESTION], &mut |key, _| {
        let (record, field) = question(key)?;
        if telling(pack, &record, field) {
            open.insert(record);
        }
        left -= 1;
        Ok(left > 0)
    })?;
    let mut found = Vec::new();
    for record in open {
        let Some((state, view)) = load_record(rows, &record)? else {
            continue;
        };
        let mut views = vec![Json::parse(view.as_bytes())?];
        views.extend(candidates(&state));
        if fits(&record, &views)? {
            found.push(record);
        }
    }
    Ok(found)
}

/// The record and the key of a question's row.
fn question(key: &[u8]) -> Result<(RecordId, &str)> {
    const BAD: Error = Error::integrity("a question's row is malformed");
    let text = key.get(1..).and_then(|key| std::str::from_utf8(key).ok());
    let (record, key) = text.and_then(|text| text.split_once('\0')).ok_or(BAD)?;
    Ok((record.parse().map_err(|_| BAD)?, key))
}

/// Whether a record may be found by this field.
fn telling(pack: &ActivePack, record: &RecordId, key: &str) -> bool {
    let kind = pack.kind(record.kind());
    let mut paths = kind.kind().indexes.iter().map(|index| index.path.as_str());
    let first = |path: &str| path.split('.').next() == Some(field_of_key(key));
    paths.any(first) || kind.kind().patient.as_deref().is_some_and(first)
}

/// What each candidate of a contested key says, as a record that holds nothing else.
fn candidates(state: &RecordState) -> Vec<Json> {
    let contested = state
        .keys
        .iter()
        .filter(|(_, key)| key.outcome.accord.is_open());
    let each = contested.flat_map(|(key, state)| {
        let values = state.outcome.candidates.iter();
        let values = values.filter_map(|candidate| value_of(&candidate.cell));
        values.map(move |value| Json::object([(field_of_key(key), value.expose().clone())]))
    });
    each.collect()
}
