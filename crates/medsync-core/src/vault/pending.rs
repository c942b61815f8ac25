//! Commits that wait, and what for: a row says the first thing that is missing, so that what
//! arrives wakes those that wait for it and no others.

use crate::error::Result;
use crate::ids::{ChangeId, DataKeyId, RecordId};
use crate::vault::rows::{self, Rows, kind};
use std::collections::HashMap;

/// What a commit waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// A change of this record that one of its own builds on. The same change of two records has
    /// the same id.
    Change(RecordId, ChangeId),
    /// The data key of one of its changes.
    Key(DataKeyId),
    /// An entry that was withheld, or came damaged.
    Leaf,
    /// A newer engine: the format that comes with one has every commit delivered again.
    Engine,
    /// Nothing but its turn: tried again each time.
    Any,
}

impl Cause {
    pub(crate) fn row(&self) -> Vec<u8> {
        match self {
            Self::Change(record, id) => [&b"c"[..], &id.0, record.as_str().as_bytes()].concat(),
            Self::Key(id) => [&[b'k'][..], &id.0].concat(),
            Self::Leaf => vec![b'l'],
            Self::Engine => vec![b'n'],
            Self::Any => Vec::new(),
        }
    }

    pub(crate) fn from_row(row: &[u8]) -> Self {
        let cause = match row.split_first() {
            Some((b'c', rest)) => change(rest),
            Some((b'k', id)) => DataKeyId::from_slice(id).map(Self::Key).ok(),
            Some((b'l', [])) => Some(Self::Leaf),
            Some((b'n', [])) => Some(Self::Engine),
            _ => None,
        };
        cause.unwrap_or(Self::Any)
    }
}

fn change(row: &[u8]) -> Option<Cause> {
    let (id, record) = row.split_first_chunk::<32>()?;
    let record = std::str::from_utf8(record).ok()?.parse().ok()?;
    Some(Cause::Change(record, ChangeId(*id)))
}

type Place = (u32, u64);

/// Commits that wait, by what for.
#[derive(Debug, Default)]
pub(crate) struct Waiting(HashMap<Cause, Vec<Place>>);

impl Waiting {
    pub(crate) fn load(rows: &dyn Rows) -> Result<Self> {
        let mut waiting = Self::default();
        rows.scan(&[kind::PENDING], &[kind::PENDING], &mut |key, row| {
            if let Some(place) = rows::place(key) {
                waiting.add(Cause::from_row(row), place);
            }
            Ok(true)
        })?;
        Ok(waiting)
    }

    pub(crate) fn add(&mut self, cause: Cause, place: Place) {
        self.0.entry(cause).or_default().push(place);
    }

    /// Those that wait no longer.
    pub(crate) fn take(&mut self, cause: &Cause) -> Vec<Place> {
        self.0.remove(cause).unwrap_or_default()
    }

    /// The data keys that are waited for.
    pub(crate) fn keys(&self) -> Vec<DataKeyId> {
        let key = |cause: &Cause| match cause {
            Cause::Key(id) => Some(*id),
            _ => None,
        };
        self.0.keys().filter_map(key).collect()
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.values().map(|places| places.len() as u64).sum()
    }
}

/// Whether every entry of these commits that is for this vault was opened: only then need nobody
/// send them again.
pub(crate) fn is_whole(rows: &dyn Rows, chain: u32, first: u64, last: u64) -> Result<bool> {
    let prefix = rows::of_chain(kind::PENDING, chain);
    let from = rows::in_chain(kind::PENDING, chain, first);
    let mut whole = true;
    rows.scan(&prefix, &from, &mut |key, row| {
        let within = rows::place(key).is_some_and(|(_, seq)| seq <= last);
        if within && matches!(Cause::from_row(row), Cause::Leaf | Cause::Key(_)) {
            whole = false;
        }
        Ok(within && whole)
    })?;
    Ok(whole)
}
