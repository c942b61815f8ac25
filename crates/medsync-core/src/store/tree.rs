//! The tree as of one checkpoint: redb's table, and what unpacks its values.

use super::TABLE;
use super::fail::from_redb;
use super::packing::Packing;
use crate::error::Result;
use redb::{Database, Range, ReadOnlyTable, ReadableDatabase as _};
use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

/// See the module.
pub(super) struct Tree {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    packing: Arc<Packing>,
}

impl Tree {
    pub(super) fn open(db: &Database, packing: &Arc<Packing>) -> Result<Self> {
        const WHAT: &str = "starting to read";
        let txn = db.begin_read().map_err(|e| from_redb(WHAT, e))?;
        Ok(Self {
            table: txn.open_table(TABLE).map_err(|e| from_redb(WHAT, e))?,
            packing: Arc::clone(packing),
        })
    }

    /// What `f` makes of a key's value.
    pub(super) fn with<R>(
        &self,
        key: &[u8],
        f: impl FnOnce(Cow<'_, [u8]>) -> R,
    ) -> Result<Option<R>> {
        let found = self.table.get(key).map_err(|e| from_redb("reading", e))?;
        let Some(stored) = found else {
            return Ok(None);
        };
        self.packing.unpack(stored.value()).map(f).map(Some)
    }

    pub(super) fn range(&self, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Result<Rows> {
        let range = self.table.range::<&[u8]>(bounds);
        Ok(Rows {
            range: range.map_err(|e| from_redb("reading", e))?,
            packing: Arc::clone(&self.packing),
        })
    }
}

/// Rows of the tree in order, from both ends.
pub(super) struct Rows {
    range: Range<'static, &'static [u8], &'static [u8]>,
    packing: Arc<Packing>,
}

type Row = Result<(Vec<u8>, Vec<u8>)>;
type Found<'a> = std::result::Result<
    (
        redb::AccessGuard<'a, &'static [u8]>,
        redb::AccessGuard<'a, &'static [u8]>,
    ),
    redb::StorageError,
>;

impl Rows {
    fn row(&self, found: Found<'_>) -> Row {
        let (key, stored) = found.map_err(|e| from_redb("reading", e))?;
        let value = self.packing.unpack(stored.value())?;
        Ok((key.value().to_vec(), value.into_owned()))
    }
}

impl Iterator for Rows {
    type Item = Row;
    fn next(&mut self) -> Option<Row> {
        let found = self.range.next()?;
        Some(self.row(found))
    }
}

impl DoubleEndedIterator for Rows {
    fn next_back(&mut self) -> Option<Row> {
        let found = self.range.next_back()?;
        Some(self.row(found))
    }
}
