//! Findings: what the pack's rules raise over several fields or records.
//!
//! A finding is a group of rule rows whose sides disagree, so it is derived and never authored: it
//! settles when the data does.

use crate::error::{Error, Result};
use crate::ids::{RecordId, hex};
use crate::model::kind::ActivePack;
use crate::model::pack::Risk;
use crate::model::rule::{Check, Rule};
use crate::vault::rows::{Rows, kind};
use crate::vault::rules::{NEGATIVE, POSITIVE, digest, numbered, values_differ};
use std::collections::BTreeSet;
use std::fmt;

/// Records that one finding names at most.
pub const RECORDS_MAX: usize = 1000;

/// Of those, records whose side is already named: later sides find a place too.
const ALIKE_MAX: usize = 900;

/// Different sides of one group that are told apart.
const SIDES_MAX: usize = 100;

/// What a rule raised over the records of one group.
#[derive(Clone, PartialEq, Eq)]
pub struct Finding {
    /// A short name, the same on every replica and for as long as the finding stands.
    pub id: String,
    /// The rule's name.
    pub rule: String,
    /// How soon a person should look.
    pub risk: Risk,
    /// What to tell the person.
    pub why: String,
    /// The records that disagree, at most [`RECORDS_MAX`] of them.
    pub records: Vec<RecordId>,
}

// The id is a plain hash of identifiers and can be guessed back from a log: it stays out.
impl fmt::Debug for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finding")
            .field("rule", &self.rule)
            .field("risk", &self.risk)
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

/// Rows of records with an operation that a final status keeps from taking effect. Rules of a pack
/// have lower numbers.
pub(crate) const IDLE_PREFIX: [u8; 3] = [kind::RULE, u8::MAX, u8::MAX];

/// Records on which an operation was kept without effect: an import that said `active` after the
/// medicine was stopped here.
pub(crate) fn idle(rows: &dyn Rows, limit: usize) -> Result<Vec<Finding>> {
    let mut out = Vec::new();
    rows.scan(&IDLE_PREFIX, &IDLE_PREFIX, &mut |key, _| {
        if out.len() >= limit {
            return Ok(false);
        }
        let id = key.get(IDLE_PREFIX.len()..).unwrap_or_default();
        let record: RecordId = String::from_utf8_lossy(id).parse()?;
        out.push(Finding {
            id: hex(&digest::<8>(&[b"without-effect", id])),
            rule: "without-effect".to_owned(),
            risk: Risk::Medium,
            why: "A status was written that a final one keeps from taking effect; both are in the \
                  history. If the medicine should go on, write a new request."
                .to_owned(),
            records: vec![record],
        });
        Ok(true)
    })?;
    Ok(out)
}

/// The open findings, most urgent rules first, at most `limit`. The same records are named once
/// for each rule, though several of their codes may coincide.
///
/// # Errors
/// What `rows` fails with, or [`Error::Integrity`] for a malformed row.
pub fn findings(rows: &dyn Rows, pack: &ActivePack, limit: usize) -> Result<Vec<Finding>> {
    let mut rules: Vec<(u16, &Rule)> = numbered(pack).collect();
    rules.sort_by_key(|(number, rule)| (rule.risk, *number));
    let mut out = Vec::new();
    for (number, rule) in rules {
        if out.len() < limit {
            of_rule(rows, number, rule, limit, &mut out)?;
        }
    }
    Ok(out)
}

fn of_rule(
    rows: &dyn Rows,
    number: u16,
    rule: &Rule,
    limit: usize,
    out: &mut Vec<Finding>,
) -> Result<()> {
    let prefix = [&[kind::RULE][..], &number.to_be_bytes()].concat();
    let mut group = Group::default();
    let mut named = BTreeSet::new();
    rows.scan(&prefix, &prefix, &mut |key, side| {
        let (id, record) = parts(key, prefix.len())?;
        if group.id != id {
            std::mem::replace(&mut group, Group::new(id)).close(rule, &mut named, out);
        }
        group.add(record, side);
        Ok(out.len() < limit)
    })?;
    if out.len() < limit {
        group.close(rule, &mut named, out);
    }
    Ok(())
}

/// Group and record of a rule row's key. A record has no 0 in it, a group may.
fn parts(key: &[u8], prefix: usize) -> Result<(&[u8], RecordId)> {
    let bad = || Error::integrity_at("a rule's row is malformed", "index");
    let rest = key.get(prefix..).ok_or_else(bad)?;
    let end = rest.iter().rposition(|b| *b == 0).ok_or_else(bad)?;
    let (group, record) = rest.split_at(end);
    let record = std::str::from_utf8(record.get(1..).unwrap_or_default()).map_err(|_| bad())?;
    Ok((group, record.parse().map_err(|_| bad())?))
}

/// The rows of one group, as they pass by.
#[derive(Default)]
struct Group {
    id: Vec<u8>,
    records: Vec<RecordId>,
    sides: BTreeSet<Vec<u8>>,
}

impl Group {
    fn new(id: &[u8]) -> Self {
        Self {
            id: id.to_vec(),
            ..Self::default()
        }
    }

    fn add(&mut self, record: RecordId, side: &[u8]) {
        let alike = self.sides.contains(side);
        if self.records.len() < if alike { ALIKE_MAX } else { RECORDS_MAX } {
            self.records.push(record);
        }
        if !alike && self.sides.len() < SIDES_MAX {
            self.sides.insert(side.to_vec());
        }
    }

    fn close(self, rule: &Rule, named: &mut BTreeSet<[u8; 32]>, out: &mut Vec<Finding>) {
        if !self.disagrees(&rule.check) {
            return;
        }
        let mut records = blake3::Hasher::new();
        for record in &self.records {
            records.update(record.as_str().as_bytes());
            records.update(&[0]);
        }
        if named.insert(*records.finalize().as_bytes()) {
            out.push(Finding {
                id: hex(&digest::<8>(&[rule.name.as_bytes(), &self.id])),
                rule: rule.name.clone(),
                risk: rule.risk,
                why: rule.why.clone(),
                records: self.records,
            });
        }
    }

    fn disagrees(&self, check: &Check) -> bool {
        match check {
            Check::OneValue { .. } => {
                let sides: Vec<&Vec<u8>> = self.sides.iter().collect();
                let later = |i: usize| sides.iter().skip(i + 1);
                (0..sides.len()).any(|i| later(i).any(|other| values_differ(sides[i], other)))
            }
            Check::Negation { .. } => {
                self.sides.contains(NEGATIVE) && self.sides.contains(POSITIVE)
            }
            Check::SameCode { .. } | Check::Shared { .. } | Check::Claimed { .. } => {
                self.records.len() > 1
            }
            // Such a row is there only if its record has two values.
            Check::OnePerSystem { .. } => !self.records.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::index::entries;
    use crate::vault::index::tests::{MapRows, id, json, pack};

    /// Rule and records of each finding.
    fn raised(records: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut rows = MapRows::default();
        for (record, view) in records {
            rows.put(&pack(), record, view);
        }
        let found = findings(&rows, &pack(), 99).expect("rows are whole");
        let names = |records: Vec<RecordId>| records.iter().map(RecordId::id).collect::<String>();
        found
            .into_iter()
            .map(|finding| (finding.rule, names(finding.records)))
            .collect()
    }

    fn only(rule: &str, records: &str) -> Vec<(String, String)> {
        vec![(rule.to_owned(), records.to_owned())]
    }

    const NOTHING: [(String, String); 0] = [];

    fn blood(patient: &str, rest: &str) -> String {
        format!(
            r#"{{"subject":{{"reference":"Patient/{patient}"}},
                "code":{{"coding":[{{"system":"loinc","code":"882-1"}}]}},{rest}}}"#
        )
    }

    fn group(codings: &[(&str, &str)]) -> String {
        let one = |(system, code): &(&str, &str)| {
            format!(r#"{{"system":"{system}","code":"{code}","display":"{system}"}}"#)
        };
        let all: Vec<String> = codings.iter().map(one).collect();
        format!(
            r#""valueCodeableConcept":{{"text":"{}","coding":[{}]}}"#,
            all.len(),
            all.join(",")
        )
    }

    fn of_blood(a: &str, b: &str) -> Vec<(String, String)> {
        raised(&[
            ("Observation/a", &blood("1", a)),
            ("Observation/b", &blood("1", b)),
        ])
    }

    #[test]
    fn one_value_compares_values_and_not_how_they_are_written() {
        let (a, b) = (group(&[("sct", "A")]), group(&[("sct", "B")]));
        assert_eq!(of_blood(&a, &b), only("blood", "ab"));
        assert_eq!(of_blood(&a, &a), NOTHING);
        // A translation beside the same code agrees; none in common is for a person to judge.
        let both = group(&[("sct", "A"), ("local", "1")]);
        let other = group(&[("sct", "A"), ("local", "2")]);
        let local = group(&[("local", "1")]);
        assert_eq!(of_blood(&a, &both), NOTHING);
        assert_eq!(of_blood(&both, &other), only("blood", "ab"));
        assert_eq!(of_blood(&a, &local), only("blood", "ab"));
        let text = r#""valueString":"A Pos""#;
        assert_eq!(of_blood(text, r#""valueString":" a  pos""#), NOTHING);
        assert_eq!(of_blood(text, &a), only("blood", "ab"));
        let amount = |n: &str| format!(r#""valueQuantity":{{"value":{n},"code":"mg"}}"#);
        assert_eq!(of_blood(&amount("1"), &amount("2")), only("blood", "ab"));
        assert_eq!(of_blood(&amount("1"), &amount("1")), NOTHING);
    }

    #[test]
    fn one_value_leaves_out_other_patients_codes_and_errors() {
        let (a, b) = (group(&[("sct", "A")]), group(&[("sct", "B")]));
        let first = ("Observation/a", blood("1", &a));
        for second in [
            blood("2", &b),
            blood("1", &b).replace("882-1", "718-7"),
            blood("1", &b).replace("loinc", "other"),
            blood("1", r#""status":"final""#),
            blood("1", &format!(r#"{b},"status":"entered-in-error""#)),
            blood("1", &b).replace("subject", "focus"),
        ] {
            let records = [(first.0, first.1.as_str()), ("Observation/b", &second)];
            assert_eq!(raised(&records), NOTHING);
        }
        // Another form of reference is the same patient.
        let uuid = blood("1", &b).replace("Patient/1", "urn:uuid:1");
        let records = [(first.0, first.1.as_str()), ("Observation/b", &uuid)];
        assert_eq!(raised(&records), only("blood", "ab"));
    }

    #[test]
    fn long_values_are_compared_by_hash() {
        let text = |last: &str| {
            format!(
                r#""valueQuantity":{{"value":"{}{last}"}}"#,
                "x".repeat(9000)
            )
        };
        assert_eq!(of_blood(&text("a"), &text("b")), only("blood", "ab"));
        assert_eq!(of_blood(&text("a"), &text("a")), NOTHING);
        let rows = entries(
            &pack(),
            &id("Observation/a"),
            &json(&blood("1", &text("a"))),
        );
        assert!(rows.iter().all(|(_, side)| side.len() <= 64));
    }

    fn allergy(code: &str) -> String {
        format!(
            r#"{{"patient":{{"reference":"Patient/1"}},"code":{{"coding":[{{"system":"sct","code":"{code}"}}]}}}}"#
        )
    }

    #[test]
    fn negation_stands_against_every_positive_statement() {
        let (none, no_food, nut) = (
            allergy("716186003"),
            allergy("429625007"),
            allergy("91935009"),
        );
        let named =
            |a: &str, b: &str| raised(&[("AllergyIntolerance/a", a), ("AllergyIntolerance/b", b)]);
        assert_eq!(named(&none, &nut), only("none-known", "ab"));
        assert_eq!(named(&nut, &no_food), only("no-food", "ab"));
        // Two negative statements do not contradict each other.
        assert_eq!(named(&none, &no_food), NOTHING);
        // An allergy without a code is one.
        let uncoded = r#"{"patient":{"reference":"Patient/1"}}"#;
        assert_eq!(named(&none, uncoded), only("none-known", "ab"));
        let refuted = nut.replace(
            "{\"patient\"",
            "{\"verificationStatus\":{\"coding\":[{\"code\":\"refuted\"}]},\"patient\"",
        );
        assert_eq!(named(&none, &refuted), NOTHING);
        assert_eq!(
            named(&none, &nut.replace("Patient/1", "Patient/2")),
            NOTHING
        );
    }

    #[test]
    fn the_same_code_twice_is_raised_once() {
        let two = r#"{"patient":{"reference":"Patient/1"},"code":{"coding":[
            {"system":"sct","code":"1"},{"system":"rx","code":"2"}]}}"#;
        let named =
            |a: &str, b: &str| raised(&[("AllergyIntolerance/a", a), ("AllergyIntolerance/b", b)]);
        assert_eq!(named(two, two), only("twice", "ab"));
        assert_eq!(named(two, &allergy("1")), only("twice", "ab"));
        assert_eq!(named(two, &allergy("2")), NOTHING);
        let text = |t: &str| {
            format!(r#"{{"patient":{{"reference":"Patient/1"}},"code":{{"text":"{t}"}}}}"#)
        };
        assert_eq!(named(&text("Nuts"), &text(" nuts")), only("twice", "ab"));
        assert_eq!(named(&text("Nuts"), &text("Milk")), NOTHING);
    }

    #[test]
    fn identifiers_are_shared_only_in_the_named_systems() {
        let person = |system: &str, value: &str| {
            format!(r#"{{"identifier":[{{"system":"{system}","value":"{value}"}}]}}"#)
        };
        let named = |a: &str, b: &str| raised(&[("Patient/a", a), ("Patient/b", b)]);
        let mine = person("urn:mrn", "7");
        assert_eq!(
            named(&mine, &person("urn:mrn", " 7 ")),
            only("shared", "ab")
        );
        for other in [
            person("urn:mrn", "8"),
            person("urn:other", "7"),
            r#"{"identifier":[{"value":"7"}]}"#.to_owned(),
            r#"{"identifier":[{"system":"urn:mrn","value":""}]}"#.to_owned(),
        ] {
            assert_eq!(named(&mine, &other), NOTHING);
        }
    }

    #[test]
    fn one_record_with_two_numbers_of_a_system_is_raised() {
        let named = |items: &str| raised(&[("Patient/a", &format!("{{\"identifier\":{items}}}"))]);
        let two = r#"[{"system":"s","value":"1"},{"system":"s","value":"2"}]"#;
        assert_eq!(named(two), only("two-numbers", "a"));
        assert_eq!(named(&two.replace("2", "1")), NOTHING);
        assert_eq!(
            named(r#"[{"system":"s","value":"1"},{"system":"t","value":"2"}]"#),
            NOTHING
        );
        assert_eq!(named(r#"[{"value":"1"},{"value":"2"}]"#), NOTHING);
    }

    #[test]
    fn a_slot_is_claimed_twice_by_any_form_of_reference() {
        let claims = |reference: &str| format!(r#"{{"slot":[{{"reference":"{reference}"}}]}}"#);
        let named = |a: &str, b: &str| raised(&[("Appointment/a", a), ("Appointment/b", b)]);
        for form in ["Slot/1", "urn:uuid:1", "https://h/fhir/Slot/1/_history/2"] {
            assert_eq!(named(&claims("Slot/1"), &claims(form)), only("slot", "ab"));
        }
        assert_eq!(named(&claims("Slot/1"), &claims("Slot/2")), NOTHING);
        assert_eq!(named(&claims("#s"), &claims("#s")), NOTHING);
        let cancelled = claims("Slot/1").replace("{\"slot", "{\"status\":\"cancelled\",\"slot");
        assert_eq!(named(&claims("Slot/1"), &cancelled), NOTHING);
        let logical = r#"{"slot":{"identifier":{"system":"s","value":"1"}}}"#;
        assert_eq!(named(logical, logical), only("slot", "ab"));
    }

    #[test]
    fn findings_come_by_risk_up_to_the_limit_and_settle_with_the_data() {
        let mut rows = MapRows::default();
        let person = r#"{"identifier":[{"system":"urn:mrn","value":"1"},{"system":"s","value":"1"},
            {"system":"s","value":"2"}]}"#;
        for (record, view) in [
            ("Patient/a", person),
            ("Patient/b", person),
            ("Observation/a", &blood("a", &group(&[("sct", "A")]))),
            ("Observation/b", &blood("a", &group(&[("sct", "B")]))),
        ] {
            rows.put(&pack(), record, view);
        }
        let all = findings(&rows, &pack(), 99).expect("rows are whole");
        let rules: Vec<&str> = all.iter().map(|finding| finding.rule.as_str()).collect();
        assert_eq!(rules, ["blood", "shared", "two-numbers", "two-numbers"]);
        assert_eq!(
            (all[0].risk, all[0].why.as_str()),
            (Risk::Critical, "two blood groups")
        );
        assert!(all.iter().all(|finding| finding.id.len() == 16));
        assert_ne!(all[2].id, all[3].id);
        for limit in 0..4 {
            assert_eq!(
                findings(&rows, &pack(), limit).expect("whole"),
                all[..limit]
            );
        }
        for (key, _) in entries(&pack(), &id("Patient/b"), &json(person)) {
            rows.0.remove(&key);
        }
        let rest = findings(&rows, &pack(), 99).expect("rows are whole");
        assert_eq!(rest.len(), 2);
        assert_eq!(rest[0], all[0]);
    }

    #[test]
    fn a_large_group_is_cut_but_its_other_side_is_still_named() {
        let mut rows = MapRows::default();
        for i in 0..1500 {
            rows.put(
                &pack(),
                &format!("AllergyIntolerance/a{i}"),
                &allergy(&i.to_string()),
            );
        }
        rows.put(&pack(), "AllergyIntolerance/z", &allergy("716186003"));
        let found = findings(&rows, &pack(), 9).expect("rows are whole");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].records.len(), ALIKE_MAX + 1);
        assert_eq!(found[0].records.last(), Some(&id("AllergyIntolerance/z")));
    }

    #[test]
    fn a_finding_does_not_print_whom_it_is_about() {
        let mut rows = MapRows::default();
        let person = r#"{"identifier":[{"system":"urn:mrn","value":"CANARY"}]}"#;
        rows.put(&pack(), "Patient/CANARY1", person);
        rows.put(&pack(), "Patient/CANARY2", person);
        let found = findings(&rows, &pack(), 9).expect("rows are whole");
        let text = format!("{found:?}");
        assert!(
            text.contains("shared") && !text.contains("CANARY"),
            "{text}"
        );
        assert!(!text.contains(&found[0].id));
    }

    #[test]
    fn malformed_rows_are_integrity_errors() {
        for key in [
            &b"r\0\0"[..],
            b"r\0\0group",
            b"r\0\0group\0\xff",
            b"r\0\0group\0",
        ] {
            let mut rows = MapRows::default();
            rows.0.insert(key.to_vec(), Vec::new());
            let found = findings(&rows, &pack(), 9);
            assert!(matches!(found, Err(Error::Integrity { .. })));
        }
    }
}
