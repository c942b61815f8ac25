//! Where commits go: to the journal, many at once with one sync, and from there to the tree.
//!
//! A writer *stages* its commit: from then on the next writer sees it, readers do not. Whoever then
//! waits for it and finds nobody at it becomes the leader and makes durable whatever was staged by
//! then; the others wait for the leader. So each commit costs one sync when it is alone, and many
//! share one when they are not.
//!
//! The gate lets one writer in at a time. A checkpoint takes the gate before it leads; a leader
//! without the gate never waits for it.

use super::fail::{from_redb, stopped};
use super::journal::{Journal, JournalId};
use super::overlay::{Overlay, changes_len, put_changes};
use super::packing::{EachRow, Packing};
use super::tree::Tree;
use super::txn::{Changes, ReadTxn};
use super::{Home, STOPPED, TABLE, make_strict};
use crate::env::SharedEnv;
use crate::error::{Error, Result};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// One row: the journal whose records come after this state of the tree.
const JOURNAL: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("j");
const JOURNAL_ID: &str = "id";

const BLOCK: usize = 4096;
/// A larger file takes too long to be written anew by the way.
const BLOCKS_MAX: u64 = (512 << 20) / BLOCK as u64;

/// Rows that wait in memory for a checkpoint, in bytes.
const OVERLAY_MAX: usize = 8 << 20;

/// See the module.
pub(super) struct Engine {
    // First, so that it closes before the lock goes.
    db: Mutex<Database>,
    /// `None` in a file of format 1, where every commit goes to the tree.
    journal: Option<Mutex<Journal>>,
    state: Mutex<State>,
    turned: Condvar,
    writing: Mutex<bool>,
    free: Condvar,
    stopped: AtomicBool,
    pub(super) packing: Arc<Packing>,
    /// Whether the tree was changed since the file was opened.
    wrote: AtomicBool,
    env: SharedEnv,
    pub(super) home: Option<Home>,
}

struct State {
    /// The tree as of the last checkpoint, opened when first asked for.
    tree: Option<Arc<Tree>>,
    overlay: Arc<Overlay>,
    staged: u64,
    durable: u64,
    /// The next record: what was staged since the last one.
    pending: Vec<u8>,
    leading: bool,
}

/// The one writer's place.
pub(super) struct Gate(Arc<Engine>);

impl Drop for Gate {
    fn drop(&mut self) {
        *lock(&self.0.writing) = false;
        self.0.free.notify_one();
    }
}

/// A leader's place. Lost in a panic or by an error, it stops the store.
struct Lead<'a> {
    engine: &'a Engine,
    upto: u64,
    done: bool,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.engine.state);
        state.leading = false;
        if self.done {
            state.durable = state.durable.max(self.upto);
        } else {
            self.engine.stop();
        }
        drop(state);
        self.engine.turned.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic interrupted is marked by `stopped`, not by the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Takes over an open tree, and what its journal has beyond it.
    pub(super) fn new(
        db: Database,
        mut journal: Option<Journal>,
        env: SharedEnv,
        home: Option<Home>,
    ) -> Result<Arc<Self>> {
        let (overlay, mut seq) = (Overlay::default(), 0);
        let packing = match &journal {
            Some(_) => Packing::open(&db)?,
            None => Packing::off(),
        };
        if let Some(journal) = &mut journal {
            journal.restart(read_journal_id(&db)?);
            journal.replay(&mut |changes| {
                seq += 1;
                overlay.add(seq, changes);
            })?;
        }
        let state = State {
            tree: None,
            overlay: Arc::new(overlay),
            staged: seq,
            durable: seq,
            pending: Vec::new(),
            leading: false,
        };
        Ok(Arc::new(Self {
            db: Mutex::new(db),
            journal: journal.map(Mutex::new),
            state: Mutex::new(state),
            turned: Condvar::new(),
            writing: Mutex::new(false),
            free: Condvar::new(),
            stopped: AtomicBool::new(false),
            packing: Arc::new(packing),
            wrote: AtomicBool::new(false),
            env,
            home,
        }))
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(stopped(STOPPED));
        }
        Ok(())
    }

    /// What is durable now.
    pub(super) fn read(&self) -> Result<ReadTxn> {
        let state = lock(&self.state);
        let seq = state.durable;
        self.view(state, seq)
    }

    /// What the next writer builds on.
    pub(super) fn read_staged(&self) -> Result<ReadTxn> {
        let state = lock(&self.state);
        let seq = state.staged;
        self.view(state, seq)
    }

    fn view(&self, mut state: MutexGuard<'_, State>, seq: u64) -> Result<ReadTxn> {
        self.check()?;
        let tree = self.tree(&mut state)?;
        Ok(ReadTxn::new(tree, Arc::clone(&state.overlay), seq))
    }

    fn tree(&self, state: &mut State) -> Result<Arc<Tree>> {
        if let Some(tree) = &state.tree {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(Tree::open(&lock(&self.db), &self.packing)?);
        state.tree = Some(Arc::clone(&tree));
        Ok(tree)
    }

    /// Waits for the gate.
    pub(super) fn enter(self: &Arc<Self>) -> Gate {
        let mut writing = lock(&self.writing);
        while *writing {
            let waited = self.free.wait(writing);
            writing = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *writing = true;
        Gate(Arc::clone(self))
    }

    fn try_enter(self: &Arc<Self>) -> Option<Gate> {
        let mut writing = lock(&self.writing);
        let free = !std::mem::replace(&mut *writing, true);
        free.then(|| Gate(Arc::clone(self)))
    }

    /// Stages a writer's changes and lets the next one in. Returns what to wait for.
    pub(super) fn stage(&self, gate: Gate, changes: Changes) -> Result<u64> {
        self.check()?;
        let len = changes_len(pairs(&changes));
        let takes = |journal: &Mutex<Journal>| lock(journal).takes(len);
        if !self.journal.as_ref().is_some_and(takes) {
            return self.checkpoint(gate, Some(changes));
        }
        let mut state = lock(&self.state);
        if changes.is_empty() {
            return Ok(state.staged);
        }
        put_changes(pairs(&changes), &mut state.pending);
        let seq = state.staged + 1;
        state.overlay.add(seq, changes);
        state.staged = seq;
        drop(state);
        drop(gate);
        Ok(seq)
    }

    /// Returns when everything up to a staged commit is durable; an error stops the store.
    pub(super) fn settle(self: &Arc<Self>, seq: u64) -> Result<()> {
        let mut state = lock(&self.state);
        loop {
            if state.durable >= seq {
                return Ok(());
            }
            self.check()?;
            if state.leading {
                let waited = self.turned.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let room = |journal: &Mutex<Journal>| lock(journal).has_room(state.pending.len());
            if state.overlay.bytes() > OVERLAY_MAX || !self.journal.as_ref().is_some_and(room) {
                drop(state);
                let gate = self.enter();
                // Another one may have done it while this one waited.
                if lock(&self.state).durable < seq {
                    self.checkpoint(gate, None)?;
                }
                state = lock(&self.state);
                continue;
            }
            let record = std::mem::take(&mut state.pending);
            let mut lead = self.lead(&mut state);
            drop(state);
            if let Some(journal) = &self.journal {
                lock(journal).append(&record)?;
                lead.done = true;
            }
            drop(lead);
            state = lock(&self.state);
        }
    }

    /// Everything that was staged so far.
    pub(super) fn settle_all(self: &Arc<Self>) -> Result<()> {
        let staged = lock(&self.state).staged;
        self.settle(staged)
    }

    fn lead(&self, state: &mut State) -> Lead<'_> {
        state.leading = true;
        Lead {
            engine: self,
            upto: state.staged,
            done: false,
        }
    }

    /// Brings all that was staged to the tree, and `extra` with it, and empties the journal.
    fn checkpoint(&self, gate: Gate, extra: Option<Changes>) -> Result<u64> {
        let mut state = lock(&self.state);
        while state.leading {
            let waited = self.turned.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        self.check()?;
        // Whoever reads meanwhile must not meet the new tree under the old overlay. Before there is a
        // leader: one that is lost to an error takes the lock that is held here.
        self.tree(&mut state)?;
        // The record would say what the tree says.
        state.pending.clear();
        state.staged += u64::from(extra.is_some());
        let upto = state.staged;
        let overlay = Arc::clone(&state.overlay);
        let mut lead = self.lead(&mut state);
        drop(state);
        let id = self.write_tree(&overlay, extra.unwrap_or_default())?;
        if let (Some(journal), Some(id)) = (&self.journal, id) {
            lock(journal).restart(id);
        }
        let mut state = lock(&self.state);
        state.overlay = Arc::default();
        state.tree = None;
        drop(state);
        lead.done = true;
        drop(lead);
        drop(gate);
        Ok(upto)
    }

    fn write_tree(&self, overlay: &Overlay, extra: Changes) -> Result<Option<JournalId>> {
        const WHAT: &str = "committing";
        let mut txn = lock(&self.db)
            .begin_write()
            .map_err(|e| from_redb(WHAT, e))?;
        make_strict(&mut txn)?;
        let mut rows = |each: EachRow<'_>| {
            overlay.each(each)?;
            pairs(&extra).try_for_each(|(key, value)| each(key, value))
        };
        let mut packer = self.packing.packer(&txn, &mut rows)?;
        let mut table = txn.open_table(TABLE).map_err(|e| from_redb(WHAT, e))?;
        let mut packed = Vec::new();
        rows(&mut |key, value| {
            match value {
                Some(value) => {
                    packer.pack(key, value, &mut packed);
                    table.insert(key, &packed[..]).map(drop)
                }
                None => table.remove(key).map(drop),
            }
            .map_err(|e| from_redb(WHAT, e))
        })?;
        self.packing.judge(&packer);
        drop(table);
        let id = match &self.journal {
            Some(_) => Some(new_journal_id(&txn, &self.env)?),
            None => None,
        };
        txn.commit().map_err(|e| from_redb(WHAT, e))?;
        self.wrote.store(true, Ordering::Relaxed);
        Ok(id)
    }

    /// Empties the journal, if nobody is writing and nothing failed.
    pub(super) fn rest(self: &Arc<Self>) -> Result<()> {
        self.check()?;
        let empty = lock(&self.state).overlay.is_empty();
        if let Some(gate) = self.try_enter().filter(|_| !empty) {
            self.checkpoint(gate, None)?;
        }
        Ok(())
    }

    /// With nothing in the journal, the writer's place, so that nothing comes there.
    pub(super) fn quiet(self: &Arc<Self>) -> Result<Gate> {
        const BUSY: Error = Error::invalid("the vault is being written to; try again");
        self.settle_all()?;
        self.rest()?;
        let gate = self.try_enter().ok_or(BUSY)?;
        let quiet = lock(&self.state).overlay.is_empty();
        quiet.then_some(gate).ok_or(BUSY)
    }

    /// Whether the file is worth writing anew: much of what it takes was not in use when it was
    /// opened, and something was written since.
    pub(super) fn is_sparse(&self) -> bool {
        let Some(journal) = &self.journal else {
            return false;
        };
        let (blocks, slack) = {
            let journal = lock(journal);
            (journal.blocks(), journal.len() / 4 / BLOCK)
        };
        let wanted = blocks.used + blocks.used / 4 + slack as u64;
        self.wrote.load(Ordering::Relaxed) && (wanted..BLOCKS_MAX).contains(&blocks.all)
    }

    /// The rows as the tree holds them, for a copy of the file.
    pub(super) fn source(&self) -> Result<(redb::ReadTransaction, bool)> {
        let txn = lock(&self.db).begin_read();
        let txn = txn.map_err(|e| from_redb("starting to read", e))?;
        Ok((txn, self.journal.is_some()))
    }
}

fn pairs(changes: &Changes) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    changes.iter().map(|(k, v)| (k.as_slice(), v.as_deref()))
}

/// Gives the journal a new id with the transaction.
pub(super) fn new_journal_id(txn: &redb::WriteTransaction, env: &SharedEnv) -> Result<JournalId> {
    const WHAT: &str = "committing";
    let mut table = txn.open_table(JOURNAL).map_err(|e| from_redb(WHAT, e))?;
    let last = table.get(JOURNAL_ID).map_err(|e| from_redb(WHAT, e))?;
    // From the last one too: entropy that repeats (a machine's snapshot) must not bring an id back,
    // whose records may still lie there.
    let mut hash = blake3::Hasher::new_derive_key("medsync v1 journal id");
    hash.update(last.as_ref().map_or(&[], |id| id.value()));
    hash.update(&env.bytes::<16>());
    let mut id = JournalId::default();
    hash.finalize_xof().fill(&mut id);
    drop(last);
    let put = table.insert(JOURNAL_ID, &id[..]).map(drop);
    put.map_err(|e| from_redb(WHAT, e))?;
    Ok(id)
}

fn read_journal_id(db: &Database) -> Result<JournalId> {
    const WHAT: &str = "reading the journal";
    let txn = db.begin_read().map_err(|e| from_redb(WHAT, e))?;
    let table = txn.open_table(JOURNAL).map_err(|e| from_redb(WHAT, e))?;
    let id = table.get(JOURNAL_ID).map_err(|e| from_redb(WHAT, e))?;
    let id = id.and_then(|id| id.value().try_into().ok());
    id.ok_or(Error::integrity("the data file names no journal"))
}
