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
