//! Finding records by what stands in them, from index rows alone.

use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::model::kind::ActivePack;
use crate::vault::fold::{fold, words};
use crate::vault::index::{PATIENT, indexed, prefix};
use crate::vault::rows::Rows;
use std::collections::{BTreeMap, BTreeSet};

/// The index of business identifiers.
pub const IDENTIFIER: &str = "identifier";

/// Words of a search that count.
const WORDS_MAX: usize = 8;

/// Records that the most telling word of a search may match; beyond it the search is too wide to
/// answer in little memory, and some matches are left out.
const CANDIDATES_MAX: usize = 50_000;

/// The records that hold a value, whole, in an index, by record id.
///
/// The value is folded as it was for the index (identifiers: `value` or `system|value`). An index
/// of words holds single words.
///
/// # Errors
/// What `rows` fails with, or [`Error::Integrity`] for a malformed row.
pub fn lookup(rows: &dyn Rows, index: &str, value: &str, limit: usize) -> Result<Vec<RecordId>> {
    let mut folded = String::new();
    indexed(index, value, &mut folded);
    let mut found = Vec::new();
    if folded.is_empty() || limit == 0 {
        return Ok(found);
    }
    folded.push('\0');
    let prefix = prefix(index, &folded);
    rows.scan(&prefix, &prefix, &mut |key, _| {
        found.push(record(key.get(prefix.len()..).unwrap_or_default())?);
        Ok(found.len() < limit)
    })?;
    Ok(found)
}

/// The records of a patient, the patient's own among them, by record id.
///
/// # Errors
/// As [`lookup`].
pub fn of_patient(rows: &dyn Rows, patient: &RecordId, limit: usize) -> Result<Vec<RecordId>> {
    lookup(rows, PATIENT, patient.as_str(), limit)
}

/// The records that a text describes: each of its words begins a word of a name, or is an
/// identifier. Identifiers come first, then whole words, then beginnings of words.
///
/// # Errors
/// As [`lookup`].
pub fn search(
    rows: &dyn Rows,
    pack: &ActivePack,
    text: &str,
    limit: usize,
) -> Result<Vec<RecordId>> {
    let mut found = lookup(rows, IDENTIFIER, text, limit)?;
    let names = word_indexes(pack);
    let wanted = wanted(text);
    let room = match wanted.len() {
        // With one word the first rows of an index are its best.
        1 => limit,
        _ => CANDIDATES_MAX,
    };
    let mut matches: Option<BTreeMap<Box<[u8]>, Rank>> = None;
    for want in &wanted {
        matches = Some(narrow(rows, &names, want, matches.as_ref(), room)?);
    }
    let mut ranked: Vec<(Rank, Box<[u8]>)> = matches
        .unwrap_or_default()
        .into_iter()
        .map(|(record, rank)| (rank, record))
        .collect();
    ranked.sort_unstable();
    let first: BTreeSet<RecordId> = found.iter().cloned().collect();
    for (_, bytes) in ranked {
        if found.len() >= limit {
            break;
        }
        let record = record(&bytes)?;
        if !first.contains(&record) {
            found.push(record);
        }
    }
    Ok(found)
}

/// How well a record matches, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Identifier,
    Word,
    Beginning,
}

/// One word that must match, and the text it was written in, which may be an identifier.
pub(super) struct Want {
    pub(super) word: String,
    pub(super) written: String,
}

/// The words of a text, the longest first: it narrows most.
pub(super) fn wanted(text: &str) -> Vec<Want> {
    let mut wanted = Vec::new();
    for token in text.split_whitespace() {
        let mut written = String::new();
        fold(token, &mut written);
        words(token, &mut |word| {
            if wanted.len() < WORDS_MAX {
                wanted.push(Want {
                    word: word.to_owned(),
                    written: written.clone(),
                });
            }
        });
    }
    wanted.sort_by_key(|want| std::cmp::Reverse(want.word.len()));
    wanted
}

/// The indexes that hold words.
fn word_indexes(pack: &ActivePack) -> BTreeSet<&str> {
    let kinds = pack.pack().kinds.values();
    kinds
        .flat_map(|kind| &kind.indexes)
        .filter(|index| index.words)
        .map(|index| index.name.as_str())
        .collect()
}

/// The records that match one word, of those that matched the words before; a record's rank is
/// that of its worst word.
fn narrow(
    rows: &dyn Rows,
    names: &BTreeSet<&str>,
    want: &Want,
    within: Option<&BTreeMap<Box<[u8]>, Rank>>,
    room: usize,
) -> Result<BTreeMap<Box<[u8]>, Rank>> {
    let mut matches: BTreeMap<Box<[u8]>, Rank> = BTreeMap::new();
    let mut scan = |prefix: &[u8], rank: &dyn Fn(&[u8]) -> Rank| {
        let mut left = room;
        rows.scan(prefix, prefix, &mut |key, _| {
            let rest = key.get(prefix.len()..).unwrap_or_default();
            let record = rest.rsplit(|b| *b == 0).next().unwrap_or_default();
            let before = match within {
                None => Some(Rank::Identifier),
                Some(within) => within.get(record).copied(),
            };
            if let Some(before) = before {
                let rank = rank(rest);
                match matches.get_mut(record) {
                    Some(known) => *known = (*known).min(rank.max(before)),
                    None => {
                        matches.insert(record.into(), rank.max(before));
                        left -= 1;
                    }
                }
            }
            Ok(left > 0)
        })
    };
    if room > 0 && within.is_none_or(|within| !within.is_empty()) {
        let identifier = prefix(IDENTIFIER, &[&want.written, "\0"].concat());
        scan(&identifier, &|_| Rank::Identifier)?;
        for name in names {
            // What follows the prefix begins with the 0 that ends the value if the word is whole.
            scan(&prefix(name, &want.word), &|rest| match rest.first() {
                Some(0) => Rank::Word,
                _ => Rank::Beginning,
            })?;
        }
    }
    Ok(matches)
}

fn record(bytes: &[u8]) -> Result<RecordId> {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::integrity("an index row is malformed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::index::tests::{MapRows, id, pack};

    fn ids(found: Result<Vec<RecordId>>) -> Vec<String> {
        found
            .expect("rows are whole")
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn people() -> MapRows {
        let mut rows = MapRows::default();
        for (record, view) in [
            (
                "Patient/1",
                r#"{"name":[{"family":"M\u00fcller","given":["Anna","Maria"]}],
                    "identifier":[{"system":"urn:mrn","value":"MRN 7"}]}"#,
            ),
            (
                "Patient/2",
                r#"{"name":[{"family":"Muller-Schmidt","given":["Annabel"]}],
                    "identifier":[{"system":"urn:abha","value":"mrn 7"}]}"#,
            ),
            (
                "Patient/3",
                r#"{"name":[{"text":"\u0915\u0943\u0937\u094d\u0923 \u0936\u0930\u094d\u092e\u093e"}]}"#,
            ),
            (
                "Patient/4",
                r#"{"name":[{"family":"Ann","given":["O'Brien"]}]}"#,
            ),
            (
                "Condition/c",
                r#"{"subject":{"reference":"urn:uuid:1"},"code":{"coding":[{"system":"s","code":"c"}]}}"#,
            ),
            (
                "Condition/d",
                r#"{"subject":{"reference":"http://h/fhir/Patient/1"}}"#,
            ),
        ] {
            rows.put(&pack(), record, view);
        }
        rows
    }

    #[test]
    fn lookup_is_exact_on_the_folded_value() {
        let rows = people();
        assert_eq!(
            ids(lookup(&rows, "identifier", " mrn  7", 9)),
            ["Patient/1", "Patient/2"]
        );
        assert_eq!(
            ids(lookup(&rows, "identifier", "URN:MRN|MRN 7", 9)),
            ["Patient/1"]
        );
        assert_eq!(ids(lookup(&rows, "identifier", "mrn 7", 1)), ["Patient/1"]);
        assert_eq!(ids(lookup(&rows, "code", "s|c", 9)), ["Condition/c"]);
        for (index, value) in [
            ("identifier", "mrn"),
            ("identifier", ""),
            ("none", "x"),
            ("", ""),
        ] {
            assert_eq!(ids(lookup(&rows, index, value, 9)), [""; 0]);
        }
        assert_eq!(ids(lookup(&rows, "identifier", "mrn 7", 0)), [""; 0]);
    }

    #[test]
    fn a_patient_has_records_by_any_reference_form_and_exact_case() {
        let mut rows = people();
        let all = ["Condition/c", "Condition/d", "Patient/1"];
        assert_eq!(ids(of_patient(&rows, &id("Patient/1"), 9)), all);
        assert_eq!(ids(of_patient(&rows, &id("Patient/1"), 2)), all[..2]);
        rows.put(
            &pack(),
            "Condition/a",
            r#"{"subject":{"reference":"Patient/a"}}"#,
        );
        rows.put(
            &pack(),
            "Condition/A",
            r#"{"subject":{"reference":"Patient/A"}}"#,
        );
        assert_eq!(ids(of_patient(&rows, &id("Patient/A"), 9)), ["Condition/A"]);
    }

    #[test]
    fn long_patient_ids_are_not_cut() {
        let mut rows = MapRows::default();
        let long = "p".repeat(240);
        for last in ["a", "b"] {
            let view = format!("{{\"subject\":{{\"reference\":\"Patient/{long}{last}\"}}}}");
            rows.put(&pack(), &format!("Condition/{last}"), &view);
        }
        let patient = id(&format!("Patient/{long}b"));
        assert_eq!(ids(of_patient(&rows, &patient, 9)), ["Condition/b"]);
    }

    #[test]
    fn search_wants_every_word_and_ranks_whole_words_first() {
        let rows = people();
        let find = |text| ids(search(&rows, &pack(), text, 9));
        assert_eq!(find("muller"), ["Patient/1", "Patient/2"]);
        assert_eq!(find("Anna M\u{dc}LLER"), ["Patient/1", "Patient/2"]);
        assert_eq!(find("schmi anna"), ["Patient/2"]);
        assert_eq!(find("muller-schmidt"), ["Patient/2"]);
        assert_eq!(find("ann"), ["Patient/4", "Patient/1", "Patient/2"]);
        assert_eq!(find("OBRIEN ann"), ["Patient/4"]);
        assert_eq!(find("anna brown"), [""; 0]);
        for nothing in ["", " ", "--", "\0", "\u{301}"] {
            assert_eq!(find(nothing), [""; 0]);
        }
    }

    #[test]
    fn search_finds_identifiers_first_and_beside_names() {
        let mut rows = people();
        rows.put(
            &pack(),
            "Patient/9",
            r#"{"identifier":[{"value":"Anna"},{"value":"AB-12"}]}"#,
        );
        let find = |text| ids(search(&rows, &pack(), text, 9));
        assert_eq!(find("anna"), ["Patient/9", "Patient/1", "Patient/2"]);
        assert_eq!(find("mrn 7"), ["Patient/1", "Patient/2"]);
        assert_eq!(find("urn:abha|MRN 7"), ["Patient/2"]);
        assert_eq!(find("ab-12 anna"), ["Patient/9"]);
        assert_eq!(find("ab"), [""; 0]);
        assert_eq!(ids(search(&rows, &pack(), "anna", 1)), ["Patient/9"]);
        assert_eq!(
            ids(search(&rows, &pack(), "anna", 2)),
            ["Patient/9", "Patient/1"]
        );
        assert_eq!(ids(search(&rows, &pack(), "anna", 0)), [""; 0]);
    }

    #[test]
    fn search_reads_devanagari() {
        let find = |text| ids(search(&people(), &pack(), text, 9));
        // Krishna Sharma, whole; the beginnings of both; another vowel.
        assert_eq!(
            find("\u{915}\u{943}\u{937}\u{94d}\u{923} \u{936}\u{930}"),
            ["Patient/3"]
        );
        assert_eq!(find("\u{936} \u{915}\u{943}"), ["Patient/3"]);
        assert_eq!(find("\u{915}\u{941}"), [""; 0]);
    }

    #[test]
    fn hostile_searches_are_bounded() {
        let rows = people();
        for text in [
            "a ".repeat(100_000),
            "a".repeat(1 << 20),
            "\u{301}".repeat(1 << 20),
        ] {
            search(&rows, &pack(), &text, 9).expect("answered");
            lookup(&rows, "identifier", &text, 9).expect("answered");
        }
    }

    #[test]
    fn malformed_rows_are_integrity_errors() {
        let mut rows = MapRows::default();
        rows.0.insert(b"iidentifier\0x\0\xff".to_vec(), Vec::new());
        let found = lookup(&rows, "identifier", "x", 9);
        assert!(matches!(found, Err(Error::Integrity { .. })));
    }
}
