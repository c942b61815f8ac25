//! The wide commit that was read last.
//!
//! A commit may change thousands of records. Whoever then reads the history of each would unpack and
//! parse all of it as often as it has entries: so it is kept, with the place of each record in it.

use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::ledger::commit::Header;
use crate::ledger::entry::ChangeEntry;
use crate::vault::commit_row::CommitRow;
use crate::vault::core::load_commit;
use crate::vault::rows::Rows;
use std::cell::RefCell;
use std::collections::HashMap;

/// A commit of fewer entries is not worth keeping ..
const ENTRIES_MIN: usize = 16;
/// .. and one of more bytes is too much to keep.
const BYTES_MAX: usize = 4 << 20;

const LOST: Error = Error::integrity("a commit lost a record's change");

/// The commit at a place, and which entry changes which record.
struct Wide {
    place: (u32, u64),
    row: CommitRow,
    entries: HashMap<RecordId, usize>,
}

/// Keeps at most one.
#[derive(Default)]
pub(crate) struct Shelf(RefCell<Option<Wide>>);

impl Shelf {
    /// Forgets it: the row was written again.
    pub(crate) fn clear(&self) {
        self.0.replace(None);
    }

    /// What `read` makes of a record's change in the commit at a place.
    pub(crate) fn change_of<T>(
        &self,
        rows: &dyn Rows,
        place: (u32, u64),
        record: &RecordId,
        read: impl FnOnce(&Header, &ChangeEntry, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let mut kept = self.0.borrow_mut();
        if let Some(wide) = kept.as_ref().filter(|wide| wide.place == place) {
            let leaf = wide
                .entries
                .get(record)
                .and_then(|i| wide.row.leaves.get(*i));
            let (entry, change) = leaf.ok_or(LOST)?.change()?.ok_or(LOST)?;
            return read(&wide.row.header()?, &entry, change);
        }
        let row = load_commit(rows, place.0, place.1)?;
        let row = row.ok_or(Error::integrity("a record's change is not in the ledger"))?;
        let (entry, change) = row.change_of(record)?.ok_or(LOST)?;
        let done = read(&row.header()?, &entry, change)?;
        if row.leaves.len() >= ENTRIES_MIN && row.travels() <= BYTES_MAX {
            *kept = Some(Wide::new(place, row)?);
        }
        Ok(done)
    }
}

impl Wide {
    fn new(place: (u32, u64), row: CommitRow) -> Result<Self> {
        let mut entries = HashMap::with_capacity(row.leaves.len());
        for (i, leaf) in row.leaves.iter().enumerate() {
            if let Some((entry, _)) = leaf.change()? {
                // As `CommitRow::change_of`: of two entries of one record the first.
                entries.entry(entry.record).or_insert(i);
            }
        }
        Ok(Self {
            place,
            row,
            entries,
        })
    }
}
