//! The index rows of a record: what its merged view can be found by.
//!
//! A row is `i` + index name + 0 + folded value + 0 + record, without a value of its own. No part
//! holds a 0, so a prefix finds whole values. Rules add rows of their own ([`super::finding`]).

use crate::ids::RecordId;
use crate::model::json::Json;
use crate::model::kind::ActivePack;
use crate::model::pack::Index;
use crate::vault::fold::{fold, words};
use crate::vault::rows::{Row, kind};

/// The index of the patient a record belongs to.
pub const PATIENT: &str = "patient";

/// Values that one index or rule takes from one record; more is no clinical record.
pub(super) const VALUES_MAX: usize = 1024;

/// The kind of a patient's own record.
const PATIENT_KIND: &str = "Patient";

/// The index and rule rows of a record, sorted, each key once.
///
/// They follow from the pack and the view alone, so every replica derives the same.
pub fn entries(pack: &ActivePack, record: &RecordId, view: &Json) -> Vec<Row> {
    let mut rows = Vec::with_capacity(16);
    let patient = patient_of(pack, record, view);
    if let Some(patient) = &patient {
        // Whether or not the pack lists this index: a patient's chart must be whole.
        rows.push((key(PATIENT, patient.as_str(), record), Vec::new()));
    }
    for index in &pack.kind(record.kind()).kind().indexes {
        index_rows(index, record, view, &mut rows);
    }
    super::finding::rule_rows(pack, record, view, patient.as_ref(), &mut rows);
    rows.sort_unstable();
    rows.dedup_by(|a, b| a.0 == b.0);
    rows
}

/// The patient that a record belongs to: at its kind's patient path the first reference to a
/// patient, a typed one (`Patient/x`) before a bare `urn:uuid:x`.
pub fn patient_of(pack: &ActivePack, record: &RecordId, view: &Json) -> Option<RecordId> {
    let path = pack.kind(record.kind()).kind().patient.as_deref()?;
    if path == "self" {
        return Some(record.clone());
    }
    let (mut typed, mut bare) = (None, None);
    walk(view, path, &mut |at| {
        let text = at.as_str().or_else(|| at.get("reference")?.as_str());
        let kind = at.get("type").and_then(Json::as_str);
        let place = match text {
            Some(text) if text.starts_with(URN_UUID) => &mut bare,
            _ => &mut typed,
        };
        if place.is_none() && kind.is_none_or(|kind| kind == PATIENT_KIND) {
            *place = text.and_then(patient_id).and_then(record_id);
        }
    });
    typed.or(bare)
}

const URN_UUID: &str = "urn:uuid:";

/// The id in `Patient/x`, `urn:uuid:x` or an absolute URL that ends in `/Patient/x`.
fn patient_id(reference: &str) -> Option<&str> {
    if let Some(id) = reference.strip_prefix(URN_UUID) {
        return Some(id);
    }
    let (of_kind, id) = plain_reference(reference).rsplit_once('/')?;
    let base = of_kind.strip_suffix(PATIENT_KIND)?;
    (base.is_empty() || (base.ends_with('/') && base.contains("://"))).then_some(id)
}

fn record_id(id: &str) -> Option<RecordId> {
    RecordId::new(PATIENT_KIND, id).ok()
}

/// A reference without the version it names.
pub(super) fn plain_reference(reference: &str) -> &str {
    reference
        .split_once("/_history/")
        .map_or(reference, |(plain, _)| plain)
}

fn index_rows(index: &Index, record: &RecordId, view: &Json, rows: &mut Vec<Row>) {
    let (mut value, mut left) = (String::new(), VALUES_MAX);
    let mut put = |value: &str| {
        if left > 0 && !value.is_empty() {
            left -= 1;
            rows.push((key(&index.name, value, record), Vec::new()));
        }
    };
    walk(view, &index.path, &mut |at| {
        texts(at, &mut |text| {
            if index.words {
                words(text, &mut put);
            } else {
                value.clear();
                indexed(&index.name, text, &mut value);
                put(&value);
            }
        });
    });
}

fn key(index: &str, value: &str, record: &RecordId) -> Vec<u8> {
    let record = record.as_str();
    let mut key = Vec::with_capacity(index.len() + value.len() + record.len() + 3);
    key.push(kind::INDEX);
    for part in [index, value] {
        key.extend_from_slice(part.as_bytes());
        key.push(0);
    }
    key.extend_from_slice(record.as_bytes());
    key
}

/// `i` + index name + 0 + value, from an already folded value.
pub(super) fn prefix(index: &str, value: &str) -> Vec<u8> {
    [&[kind::INDEX], index.as_bytes(), &[0], value.as_bytes()].concat()
}

/// Appends a text as an index holds it.
///
/// Patients are kept letter by letter: `Patient/a` and `Patient/A` are two people.
pub(super) fn indexed(index: &str, text: &str, out: &mut String) {
    match (index == PATIENT).then(|| patient_id(text)).flatten() {
        Some(id) if record_id(id).is_some() => {
            out.push_str(PATIENT_KIND);
            out.push('/');
            out.push_str(id);
        }
        _ => fold(text, out),
    }
}

/// Calls `each` with the values at a path, arrays taken item by item on the way and at its end.
/// `value[x]` stands for `valueQuantity`, `valueString` ..
pub(super) fn walk<'a>(at: &'a Json, path: &str, each: &mut dyn FnMut(&'a Json)) {
    if let Json::Array(items) = at {
        for item in items {
            walk(item, path, each);
        }
        return;
    }
    if path.is_empty() {
        return each(at);
    }
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    if let Some(choice) = name.strip_suffix("[x]") {
        for (member, value) in at.members() {
            let variant = member.strip_prefix(choice);
            if variant.is_some_and(|v| v.starts_with(|c: char| c.is_ascii_uppercase())) {
                walk(value, rest, each);
            }
        }
    } else if let Some(value) = at.get(name) {
        walk(value, rest, each);
    }
}

/// The text of a string, number or boolean.
pub(super) fn scalar(value: &Json) -> Option<&str> {
    match value {
        Json::String(text) | Json::Number(text) => Some(text),
        Json::Bool(true) => Some("true"),
        Json::Bool(false) => Some("false"),
        _ => None,
    }
}

/// Calls `each` with what a value can be found by, told by its shape: the FHIR datatypes that
/// name things.
fn texts(value: &Json, each: &mut dyn FnMut(&str)) {
    if let Some(text) = scalar(value) {
        return each(text);
    }
    let member = |name| value.get(name).and_then(Json::as_str);
    if let Some(reference) = member("reference") {
        each(reference);
    } else if let Some(identifier @ Json::Object(_)) = value.get("identifier") {
        texts(identifier, each); // a reference that names its target by identifier only
    } else if let Some(number) = member("value") {
        qualified(value, number, each);
    } else if value.get("coding").is_some() || member("code").is_some() {
        codings(value, &mut |coding, code| qualified(coding, code, each));
    } else {
        for name in ["family", "given", "text"] {
            walk(value, name, &mut |at| {
                if let Some(text) = at.as_str() {
                    each(text);
                }
            });
        }
    }
}

/// `system|value` and `value`.
fn qualified(of: &Json, value: &str, each: &mut dyn FnMut(&str)) {
    if let Some(system) = of.get("system").and_then(Json::as_str) {
        each(&[system, "|", value].concat());
    }
    each(value);
}

/// Calls `each` with the coding and the code of every coding in a CodeableConcept, Coding or code.
pub(super) fn codings<'a>(value: &'a Json, each: &mut dyn FnMut(&'a Json, &'a str)) {
    if let Some(code) = value.as_str() {
        return each(value, code);
    }
    match value.get("coding") {
        Some(list) => walk(list, "", &mut |coding| {
            if let Some(code) = coding.get("code").and_then(Json::as_str) {
                each(coding, code);
            }
        }),
        None => {
            if let Some(code) = value.get("code").and_then(Json::as_str) {
                each(value, code);
            }
        }
    }
}
