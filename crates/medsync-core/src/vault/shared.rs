//! A vault that several threads use at once.

use crate::error::Result;
use crate::ids::{CommitId, RecordId};
use crate::vault::{Draft, Vault, Version, View};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A handle of one open vault; its clones are handles of the same. The last one to be dropped locks
/// it.
///
/// Threads that commit at the same time share the disk's flush: each commit is judged and written by
/// itself, and one that is refused takes no other with it; each call returns when its own commit is
/// durable. Should the disk fail, every commit that waits fails, and the vault has to be opened again.
#[derive(Clone)]
pub struct SharedVault(Arc<RwLock<Vault>>);

impl fmt::Debug for SharedVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedVault")
    }
}

impl Vault {
    /// Makes the vault one that several threads use at once.
    pub fn share(self) -> SharedVault {
        SharedVault(Arc::new(RwLock::new(self)))
    }
}

impl SharedVault {
    /// As [`Vault::commit`].
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub fn commit(&self, drafts: Vec<Draft>) -> Result<Option<CommitId>> {
        let (made, staged, seen) = {
            let mut vault = self.exclusive();
            let (made, staged) = vault.commit_staged(drafts)?;
            (made, staged, vault.seen())
        };
        // The next thread commits while this one waits for the disk.
        staged.settle()?;
        if let Some(seen) = seen {
            self.exclusive().tell_anchor_of(seen);
        }
        Ok(made)
    }

    /// As [`Vault::edit`].
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub fn edit(
        &self,
        record: &RecordId,
        seen: Version,
        write: impl FnOnce(&mut Draft),
    ) -> Result<Option<CommitId>> {
        let mut draft = Draft::new(record.clone(), seen);
        write(&mut draft);
        self.commit(vec![draft])
    }

    /// As [`Vault::draft`]: what another thread commits now is seen once it is durable.
    ///
    /// # Errors
    /// As [`Vault::draft`].
    pub fn draft(&self, record: &RecordId) -> Result<Draft> {
        self.reading().draft(record)
    }

    /// As [`Vault::read`].
    ///
    /// # Errors
    /// As [`Vault::read`].
    pub fn read(&self, record: &RecordId) -> Result<Option<View>> {
        self.reading().read(record)
    }

    /// Lends the vault for anything that only reads, beside others that read. Commits that are under
    /// way become durable first.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::error::Error::Storage) if the disk fails, or what `read` says.
    pub fn with<T>(&self, read: impl FnOnce(&Vault) -> Result<T>) -> Result<T> {
        let vault = self.reading();
        vault.store.get()?.settle_all()?;
        read(&vault)
    }

    /// Lends the vault alone, for anything else. Commits that are under way become durable first.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::error::Error::Storage) if the disk fails, or what `job` says.
    pub fn with_mut<T>(&self, job: impl FnOnce(&mut Vault) -> Result<T>) -> Result<T> {
        let mut vault = self.exclusive();
        vault.store.get()?.settle_all()?;
        job(&mut vault)
    }

    // A thread that panicked left the vault as it was before its commit, or with it staged whole.

    fn reading(&self) -> RwLockReadGuard<'_, Vault> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Vault> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
