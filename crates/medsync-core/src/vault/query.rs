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
struct Want {
    word: String,
    written: String,
}

/// The words of a text, the longest first: it narrows most.
fn wanted(text: &str) -> Vec<Want> {
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
    wanted.sort_by(|a, b| (b.word.len(), &b.word).cmp(&(a.word.len(), &a.word)));
    wanted.dedup_by(|a, b| a.word == b.word && a.written == b.written);
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
    if room > 0 {
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
