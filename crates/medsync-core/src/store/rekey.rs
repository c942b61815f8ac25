//! New keys for the whole vault: a new data file, copied row by row, and a new key file.
//!
//! The copy is made under a temporary name, synced, opened and counted. Then the key file is
//! replaced, which is the moment it happens: before it the old files are the vault, after it the
//! key file names the new data file, and whoever opens the vault gives that its name.

use super::fail::stopped;
use super::file::{self, DATA_FILE, KEY_FILE};
use super::page_cipher::preamble_id;
use super::place::{Place, SharedPlace};
use super::{Data, Store, Tuning, create_data};
use crate::crypto::keyfile::{KeyFile, NewKeys, Renewed};
use crate::crypto::{RootKey, SlotInfo};
use crate::error::{Error, Result};
use std::io::Read as _;
use std::sync::{Arc, PoisonError};

/// About how many bytes of rows a transaction of the copy takes.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a data file's beginning that tell which it is.
const HEAD: usize = 32;

/// A row as it is to stand under the new root; most stay as they are.
pub(crate) type Change<'a> = &'a mut dyn FnMut(&[u8], Vec<u8>, &RootKey) -> Result<Vec<u8>>;

/// A store with new keys.
#[derive(Debug)]
pub struct Rekeyed {
    /// The store, open.
    pub store: Store,
    /// Slots that are gone: their secret was not at hand.
    pub lost: Vec<SlotInfo>,
}

impl Store {
    /// Moves everything into a new data file under new keys. A crash at any moment leaves the old
    /// vault or the new one. After an error the vault is closed and has to be opened again.
    ///
    /// `progress` is told how many rows are done, of how many.
    pub fn rekey(
        self,
        new: &NewKeys<'_>,
        change: Change<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Rekeyed> {
        const WHAT: Error = Error::invalid("a store without files has no keys of its own");
        let home = self.engine.home.as_ref().ok_or(WHAT)?;
        let place = Arc::clone(&home.place);
        let Renewed { keys, root, lost } = {
            let old = home.keys.lock().unwrap_or_else(PoisonError::into_inner);
            old.renewed(&*self.env, new)?
        };
        let (lock, tuning) = (Arc::clone(&home.lock), home.tuning);
        create_data(&*place, &self.env, &keys, &root, tuning)?;
        let copy = self.open_copy(&place, &keys, &root)?;
        let rows = self.copy_rows(&copy, &root, change, progress)?;
        drop(copy);
        // Opened anew, the copy is checked from its root to its last page.
        let copy = self.open_copy(&place, &keys, &root)?;
        if count(&copy)? != rows {
            return Err(Error::integrity("the new data file lacks rows"));
        }
        drop(copy);
        file::write_new(&*place, KEY_FILE, &keys.to_bytes())?;
        // Never a key file whose data file has no name yet.
        file::sync_names(&*place)?;
        let env = self.env.clone();
        self.engine.rest().ok();
        // Or closing it might write the old file anew, in place of the new one.
        self.engine.stop();
        drop(self);
        file::rename_new(&*place, KEY_FILE)?;
        file::rename_new(&*place, DATA_FILE)?;
        let store = Self::open_files(place, env, keys, root, lock, tuning)?;
        Ok(Rekeyed { store, lost })
    }

    /// The copy as a store of its own, which knows nothing of the vault's folder.
    fn open_copy(&self, place: &SharedPlace, keys: &KeyFile, root: &RootKey) -> Result<Self> {
        let backend = place.open(&file::new_name(DATA_FILE))?;
        let data = Data {
            suite: keys.suite(),
            key: keys.page_key(root)?,
            id: *keys.file_id(),
        };
        let (db, journal) = data.open(backend, &self.env, Tuning::default())?;
        let root = RootKey::fill_with(|out| out.copy_from_slice(root.expose()));
        Self::finish(db, journal, self.env.clone(), root, None)
    }

    /// Copies one consistent view of all rows.
    fn copy_rows(
        &self,
        to: &Self,
        root: &RootKey,
        change: Change<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64> {
        let total = count(self)?;
        let read = self.read()?;
        let mut rows = read.prefix(&[])?.peekable();
        let mut done = 0;
        while rows.peek().is_some() {
            let mut txn = to.write()?;
            let mut bytes = 0;
            while bytes < CHUNK_BYTES
                && let Some(row) = rows.next()
            {
                let (key, value) = row?;
                let value = change(&key, value, root)?;
                bytes += key.len() + value.len();
                txn.put(key, value);
                done += 1;
            }
            txn.commit()?;
            progress(done, total);
        }
        match done == total {
            true => Ok(done),
            false => Err(stopped("copying rows")),
        }
    }
}

fn count(store: &Store) -> Result<u64> {
    let mut rows = 0;
    for row in store.read()?.prefix(&[])? {
        row?;
        rows += 1;
    }
    Ok(rows)
}

/// Gives the data file of a rekey its name, if the key file was replaced and then the power went.
pub(super) fn finish(place: &dyn Place, keys: &KeyFile) -> Result<()> {
    let id = |name: &str| -> Option<[u8; 16]> {
        let mut head = [0; HEAD];
        place.read(name).ok()?.read_exact(&mut head).ok()?;
        preamble_id(&head)
    };
    if id(DATA_FILE).as_ref() == Some(keys.file_id()) {
        return Ok(());
    }
    match id(&file::new_name(DATA_FILE)).as_ref() == Some(keys.file_id()) {
        true => file::rename_new(place, DATA_FILE),
        // Two files that do not belong together: opening says so.
        false => Ok(()),
    }
}

#[cfg(test)]
#[path = "rekey_tests.rs"]
mod tests;
