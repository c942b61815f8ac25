//! Locking: the store closes and every key in it is forgotten, by hand or after idle time.

use crate::crypto::RootKey;
use crate::env::SharedEnv;
use crate::error::{Error, Result};
use crate::store::{ReadTxn, Store, WriteTxn};
use crate::vault::Vault;
use crate::vault::anchor::Watch;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const LOCKED: Error = Error::Locked("the vault");

/// The store of a vault until it is locked, and when it was last used.
pub(crate) struct Held {
    store: Option<Arc<Store>>,
    env: SharedEnv,
    used_ms: AtomicI64,
    idle_ms: Option<i64>,
}

impl Held {
    pub(crate) fn new(store: Store, env: SharedEnv) -> Self {
        Self {
            store: Some(Arc::new(store)),
            used_ms: AtomicI64::new(env.now_ms()),
            env,
            idle_ms: None,
        }
    }

    pub(crate) fn get(&self) -> Result<&Store> {
        self.store.as_deref().ok_or(LOCKED)
    }

    /// The store for what writes beside the vault.
    pub(crate) fn shared(&self) -> Result<Arc<Store>> {
        self.store.clone().ok_or(LOCKED)
    }

    /// Writes the data file anew.
    pub(crate) fn compact(&mut self) -> Result<()> {
        const BUSY: Error = Error::invalid("the vault is in use; end what uses it and try again");
        let store = self.store.take().ok_or(LOCKED)?;
        let store = match Arc::try_unwrap(store) {
            Ok(store) => store,
            Err(store) => {
                self.store = Some(store);
                return Err(BUSY);
            }
        };
        let packed = store.repack();
        let store = match packed {
            Ok(()) => store.reopen()?,
            Err(_) => store,
        };
        self.store = Some(Arc::new(store));
        packed
    }

    pub(crate) fn read(&self) -> Result<ReadTxn> {
        self.touch();
        self.get()?.read()
    }

    pub(crate) fn write(&self) -> Result<WriteTxn> {
        self.touch();
        self.get()?.write()
    }

    pub(crate) fn root(&self) -> Result<&RootKey> {
        self.get().map(Store::root)
    }

    fn touch(&self) {
        // Without a limit nobody asks, and reading the clock costs as much as a warm read's lookup.
        if self.idle_ms.is_some() {
            self.used_ms.store(self.env.now_ms(), Ordering::Relaxed);
        }
    }

    /// When somebody last used the vault: what only carries data puts it back.
    pub(crate) fn used_ms(&self) -> i64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn put_back(&self, used_ms: i64) {
        self.used_ms.store(used_ms, Ordering::Relaxed);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held(open: {})", self.store.is_some())
    }
}

impl Vault {
    /// Seals what the person wrote, forgets every key and closes the files. From now on everything
    /// that needs them is [`Error::Locked`]; [`Vault::open`] opens the vault anew.
    ///
    /// # Errors
    /// [`Error::Storage`] if the seal cannot be stored; the vault is locked all the same.
    pub fn lock(&mut self) -> Result<()> {
        let sealed = match self.is_locked() {
            true => Ok(()),
            false => self.leave().and(self.end_audit()),
        };
        self.signer = None;
        self.watch.settle();
        self.store.store = None;
        sealed
    }

    /// Whether [`Vault::lock`] was called, by the host or by [`Vault::tick`].
    pub const fn is_locked(&self) -> bool {
        self.store.store.is_none()
    }

    /// Locks the vault after so many milliseconds without a read or a write; `None` never. The host
    /// calls [`Vault::tick`] for it. Exchanges carry data and do not count as use.
    pub fn idle_after(&mut self, idle_ms: Option<i64>) {
        self.store.idle_ms = idle_ms.map(|ms| ms.max(0));
        self.store.put_back(self.env.now_ms());
    }

    /// Writes down what was read, and locks the vault if it was idle for long enough; else says when
    /// to call again.
    ///
    /// # Errors
    /// As [`Vault::lock`].
    pub fn tick(&mut self) -> Result<Option<i64>> {
        // What was read is written down in time, and stops nobody if it cannot be.
        self.write_reads().ok();
        let Some(idle_ms) = self.store.idle_ms.filter(|_| !self.is_locked()) else {
            return Ok(None);
        };
        let now_ms = self.env.now_ms();
        // A clock that was set back must not keep the vault open until it has caught up.
        let used_ms = self.store.used_ms().min(now_ms);
        self.store.put_back(used_ms);
        let deadline_ms = used_ms.saturating_add(idle_ms);
        if now_ms < deadline_ms {
            return Ok(Some(deadline_ms));
        }
        self.lock().map(|()| None)
    }

    /// The store, for what replaces it.
    pub(crate) fn into_parts(mut self) -> Result<(Store, SharedEnv, Watch)> {
        self.end_audit()?;
        let store = self.store.store.take().and_then(Arc::into_inner);
        let watch = std::mem::replace(&mut self.watch, Watch::none());
        Ok((store.ok_or(LOCKED)?, Arc::clone(&self.env), watch))
    }
}
