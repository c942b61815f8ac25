//! A vault that several threads use at once.

use crate::error::Result;
use crate::ids::{CommitId, RecordId};
use crate::time::Clock;
use crate::vault::{Draft, Vault, Version, View};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The vault, for one thread alone.
pub(crate) type Exclusive<'a> = RwLockWriteGuard<'a, Vault>;

/// A handle of one open vault; its clones are handles of the same. The last one to be dropped locks
/// it.
///
/// Threads that commit at the same time share the disk's flush: each commit is judged and written by
/// itself, and one that is refused takes no other with it; each call returns when its own commit is
/// durable. Should the disk fail, every commit that waits fails, and the vault has to be opened again.
///
/// A commit is worked out beside the others, and what is left to do alone is little.
#[derive(Clone)]
pub struct SharedVault(Arc<Shared>);

struct Shared {
    vault: RwLock<Vault>,
    /// Where threads wait for the vault, one after the other: who gives it back and wants it again
    /// comes after the one who waits.
    door: Mutex<()>,
    /// One exchange at a time: by another's marks it would take this vault for an old copy.
    exchange: Mutex<()>,
    turns: Mutex<Turns>,
    turned: Condvar,
}

/// Commits that are being worked out write in the order of their times: a chain's times never go back.
#[derive(Default)]
struct Turns {
    given: u64,
    /// The first of those given that is not over.
    now: u64,
    over: BTreeSet<u64>,
    clock: Clock,
}

/// A place in that order, until it is dropped.
struct Turn<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.shared.turns();
        turns.over.insert(self.number);
        while let Some(now) = turns.over.first().copied().filter(|n| *n == turns.now) {
            turns.over.remove(&now);
            turns.now += 1;
        }
        drop(turns);
        self.shared.turned.notify_all();
    }
}

impl Turn<'_> {
    /// Returns when every commit with an earlier time is written or given up.
    fn wait(&self) {
        let mut turns = self.shared.turns();
        while turns.now < self.number {
            let waited = self.shared.turned.wait(turns);
            turns = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next place, how many are before it, and its time.
    fn turn(&self, clock: Clock, now_ms: i64) -> (Turn<'_>, u64, Clock) {
        let mut turns = self.turns();
        let mut clock = Clock::resume(turns.clock.last().max(clock.last()));
        clock.tick(now_ms);
        turns.clock = clock;
        let number = turns.given;
        turns.given += 1;
        let before = number - turns.now - turns.over.len() as u64;
        let turn = Turn {
            shared: self,
            number,
        };
        (turn, before, clock)
    }
}

impl fmt::Debug for SharedVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedVault")
    }
}

impl Vault {
    /// Makes the vault one that several threads use at once.
    pub fn share(self) -> SharedVault {
        SharedVault(Arc::new(Shared {
            vault: RwLock::new(self),
            turns: Mutex::default(),
            turned: Condvar::new(),
            door: Mutex::new(()),
            exchange: Mutex::new(()),
        }))
    }
}

impl SharedVault {
    /// As [`Vault::commit`].
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub fn commit(&self, drafts: Vec<Draft>) -> Result<Option<CommitId>> {
        let (snapshot, turn) = {
            let vault = self.reading();
            let snapshot = vault.snapshot()?;
            let now_ms = vault.env.now_ms();
            // Within the lock: what is written before its turn is in the snapshot, or before it.
            let turn = snapshot.as_ref().map(|s| self.0.turn(s.clock(), now_ms));
            (snapshot, turn)
        };
        let ahead = match (snapshot, &turn) {
            (Some(snapshot), Some((_, before, clock))) => {
                snapshot.work_out(&drafts, *before, clock)
            }
            _ => None,
        };
        if let Some((turn, ..)) = &turn {
            turn.wait();
        }
        let (made, staged, seen) = {
            let mut vault = self.exclusive();
            let (made, staged) = vault.commit_ahead(ahead, drafts)?;
            (made, staged, vault.seen())
        };
        drop(turn);
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
        let _first = self.0.door.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.vault.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps other exchanges of this vault out.
    pub(crate) fn alone_in_exchange(&self) -> MutexGuard<'_, ()> {
        self.0
            .exchange
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exclusive(&self) -> Exclusive<'_> {
        let _first = self.0.door.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.vault.write().unwrap_or_else(PoisonError::into_inner)
    }
}
