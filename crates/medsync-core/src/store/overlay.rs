//! Rows that are in the journal and not yet in the tree, each with the commit that wrote it.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A row's new value, or nothing for a deletion.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);
type Value = Option<Arc<[u8]>>;
/// Values of a row, each with the number of its commit, ascending.
type Versions = Vec<(u64, Value)>;

/// Called with a row's key and its value, or nothing for a deletion.
type Each<'a> = &'a mut dyn FnMut(&[u8], Option<&[u8]>) -> Result<()>;

const DELETED: u32 = u32::MAX;
const PLAIN: u8 = 1;
/// About what a row takes beside its bytes.
const ROW_ABOUT: usize = 64;

/// The rows, by key. Readers name the commit up to which they see.
#[derive(Default)]
pub(super) struct Overlay {
    rows: RwLock<BTreeMap<Vec<u8>, Versions>>,
    bytes: AtomicUsize,
}

impl Overlay {
    /// Adds the changes of a commit, whose number is above all before it.
    pub(super) fn add(&self, seq: u64, changes: impl IntoIterator<Item = Change>) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        for (key, value) in changes {
            bytes += ROW_ABOUT + key.len() + value.as_ref().map_or(0, Vec::len);
            let value = value.map(Arc::from);
            rows.entry(key).or_default().push((seq, value));
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What they take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// What a row is as of a commit; `None` if the tree has to say.
    pub(super) fn get(&self, key: &[u8], seq: u64) -> Option<Value> {
        if self.is_empty() {
            return None;
        }
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.get(key).and_then(|versions| as_of(versions, seq))
    }

    /// Each row's newest value, in order.
    pub(super) fn each(&self, f: Each<'_>) -> Result<()> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        for (key, versions) in rows.iter() {
            if let Some((_, value)) = versions.last() {
                f(key, value.as_deref())?;
            }
        }
        Ok(())
    }
}

fn as_of(versions: &Versions, seq: u64) -> Option<Value> {
    let known = versions.iter().rev().find(|(at, _)| *at <= seq)?;
    Some(known.1.clone())
}

/// Rows within bounds as of a commit, from both ends. Commits may be added meanwhile.
pub(super) struct Walk {
    overlay: Arc<Overlay>,
    seq: u64,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
}

impl Walk {
    /// The rows from `start` up to but without `end`, which is above it.
    pub(super) fn new(overlay: &Arc<Overlay>, seq: u64, start: &[u8], end: Option<&[u8]>) -> Self {
        Self {
            overlay: Arc::clone(overlay),
            seq,
            start: Bound::Included(start.to_vec()),
            end: end.map_or(Bound::Unbounded, |end| Bound::Excluded(end.to_vec())),
        }
    }
}

impl Iterator for Walk {
    type Item = Change;
    fn next(&mut self) -> Option<Change> {
        if self.overlay.is_empty() {
            return None;
        }
        let found = {
            let rows = self.overlay.rows.read();
            let rows = rows.unwrap_or_else(PoisonError::into_inner);
            let bounds = (self.start.as_ref(), self.end.as_ref());
            let mut range = rows.range::<Vec<u8>, _>(bounds);
            range.find_map(|(key, versions)| Some((key.clone(), as_of(versions, self.seq)?)))
        };
        let (key, value) = found?;
        self.start = Bound::Excluded(key.clone());
        Some((key, value.map(|v| v.to_vec())))
    }
}

impl DoubleEndedIterator for Walk {
    fn next_back(&mut self) -> Option<Change> {
        if self.overlay.is_empty() {
            return None;
        }
        let found = {
            let rows = self.overlay.rows.read();
            let rows = rows.unwrap_or_else(PoisonError::into_inner);
            let bounds = (self.start.as_ref(), self.end.as_ref());
            let mut range = rows.range::<Vec<u8>, _>(bounds).rev();
            range.find_map(|(key, versions)| Some((key.clone(), as_of(versions, self.seq)?)))
        };
        let (key, value) = found?;
        self.end = Bound::Excluded(key.clone());
        Some((key, value.map(|v| v.to_vec())))
    }
}

/// How many bytes [`put_changes`] makes of these.
pub(super) fn changes_len<'a>(
    changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> usize {
    let each = changes.map(|(key, value)| 8 + key.len() + value.map_or(0, <[u8]>::len));
    1 + each.sum::<usize>()
}

/// Appends changes as a journal's record holds them. Several lots may follow each other.
pub(super) fn put_changes<'a>(
    changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    out: &mut Vec<u8>,
) {
    if out.is_empty() {
        out.push(PLAIN);
    }
    let len = |bytes: &[u8]| {
        u32::try_from(bytes.len())
            .unwrap_or(DELETED - 1)
            .to_le_bytes()
    };
    for (key, value) in changes {
        out.extend_from_slice(&len(key));
        out.extend_from_slice(&value.map_or(DELETED.to_le_bytes(), len));
        out.extend_from_slice(key);
        out.extend_from_slice(value.unwrap_or_default());
    }
}

/// Reads what [`put_changes`] wrote.
pub(super) fn take_changes(record: &[u8]) -> Result<Vec<Change>> {
    const BAD: Error = Error::integrity("a commit in the journal contradicts itself");
    let (format, mut rest) = record.split_first().ok_or(BAD)?;
    if *format != PLAIN {
        return Err(Error::TooNew {
            what: "a commit in the journal",
            found: u32::from(*format),
            known: u32::from(PLAIN),
        });
    }
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let mut number = || {
            let (number, after) = rest.split_first_chunk::<4>()?;
            rest = after;
            Some(u32::from_le_bytes(*number))
        };
        let (key, value) = (number().ok_or(BAD)?, number().ok_or(BAD)?);
        let mut bytes = |len: u32| {
            let (bytes, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            rest = after;
            Some(bytes.to_vec())
        };
        let key = bytes(key).ok_or(BAD)?;
        let value = match value {
            DELETED => None,
            len => Some(bytes(len).ok_or(BAD)?),
        };
        changes.push((key, value));
    }
    Ok(changes)
}

/// Reads a journal's record and writes what it said.
#[cfg(feature = "testing")]
pub(crate) fn reread_record(record: &[u8]) -> Result<Vec<u8>> {
    let changes = take_changes(record)?;
    let mut out = vec![PLAIN];
    let pairs = changes.iter().map(|(k, v)| (k.as_slice(), v.as_deref()));
    put_changes(pairs, &mut out);
    Ok(out)
}

/// A small record.
#[cfg(feature = "testing")]
pub(crate) fn sample_record() -> Vec<u8> {
    let mut out = Vec::new();
    let pairs: [(&[u8], Option<&[u8]>); 2] = [(b"key", Some(b"value")), (b"gone", None)];
    put_changes(pairs.into_iter(), &mut out);
    out
}
