//! Commits that wait, and what for: a row says the first thing that is missing, so that what
//! arrives wakes those that wait for it and no others.

use crate::error::Result;
use crate::ids::{ChangeId, DataKeyId, RecordId};
use crate::vault::core::{Work, load_data_key};
use crate::vault::deliver::{Received, settle};
use crate::vault::rows::{self, Rows, kind};
use std::collections::{HashMap, VecDeque};

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
    /// Not known: tried again each time.
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

/// Delivers what waited for what has become visible, or for keys that are here now.
pub(crate) fn retry(work: &mut Work, received: &mut Received) -> Result<()> {
    let mut waiting: HashMap<Cause, Vec<Place>> = HashMap::new();
    work.scan(&[kind::PENDING], &[kind::PENDING], &mut |key, row| {
        if let Some(place) = rows::place(key) {
            waiting.entry(Cause::from_row(row)).or_default().push(place);
        }
        Ok(true)
    })?;
    let mut woken: Vec<Cause> = vec![Cause::Any];
    for cause in waiting.keys() {
        if let Cause::Key(id) = cause
            && load_data_key(work, id)?.is_some()
        {
            woken.push(cause.clone());
        }
    }
    let mut ready: VecDeque<Place> = VecDeque::new();
    loop {
        let visible = work.visible.drain(..);
        woken.extend(visible.map(|(record, id)| Cause::Change(record, id)));
        for cause in woken.drain(..) {
            ready.extend(waiting.remove(&cause).unwrap_or_default());
        }
        let Some((chain, seq)) = ready.pop_front() else {
            break;
        };
        if let Some(cause) = settle(work, chain, seq, received)? {
            waiting.entry(cause).or_default().push((chain, seq));
        }
    }
    received.pending = waiting.values().map(|places| places.len() as u64).sum();
    Ok(())
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
