//! A folder in memory, over which simulated devices exchange.

use crate::vault::exchange::Folder;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Files = BTreeMap<String, Vec<u8>>;

/// Files by path. Clones are handles of the same folder.
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryFolder(Arc<Mutex<Files>>);

impl MemoryFolder {
    /// Another folder that holds the same.
    pub(super) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.files().clone())))
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folder for MemoryFolder {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let below = |path: &String| -> Option<String> {
            let rest = match dir {
                "" => path,
                dir => path.strip_prefix(dir)?.strip_prefix('/')?,
            };
            rest.split('/').next().map(str::to_owned)
        };
        let names: BTreeSet<String> = self.files().keys().filter_map(below).collect();
        if names.is_empty() && !dir.is_empty() {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(names.into_iter().collect())
    }

    fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>> {
        let files = self.files();
        let bytes = files.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(bytes.iter().copied().take(max.saturating_add(1)).collect())
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.files().insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.files()
            .remove(path)
            .map(drop)
            .ok_or(ErrorKind::NotFound.into())
    }
}
