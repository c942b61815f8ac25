//! The rule rows of a record: which group each of the pack's rules puts it in, and on which side.
//!
//! A row is `r` + rule number (u16, big-endian) + group + 0 + record -> side. What the groups say
//! is read in [`super::finding`].

use crate::ids::{RecordId, hex};
use crate::model::json::Json;
use crate::model::kind::ActivePack;
use crate::model::rule::{Check, Rule};
use crate::vault::fold::fold;
use crate::vault::index::{VALUES_MAX, codings, plain_reference, scalar, walk};
use crate::vault::rows::{Row, kind};
use std::collections::{BTreeMap, BTreeSet};

/// Longest side that is kept as it is; a longer one is kept as its hash.
const SIDE_MAX: usize = 1024;

/// The side of a negative statement.
pub(super) const NEGATIVE: &[u8] = b"-";

/// The side of a positive statement.
pub(super) const POSITIVE: &[u8] = b"+";

/// In a side: ends a value, and stands between a value's system and code.
const VALUE_END: char = '\u{1e}';
const SYSTEM_END: char = '\u{1f}';

/// Rules by number, which is their place in the pack.
pub(super) fn numbered(pack: &ActivePack) -> impl Iterator<Item = (u16, &Rule)> {
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
pub(super) fn digest<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
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

/// Whether two values of one fact differ. A concept is often coded in several systems: two agree
/// if they say the same in every system they share, and if they share one.
pub(super) fn values_differ(a: &[u8], b: &[u8]) -> bool {
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
