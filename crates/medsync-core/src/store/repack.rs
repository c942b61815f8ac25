//! A data file without room that nobody uses: copied in the order of its rows, under the same keys.
//!
//! redb copies every page that it changes, so a file that was written much holds nearly as many free
//! pages as used ones, and rows that came in no order leave a third of each page empty. redb's own
//! compaction is no way out: it commits in one phase, after which a power cut leaves pages that do
//! not verify. The copy is made under a temporary name, synced and checked, then it gets the name.

use super::engine::new_journal_id;
use super::fail::{from_redb, stopped};
use super::file::{self, DATA_FILE};
use super::packing::{DICTIONARIES, Packer};
use super::{Data, Home, Store, TABLE, create_data, make_strict};
use crate::crypto::RootKey;
use crate::error::Result;
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _};
use redb::{ReadableTableMetadata as _, TableError};
use std::sync::PoisonError;

impl Store {
    /// Writes the data file anew, with nothing in it but its rows. From then on this store is
    /// stopped: [`Store::reopen`] goes on with the new file. An error leaves all as it was. A store
    /// without files has nothing to write.
    pub fn repack(&self) -> Result<()> {
        let gate = self.engine.quiet()?;
        let Some(home) = &self.engine.home else {
            return Ok(());
        };
        let copied = self.copy_file(home);
        if copied.is_err() {
            home.place.remove(&file::new_name(DATA_FILE)).ok();
        }
        copied?;
        self.engine.stop();
        file::rename_new(&*home.place, DATA_FILE)?;
        drop(gate);
        Ok(())
    }

    /// Opens the vault's files again, checking all of them.
    pub fn reopen(self) -> Result<Self> {
        let Some(home) = &self.engine.home else {
            return Ok(self);
        };
        let (place, lock, tuning) = (home.place.clone(), home.lock.clone(), home.tuning);
        let keys = {
            let keys = home.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.clone()
        };
        let env = self.env.clone();
        let root = RootKey::fill_with(|out| out.copy_from_slice(self.root.expose()));
        drop(self);
        Self::open_files(place, env, keys, root, lock, tuning)
    }

    /// Repacks a file of which much is not in use.
    pub(super) fn repack_if_worth(&self) -> Result<()> {
        match self.engine.home.is_some() && self.engine.is_sparse() {
            true => self.repack(),
            false => Ok(()),
        }
    }

    fn copy_file(&self, home: &Home) -> Result<()> {
        let data = {
            let keys = home.keys.lock().unwrap_or_else(PoisonError::into_inner);
            create_data(&*home.place, &self.env, &keys, &self.root, home.tuning)?;
            Data {
                suite: keys.suite(),
                key: keys.page_key(&self.root)?,
                id: *keys.file_id(),
            }
        };
        let open = || {
            let copy = home.place.open(&file::new_name(DATA_FILE))?;
            data.open(copy, &self.env, home.tuning)
        };
        let (source, packs) = self.engine.source()?;
        let (copy, _) = open()?;
        let rows = self.copy_tables(&source, packs, &copy)?;
        drop(copy);
        // Opened anew, the copy is checked from its root to its last page.
        let (copy, _) = open()?;
        let txn = copy.begin_read().map_err(|e| from_redb(WHAT, e))?;
        let table = txn.open_table(TABLE).map_err(|e| from_redb(WHAT, e))?;
        match table.len().map_err(|e| from_redb(WHAT, e))? == rows {
            true => Ok(()),
            false => Err(stopped(WHAT)),
        }
    }

    /// Copies rows and dictionaries as they stand. Returns how many rows there are.
    fn copy_tables(&self, source: &ReadTransaction, packs: bool, copy: &Database) -> Result<u64> {
        let failed = |e: redb::StorageError| from_redb(WHAT, e);
        let mut txn = copy.begin_write().map_err(|e| from_redb(WHAT, e))?;
        make_strict(&mut txn)?;
        let from = source.open_table(TABLE).map_err(|e| from_redb(WHAT, e))?;
        let mut to = txn.open_table(TABLE).map_err(|e| from_redb(WHAT, e))?;
        let (mut packer, mut packed) = (Packer::plain(), Vec::new());
        for row in from.iter().map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            let (key, mut value) = (key.value(), value.value());
            if !packs {
                packer.pack(key, value, &mut packed);
                value = &packed;
            }
            to.insert(key, value).map_err(failed)?;
        }
        drop(to);
        match source.open_table(DICTIONARIES) {
            Ok(from) => {
                let to = txn.open_table(DICTIONARIES);
                let mut to = to.map_err(|e| from_redb(WHAT, e))?;
                for row in from.iter().map_err(failed)? {
                    let (number, bytes) = row.map_err(failed)?;
                    to.insert(number.value(), bytes.value()).map_err(failed)?;
                }
            }
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(e) => return Err(from_redb(WHAT, e)),
        }
        new_journal_id(&txn, &self.env)?;
        txn.commit().map_err(|e| from_redb(WHAT, e))?;
        from.len().map_err(failed)
    }
}

const WHAT: &str = "writing the data file anew";
