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
    super::rules::rule_rows(pack, record, view, patient.as_ref(), &mut rows);
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
    values(index, view, &mut |value| {
        rows.push((key(&index.name, value, record), Vec::new()));
    });
}

/// Calls `each` with the values that a view is found by in an index, folded.
pub(super) fn values(index: &Index, view: &Json, each: &mut dyn FnMut(&str)) {
    let (mut value, mut left) = (String::new(), VALUES_MAX);
    let mut put = |value: &str| {
        if left > 0 && !value.is_empty() {
            left -= 1;
            each(value);
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
    let value = value.trim();
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::error::Result;
    use crate::model::pack::PolicyPack;
    use crate::vault::rows::Rows;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Rows in memory.
    #[derive(Default)]
    pub(in crate::vault) struct MapRows(pub(in crate::vault) BTreeMap<Vec<u8>, Vec<u8>>);

    impl MapRows {
        pub(in crate::vault) fn put(&mut self, pack: &ActivePack, record: &str, view: &str) {
            self.0.extend(entries(pack, &id(record), &json(view)));
        }
    }

    impl Rows for MapRows {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
            Ok(self.0.get(key).cloned())
        }

        fn scan(
            &self,
            prefix: &[u8],
            from: &[u8],
            each: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool>,
        ) -> Result<()> {
            for (key, value) in self.0.range(from.to_vec()..) {
                if !key.starts_with(prefix) || !each(key, value)? {
                    break;
                }
            }
            Ok(())
        }
    }

    pub(in crate::vault) fn id(text: &str) -> RecordId {
        text.parse().expect("a record id")
    }

    pub(in crate::vault) fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).expect("JSON")
    }

    pub(in crate::vault) fn pack() -> ActivePack {
        let text = r#"{"format":1,"name":"test","version":1,"kinds":{
            "Patient":{"patient":"self","indexes":[
                {"name":"name","path":"name","words":true},
                {"name":"birthdate","path":"birthDate"},
                {"name":"identifier","path":"identifier"}]},
            "Condition":{"patient":"subject","indexes":[
                {"name":"patient","path":"subject"},
                {"name":"code","path":"code"},
                {"name":"date","path":"onset[x]"}]},
            "Observation":{"patient":"subject","indexes":[{"name":"code","path":"code.coding.code"}]},
            "AllergyIntolerance":{"patient":"patient"},
            "Appointment":{"patient":"participant.actor","indexes":[
                {"name":"patient","path":"participant.actor.reference"},
                {"name":"slot","path":"slot"}]}
        },"rules":[
            {"name":"blood","kind":"Observation","risk":"critical","why":"two blood groups",
             "except":[{"path":"status","codes":["entered-in-error"]}],
             "check":{"is":"one-value","code":"code","codes":["loinc|882-1"],"value":"value[x]"}},
            {"name":"none-known","kind":"AllergyIntolerance","why":"contradiction",
             "except":[{"path":"verificationStatus","codes":["refuted"]}],
             "check":{"is":"negation","code":"code","negative":["sct|716186003"]}},
            {"name":"no-food","kind":"AllergyIntolerance","why":"contradiction",
             "check":{"is":"negation","code":"code","negative":["sct|429625007"]}},
            {"name":"twice","kind":"AllergyIntolerance","risk":"low","why":"perhaps one",
             "check":{"is":"same-code","code":"code"}},
            {"name":"shared","kind":"Patient","risk":"high","why":"one number, two people",
             "check":{"is":"shared","items":"identifier","key":["system","value"],
                      "systems":["urn:mrn"]}},
            {"name":"two-numbers","kind":"Patient","why":"two numbers",
             "check":{"is":"one-per-system","items":"identifier"}},
            {"name":"slot","kind":"Appointment","why":"booked twice",
             "except":[{"path":"status","codes":["cancelled"]}],
             "check":{"is":"claimed","reference":"slot"}}
        ]}"#;
        ActivePack::new(PolicyPack::from_json(text.as_bytes()).expect("a pack"))
    }

    /// The index rows as `name=value`, without the record.
    fn found_by(record: &str, view: &str) -> Vec<String> {
        let rows = entries(&pack(), &id(record), &json(view));
        let index = rows.iter().filter(|(key, _)| key[0] == kind::INDEX);
        index
            .map(|(key, value)| {
                assert!(value.is_empty());
                let parts: Vec<&[u8]> = key[1..].split(|b| *b == 0).collect();
                assert_eq!(parts[2], record.as_bytes());
                let text = |i: usize| String::from_utf8(parts[i].to_vec()).expect("text");
                format!("{}={}", text(0), text(1))
            })
            .collect()
    }

    #[test]
    fn a_patient_is_found_by_name_number_and_birth_date() {
        let view = r#"{"birthDate":"1970-01-02","name":[{"use":"usual","family":"O'N\u00e9il",
            "given":["Ana",null,"ana-lu"],"text":"Ana O'Neil"},{"given":null}],
            "identifier":[{"system":"urn:MRN","value":" Ab  1"},{"value":"2"},{"system":"x"}]}"#;
        let expected = [
            "birthdate=1970-01-02",
            "identifier=2",
            "identifier=ab 1",
            "identifier=urn:mrn|ab 1",
            "name=ana",
            "name=lu",
            "name=oneil",
            "patient=Patient/1",
        ];
        assert_eq!(found_by("Patient/1", view), expected);
    }

    #[test]
    fn codes_dates_and_references_are_found_by_their_parts() {
        let view = r#"{"subject":{"reference":"Patient/1/_history/3"},"onsetDateTime":"2020-01",
            "onset":"no","code":{"text":"Asthma","coding":[{"system":"sct","code":"A","display":"d"},
            {"code":"B"},{"display":"none"}]}}"#;
        let expected = [
            "code=a",
            "code=b",
            "code=sct|a",
            "date=2020-01",
            "patient=Patient/1",
        ];
        assert_eq!(found_by("Condition/1", view), expected);
        let view = r#"{"code":{"text":"Asthma"},"onsetAge":{"value":7,"code":"a","system":"u"}}"#;
        assert_eq!(
            found_by("Condition/1", view),
            ["code=asthma", "date=a", "date=u|a"]
        );
        let view = r#"{"subject":{"identifier":{"system":"s","value":"1"}}}"#;
        assert_eq!(found_by("Condition/1", view), ["patient=1", "patient=s|1"]);
        let view = r#"{"subject":{"reference":"Group/G"},"onsetBoolean":true,"onsetInteger":1.50}"#;
        assert_eq!(
            found_by("Condition/1", view),
            ["date=1.50", "date=true", "patient=group/g"]
        );
        assert_eq!(found_by("Unknown/1", view), [""; 0]);
    }

    #[test]
    fn the_patient_of_a_record_is_read_from_every_form_of_reference() {
        let of = |subject: &str| {
            let view = json(&format!("{{\"subject\":{subject}}}"));
            patient_of(&pack(), &id("Condition/1"), &view).map(|id| id.to_string())
        };
        for reference in [
            "Patient/x",
            "urn:uuid:x",
            "https://h/fhir/Patient/x",
            "Patient/x/_history/2",
        ] {
            let found = of(&format!("{{\"reference\":\"{reference}\"}}"));
            assert_eq!(found.as_deref(), Some("Patient/x"), "{reference}");
        }
        for none in [
            r#"{"reference":"Group/x"}"#,
            r#"{"reference":"XPatient/x"}"#,
            r#"{"reference":"https://h/XPatient/x"}"#,
            r#"{"reference":"a/Patient/x"}"#,
            r#"{"reference":"Patient/"}"#,
            r#"{"reference":"Patient/a b"}"#,
            r##"{"reference":"#p"}"##,
            r#"{"reference":"urn:uuid:x","type":"Group"}"#,
            r#"{"reference":7}"#,
            "{}",
            "null",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        let own = patient_of(&pack(), &id("Patient/7"), &Json::Null);
        assert_eq!(own, Some(id("Patient/7")));
        assert_eq!(patient_of(&pack(), &id("Unknown/7"), &Json::Null), None);
    }

    #[test]
    fn a_typed_reference_goes_before_a_bare_one() {
        let view = json(
            r#"{"participant":[{"actor":{"reference":"urn:uuid:doctor"}},
                {"actor":{"reference":"Practitioner/d"}},{"actor":{"reference":"Patient/p"}}]}"#,
        );
        let found = patient_of(&pack(), &id("Appointment/1"), &view);
        assert_eq!(found, Some(id("Patient/p")));
    }

    #[test]
    fn hostile_sizes_are_cut() {
        let long = "\u{930}".repeat(50_000);
        let view = json(&format!(
            "{{\"birthDate\":\"{long}\",\"name\":[{{\"family\":\"{long}\"}}],\"identifier\":[{}]}}",
            (0..5000)
                .map(|i| format!("{{\"value\":\"{i}\",\"system\":\"urn:mrn\"}}"))
                .collect::<Vec<_>>()
                .join(",")
        ));
        let rows = entries(&pack(), &id("Patient/1"), &view);
        assert!(rows.len() <= 2 * VALUES_MAX + 4);
        assert!(rows.iter().all(|(key, _)| key.len() < 160));
    }

    #[test]
    fn a_zero_in_a_value_cannot_forge_another_row() {
        let view = r#"{"birthDate":"1970\u0000Patient/2"}"#;
        let expected = ["birthdate=1970 patient/2", "patient=Patient/1"];
        assert_eq!(found_by("Patient/1", view), expected);
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let text = prop_oneof![
            any::<String>(),
            proptest::sample::select(vec![
                "Patient/1",
                "urn:uuid:1",
                "loinc",
                "882-1",
                "sct",
                "716186003",
                "urn:mrn",
                "refuted",
            ])
            .prop_map(str::to_owned),
        ];
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i64>().prop_map(|n| Json::Number(n.to_string().into())),
            text.prop_map(|text| Json::string(&text)),
        ];
        let names = proptest::sample::select(vec![
            "subject",
            "patient",
            "reference",
            "type",
            "code",
            "coding",
            "system",
            "value",
            "valueString",
            "valueCodeableConcept",
            "identifier",
            "name",
            "family",
            "given",
            "text",
            "status",
            "slot",
            "participant",
            "actor",
            "birthDate",
            "onsetDateTime",
            "verificationStatus",
        ]);
        leaf.prop_recursive(6, 96, 8, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
                proptest::collection::vec((names.clone(), inner), 0..8).prop_map(Json::object),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn entries_are_sorted_unique_and_never_panic(
            view in any_json(),
            kind in proptest::sample::select(vec![
                "Patient", "Condition", "Observation", "AllergyIntolerance", "Appointment", "Other",
            ]),
        ) {
            let record = id(&format!("{kind}/1"));
            let rows = entries(&pack(), &record, &view);
            prop_assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0));
            prop_assert_eq!(&rows, &entries(&pack(), &record, &view));
            for (key, _) in &rows {
                prop_assert!(key.ends_with(record.as_str().as_bytes()));
                prop_assert!(key.len() < 512);
            }
        }
    }
}
