//! Findings: what the pack's rules raise over several fields or records.
//!
//! A rule row is `r` + rule number (u16, big-endian) + group + 0 + record -> side. A finding is a
//! group whose sides disagree, so it is derived and never authored: it settles when the data does.

use crate::error::{Error, Result};
use crate::ids::{RecordId, hex};
use crate::model::json::Json;
use crate::model::kind::ActivePack;
use crate::model::pack::Risk;
use crate::model::rule::{Check, Rule};
use crate::vault::fold::fold;
use crate::vault::index::{VALUES_MAX, codings, plain_reference, scalar, walk};
use crate::vault::rows::{Row, Rows, kind};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Records that one finding names at most.
pub const RECORDS_MAX: usize = 1000;

/// Of those, records whose side is already named: later sides find a place too.
const ALIKE_MAX: usize = 900;

/// Different sides of one group that are told apart.
const SIDES_MAX: usize = 100;

/// Longest side that is kept as it is; a longer one is kept as its hash.
const SIDE_MAX: usize = 1024;

const NEGATIVE: &[u8] = b"-";
const POSITIVE: &[u8] = b"+";

/// In a side: ends a value, and stands between a value's system and code.
const VALUE_END: char = '\u{1e}';
const SYSTEM_END: char = '\u{1f}';

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

/// Whether two values of one fact differ. A concept is often coded in several systems: two agree
/// if they say the same in every system they share, and if they share one.
fn values_differ(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (by_system(a), by_system(b));
    let shared = || {
        a.iter()
            .filter_map(|(of, values)| Some((values, b.get(of)?)))
    };
    shared().next().is_none() || shared().any(|(ours, theirs)| ours != theirs)
}

fn by_system(side: &[u8]) -> BTreeMap<&[u8], BTreeSet<&[u8]>> {
    let mut systems = BTreeMap::<_, BTreeSet<_>>::new();
    for value in side.split(|b| char::from(*b) == VALUE_END) {
        let mut parts = value.rsplitn(2, |b| char::from(*b) == SYSTEM_END);
        let code = parts.next().unwrap_or_default();
        systems
            .entry(parts.next().unwrap_or_default())
            .or_default()
            .insert(code);
    }
    systems
}

/// Rules by number, which is their place in the pack.
fn numbered(pack: &ActivePack) -> impl Iterator<Item = (u16, &Rule)> {
    (0..=u16::MAX).zip(&pack.pack().rules)
}

/// Adds the rule rows of one record.
pub(super) fn rule_rows(
    pack: &ActivePack,
    record: &RecordId,
    view: &Json,
    patient: Option<&RecordId>,
    rows: &mut Vec<Row>,
) {
    for (number, rule) in numbered(pack) {
        if rule.kind != record.kind() || exempt(rule, view) {
            continue;
        }
        let mut left = VALUES_MAX;
        let mut put = |group: &[&str], side: Vec<u8>| {
            if left > 0 {
                left -= 1;
                rows.push((key(number, group, record), side));
            }
        };
        let patient = patient.map(RecordId::as_str);
        match &rule.check {
            Check::OneValue { code, codes, value } => {
                if let Some(patient) = patient.filter(|_| is_coded(view, code, codes)) {
                    let side = side(view, value);
                    if !side.is_empty() {
                        put(&[patient], side);
                    }
                }
            }
            Check::Negation { code, negative } => {
                let side = polarity(pack, &rule.kind, view, code, negative);
                if let (Some(patient), Some(side)) = (patient, side) {
                    put(&[patient], side.to_vec());
                }
            }
            Check::SameCode { code } => {
                if let Some(patient) = patient {
                    same_code(view, code, &mut |system, code| {
                        put(&[patient, system, code], Vec::new());
                    });
                }
            }
            Check::Shared {
                items,
                key,
                systems,
            } => walk(view, items, &mut |item| {
                if let Some(names) = names(item, key).filter(|_| is_system(item, systems)) {
                    put(&names, Vec::new());
                }
            }),
            Check::OnePerSystem { items, systems } => {
                for system in doubled(view, items, systems) {
                    put(&[record.as_str(), system], Vec::new());
                }
            }
            Check::Claimed { reference } => walk(view, reference, &mut |at| {
                if let Some(names) = claim(at) {
                    put(&names, Vec::new());
                }
            }),
        }
    }
}

/// A rule row's key. The group is hashed: it can be any text of any length, and it is only ever
/// compared.
fn key(number: u16, group: &[&str], record: &RecordId) -> Vec<u8> {
    let group: Vec<&[u8]> = group.iter().map(|part| part.as_bytes()).collect();
    let mut key = Vec::with_capacity(record.as_str().len() + 20);
    key.push(kind::RULE);
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(&digest::<16>(&group));
    key.push(0);
    key.extend_from_slice(record.as_str().as_bytes());
    key
}

/// The first bytes of a hash of parts, each with its length, so that no two lists look alike.
fn digest<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut out = [0; N];
    hasher.finalize_xof().fill(&mut out);
    out
}

fn exempt(rule: &Rule, view: &Json) -> bool {
    rule.except
        .iter()
        .any(|except| is_coded(view, &except.path, &except.codes))
}

/// Whether a code at the path is one of these, which are `code` or `system|code`.
fn is_coded(view: &Json, path: &str, codes: &[String]) -> bool {
    let mut found = false;
    walk(view, path, &mut |at| {
        codings(at, &mut |coding, code| {
            found |= codes.iter().any(|wanted| match wanted.rsplit_once('|') {
                Some((system, wanted)) => wanted == code && system == system_of(coding),
                None => wanted == code,
            });
        });
    });
    found
}

fn system_of(item: &Json) -> &str {
    item.get("system").and_then(Json::as_str).unwrap_or("")
}

/// Whether an item's system is one of these; of no list, every one is.
fn is_system(item: &Json, systems: &[String]) -> bool {
    systems.is_empty() || systems.iter().any(|system| system == system_of(item))
}

/// Negative, positive, or neither: a negative statement of another rule (no known allergy beside
/// no known food allergy) says nothing positive.
fn polarity(
    pack: &ActivePack,
    kind: &str,
    view: &Json,
    code: &str,
    negative: &[String],
) -> Option<&'static [u8]> {
    if is_coded(view, code, negative) {
        return Some(NEGATIVE);
    }
    let elsewhere = pack.pack().rules.iter().any(|rule| match &rule.check {
        Check::Negation { code, negative } => rule.kind == kind && is_coded(view, code, negative),
        _ => false,
    });
    (!elsewhere).then_some(POSITIVE)
}

/// What stands at a path as one text: coded values by system and code, whatever they are called,
/// others by their text or JSON.
fn side(view: &Json, path: &str) -> Vec<u8> {
    let mut values = BTreeSet::new();
    walk(view, path, &mut |at| {
        let known = values.len();
        if !matches!(at, Json::String(_)) && at.get("value").is_none() {
            codings(at, &mut |coding, code| {
                values.insert(format!(
                    "{}{SYSTEM_END}{}",
                    clean(system_of(coding)),
                    clean(code)
                ));
            });
        }
        if values.len() == known {
            let mut text = String::new();
            match scalar(at).or_else(|| at.get("text")?.as_str()) {
                Some(plain) => fold(plain, &mut text),
                None => at.write(&mut text),
            }
            values.insert(clean(&text));
        }
    });
    let side = Vec::from_iter(values).join(&String::from(VALUE_END));
    if side.len() > SIDE_MAX {
        return hex(blake3::hash(side.as_bytes()).as_bytes()).into_bytes();
    }
    side.into_bytes()
}

/// Without control characters, which hold a side together.
fn clean(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// The codes at a path, or its text where nothing is coded.
fn same_code(view: &Json, path: &str, each: &mut dyn FnMut(&str, &str)) {
    walk(view, path, &mut |at| {
        let mut coded = false;
        codings(at, &mut |coding, code| {
            coded = true;
            each(system_of(coding), code);
        });
        if let (false, Some(text)) = (coded, at.get("text").and_then(Json::as_str)) {
            let mut folded = String::new();
            fold(text, &mut folded);
            if !folded.is_empty() {
                each("text", &folded);
            }
        }
    });
}

/// The members that name an item; nothing if one is missing. Of no members, the item itself.
fn names<'a>(item: &'a Json, key: &[String]) -> Option<Vec<&'a str>> {
    let name = |value: &'a Json| scalar(value).map(str::trim).filter(|text| !text.is_empty());
    if key.is_empty() {
        return Some(vec![name(item)?]);
    }
    key.iter().map(|member| name(item.path(member)?)).collect()
}

/// The systems of which the items have two different values.
fn doubled<'a>(view: &'a Json, items: &str, systems: &[String]) -> Vec<&'a str> {
    let mut first = BTreeMap::new();
    let mut doubled = BTreeSet::new();
    walk(view, items, &mut |item| {
        let value = item.get("value").and_then(scalar).map(str::trim);
        let (system, Some(value)) = (system_of(item), value) else {
            return;
        };
        // Items without a system are not of one kind.
        if !system.is_empty()
            && is_system(item, systems)
            && *first.entry(system).or_insert(value) != value
        {
            doubled.insert(system);
        }
    });
    doubled.into_iter().collect()
}

/// What a reference claims: its target's id, which `Slot/x`, an absolute URL and `urn:uuid:x` have
/// in common, or the identifier it names. A contained resource is claimed by nobody else.
fn claim(at: &Json) -> Option<Vec<&str>> {
    let text = at.as_str().or_else(|| at.get("reference")?.as_str());
    match text {
        Some(text) if text.starts_with('#') => None,
        Some(text) => {
            let id = plain_reference(text).rsplit(['/', ':']).next()?;
            (!id.is_empty()).then(|| vec![id])
        }
        None => {
            let identifier = at.get("identifier")?;
            let value = identifier.get("value").and_then(scalar)?;
            Some(vec![system_of(identifier), value])
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
        assert!(rows.iter().all(|(_, side)| side.len() <= SIDE_MAX));
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
            assert_eq!(
                named(&other, &other.replace(' ', "")).len(),
                usize::from(other.contains("mrn\",\"value\":\"8"))
            );
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
