//! The vault's file on disk: an ordered, encrypted map of bytes with transactions.
//!
//! The only module that names redb. Every commit is durable when it returns; a failed one stops the
//! store, because what a failed sync left on the disk is anybody's guess.

mod before;
mod engine;
mod fail;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
mod file;
mod journal;
mod keys;
mod overlay;
mod packing;
mod page_cipher;
mod pages;
mod place;
#[cfg(all(test, unix))]
mod read_only_tests;
mod rekey;
mod repack;
#[cfg(test)]
mod tests;
mod tree;
mod txn;

#[cfg(feature = "testing")]
pub(crate) use overlay::{reread_record, sample_record};

pub use file::{DATA_FILE, KEY_FILE, LOCK_FILE, TRIES_FILE};
pub use redb::StorageBackend;
pub use rekey::Rekeyed;
pub use txn::{Entries, ReadTxn, Staged, WriteTxn};

use crate::crypto::keyfile::{KEY_FILE_MAX, KeyFile};
use crate::crypto::{Kdf, KeyWrapper, RootKey, Secret, Suite, Words};
use crate::env::SharedEnv;
use crate::error::{Error, Result};
use engine::Engine;
use fail::{from_redb, stopped};
use journal::Journal;
use page_cipher::PageCipher;
use pages::Pages;
pub(crate) use place::{Folder, SharedPlace};
use place::{Lock, Place};
use redb::{Database, Durability, TableDefinition};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Everything is in one table: each table more costs 150 us a commit.
const TABLE: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("m");

const STOPPED: &str = "the store stopped after a failure; open the vault again";

/// How a vault is unlocked.
#[derive(Clone, Copy)]
pub enum Unlock<'a> {
    /// By passphrase.
    Passphrase(&'a str),
    /// By the 24 recovery words.
    Recovery(&'a Words),
    /// By the root itself, which the host kept (Keychain, DPAPI, Keystore).
    Root(&'a RootKey),
    /// By the host's key store, through a slot that was made for it.
    Host(&'a dyn KeyWrapper),
    /// By the secret key of a clinic's identity that an escrow slot was made for.
    Escrow(&'a Secret<32>),
}

// By hand: a derived one would print the passphrase.
impl fmt::Debug for Unlock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase(hidden)",
            Self::Recovery(_) => "Recovery(hidden)",
            Self::Root(_) => "Root(hidden)",
            Self::Host(_) => "Host(hidden)",
            Self::Escrow(_) => "Escrow(hidden)",
        })
    }
}

/// Settings that change speed and memory, never what a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Most memory for decrypted pages, in bytes.
    pub cache_bytes: usize,
    /// Room for the journal in a new file, in bytes; a file keeps what it was made with. With none,
    /// the file is of format 1.
    pub journal_bytes: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            // Measured: an idle vault of 100,000 records then takes under 64 MiB in all.
            cache_bytes: 10 * 1024 * 1024,
            journal_bytes: 4 * 1024 * 1024,
        }
    }
}

impl Tuning {
    /// For tests and simulations, which have many vaults in memory.
    #[cfg(any(test, feature = "testing"))]
    pub const fn small() -> Self {
        Self {
            cache_bytes: 1024 * 1024,
            journal_bytes: 128 * 1024,
        }
    }
}

/// An open vault file. Dropping it closes it; transactions that live on then fail.
pub struct Store {
    engine: Arc<Engine>,
    root: RootKey,
    env: SharedEnv,
}

/// Where a store lives that is not in memory.
struct Home {
    place: SharedPlace,
    keys: Mutex<KeyFile>,
    lock: Lock,
    tuning: Tuning,
}

impl Store {
    /// Makes a new vault in a folder that has none, lets `first` write what must never be missing,
    /// and opens it.
    ///
    /// A crash or an error before this returns leaves no vault: the next `create` starts over.
    pub fn create<T>(
        dir: &Path,
        env: SharedEnv,
        passphrase: &str,
        suite: Suite,
        kdf: Kdf,
        words: &Words,
        first: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<(Self, T)> {
        Self::create_at(
            Folder::shared(dir),
            env,
            passphrase,
            suite,
            kdf,
            words,
            first,
        )
    }

    /// As [`Store::create`], anywhere.
    pub(crate) fn create_at<T>(
        place: SharedPlace,
        env: SharedEnv,
        passphrase: &str,
        suite: Suite,
        kdf: Kdf,
        words: &Words,
        first: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<(Self, T)> {
        place
            .make()
            .map_err(|e| Error::io("making the vault's folder", &e))?;
        let lock = place.lock(LOCK_FILE)?;
        refuse_existing(&*place)?;
        let (keys, root) = KeyFile::create(&*env, suite, passphrase, kdf, words)?;
        file::write_new(&*place, KEY_FILE, &keys.to_bytes())?;
        create_data(&*place, &env, &keys, &root, Tuning::default())?;
        file::rename_new(&*place, DATA_FILE)?;
        let store = Self::open_files(Arc::clone(&place), env, keys, root, lock, Tuning::default())?;
        let written = first(&store)?;
        // The key file last: with it the vault exists.
        file::rename_new(&*place, KEY_FILE)?;
        Ok((store, written))
    }

    /// Opens a vault, checking all of it, with the default settings.
    pub fn open(dir: &Path, env: SharedEnv, unlock: Unlock<'_>) -> Result<Self> {
        Self::open_with(dir, env, unlock, Tuning::default())
    }

    /// Opens a vault, checking all of it.
    ///
    /// `Error::Busy` if another process has it open, `Error::WrongSecret` if `unlock` is not its
    /// own, `Error::Integrity` if its files are damaged or do not belong together.
    pub fn open_with(
        dir: &Path,
        env: SharedEnv,
        unlock: Unlock<'_>,
        tuning: Tuning,
    ) -> Result<Self> {
        Self::open_at(Folder::shared(dir), env, unlock, tuning)
    }

    /// As [`Store::open_with`], anywhere.
    pub(crate) fn open_at(
        place: SharedPlace,
        env: SharedEnv,
        unlock: Unlock<'_>,
        tuning: Tuning,
    ) -> Result<Self> {
        // Asked first: looking for a vault must not leave a lock file where there is none.
        read_keys(&*place)?;
        let lock = place.lock(LOCK_FILE)?;
        let keys = read_keys(&*place)?;
        let root = keys::unlock(&*place, &*env, &keys, unlock)?;
        rekey::finish(&*place, &keys)?;
        file::remove_leftovers(&*place);
        Self::open_files(place, env, keys, root, lock, tuning)
    }

    fn open_files(
        place: SharedPlace,
        env: SharedEnv,
        keys: KeyFile,
        root: RootKey,
        lock: Lock,
        tuning: Tuning,
    ) -> Result<Self> {
        let backend = file::open_data(&*place)?;
        let key = keys.page_key(&root)?;
        let data = Data {
            suite: keys.suite(),
            key,
            id: *keys.file_id(),
        };
        let (db, journal) = data.open(backend, &env, tuning)?;
        let home = Home {
            place,
            keys: Mutex::new(keys),
            lock,
            tuning,
        };
        Self::finish(db, journal, env, root, Some(home))
    }

    /// A store over any backend, made if that is empty: for tests and simulations. It has no key
    /// file; its page key comes from the root.
    #[cfg(any(test, feature = "testing"))]
    pub fn open_on(
        backend: impl StorageBackend,
        env: SharedEnv,
        root: RootKey,
        suite: Suite,
        tuning: Tuning,
    ) -> Result<Self> {
        let data = Data {
            suite,
            key: root.derive("medsync v1 page key of a test"),
            id: [7; 16],
        };
        let empty = backend
            .len()
            .map_err(|e| Error::io("asking for a length", &e))?
            == 0;
        let (db, journal) = if empty {
            data.create(backend, &env, tuning)?
        } else {
            data.open(backend, &env, tuning)?
        };
        Self::finish(db, journal, env, root, None)
    }

    /// A store in memory, for tests and simulations.
    #[cfg(any(test, feature = "testing"))]
    pub fn in_memory(env: SharedEnv) -> Result<Self> {
        let root = RootKey::random(&*env);
        let backend = redb::backends::InMemoryBackend::new();
        Self::open_on(backend, env, root, Suite::default(), Tuning::small())
    }

    fn finish(
        db: Database,
        journal: Option<Journal>,
        env: SharedEnv,
        root: RootKey,
        home: Option<Home>,
    ) -> Result<Self> {
        let engine = Engine::new(db, journal, Arc::clone(&env), home)?;
        let store = Self { engine, root, env };
        // The table is missing in files that are whole but not ours.
        drop(store.read()?);
        Ok(store)
    }

    /// A view of the last durable commit, which later ones do not change.
    pub fn read(&self) -> Result<ReadTxn> {
        self.engine.read()
    }

    /// A view of the last commit that was handed in, durable or not: what the next one builds on.
    pub fn read_staged(&self) -> Result<ReadTxn> {
        self.engine.read_staged()
    }

    /// The one transaction that may write; waits for another one to end. Dropping it forgets it.
    pub fn write(&self) -> Result<WriteTxn> {
        self.engine.check()?;
        let gate = self.engine.enter();
        // Another thread may have failed while this one waited.
        let base = self.engine.read_staged()?;
        Ok(WriteTxn::new(Arc::clone(&self.engine), gate, base))
    }

    /// Returns when everything that was staged so far is durable.
    pub fn settle_all(&self) -> Result<()> {
        self.engine.settle_all()
    }

    /// Stops the store: nothing is read or written any more until it is opened again. For a caller
    /// that found an invariant broken.
    pub fn stop(&self) {
        self.engine.stop();
    }

    /// The vault's root key, from which other keys are derived.
    pub const fn root(&self) -> &RootKey {
        &self.root
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What was acknowledged is in the journal, whether or not this succeeds; but damage to the
        // end of a journal looks like a commit that a power cut interrupted, so it is left empty.
        self.engine.rest().ok();
        self.repack_if_worth().ok();
        self.engine.stop();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

fn read_keys(place: &dyn Place) -> Result<KeyFile> {
    let bytes = file::read_limited(place, KEY_FILE, KEY_FILE_MAX)?;
    KeyFile::from_bytes(&bytes.ok_or(Error::NotFound("vault"))?)
}

/// A vault is never overwritten, nor is a data file whose key file somebody lost.
fn refuse_existing(place: &dyn Place) -> Result<()> {
    if file::exists(place, KEY_FILE) {
        return Err(Error::invalid("a vault is in this folder already; open it"));
    }
    // An interrupted `create` leaves the key file under its temporary name.
    let interrupted = file::exists(place, &file::new_name(KEY_FILE));
    if file::exists(place, DATA_FILE) && !interrupted {
        return Err(Error::invalid(
            "a data file without its key file is in this folder; bring the key file back",
        ));
    }
    Ok(())
}

fn create_data(
    place: &dyn Place,
    env: &SharedEnv,
    keys: &KeyFile,
    root: &RootKey,
    tuning: Tuning,
) -> Result<()> {
    drop(file::create_new(place, DATA_FILE)?);
    let backend = place.open(&file::new_name(DATA_FILE))?;
    let data = Data {
        suite: keys.suite(),
        key: keys.page_key(root)?,
        id: *keys.file_id(),
    };
    let (db, _) = data.create(backend, env, tuning)?;
    db.close()
        .map_err(|e| from_redb("creating the data file", e))
}

/// What a data file is sealed with.
struct Data {
    suite: Suite,
    key: Secret<32>,
    id: [u8; 16],
}

impl Data {
    /// Lays out an empty file. Whoever opens the journal gives it its id.
    fn create(
        &self,
        backend: impl StorageBackend,
        env: &SharedEnv,
        tuning: Tuning,
    ) -> Result<(Database, Option<Journal>)> {
        const WHAT: &str = "creating the data file";
        let (suite, room) = (self.suite, tuning.journal_bytes);
        let cipher = PageCipher::create(backend, env.clone(), suite, &self.key, self.id, room)?;
        let (db, journal) = self.open_cipher(cipher, env, tuning)?;
        let mut txn = db.begin_write().map_err(|e| from_redb(WHAT, e))?;
        make_strict(&mut txn)?;
        drop(txn.open_table(TABLE).map_err(|e| from_redb(WHAT, e))?);
        if journal.is_some() {
            engine::new_journal_id(&txn, env)?;
        }
        txn.commit().map_err(|e| from_redb(WHAT, e))?;
        Ok((db, journal))
    }

    fn open(
        &self,
        backend: impl StorageBackend,
        env: &SharedEnv,
        tuning: Tuning,
    ) -> Result<(Database, Option<Journal>)> {
        let cipher = PageCipher::open(backend, env.clone(), self.suite, &self.key, self.id)?;
        self.open_cipher(cipher, env, tuning)
    }

    fn open_cipher<B: StorageBackend>(
        &self,
        cipher: PageCipher<B>,
        env: &SharedEnv,
        tuning: Tuning,
    ) -> Result<(Database, Option<Journal>)> {
        let cipher = Arc::new(cipher);
        cipher.count_used();
        let db = open_db(Pages(Arc::clone(&cipher)), tuning)?;
        cipher.counted_used();
        let journal = cipher.has_journal().then(|| {
            let env = Arc::clone(env);
            Journal::new(cipher, env, self.suite, &self.key, self.id)
        });
        Ok((db, journal))
    }
}

/// With two phases a crash never leaves pages to be judged by their checksums: those are not keyed,
/// and a page that does not verify would stop recovery.
fn make_strict(txn: &mut redb::WriteTransaction) -> Result<()> {
    txn.set_durability(Durability::Immediate)
        .map_err(|_| stopped("starting to write"))?;
    txn.set_two_phase_commit(true);
    Ok(())
}

/// Opens with redb's checksum tree verified from its root: that root is in the newest header, so a
/// page that was put back from an older state is found, though it decrypts.
fn open_db<B: StorageBackend>(pages: Pages<B>, tuning: Tuning) -> Result<Database> {
    let open = || {
        redb::Builder::new()
            .set_cache_size(tuning.cache_bytes)
            .set_check_integrity_on_open(true)
            .create_with_backend(pages)
    };
    // redb may panic over a file that contradicts itself (its documentation says so); our callers
    // are promised an error. Nothing that the closure touched is used afterwards.
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|e| from_redb("opening the data file", e)),
        Err(_) => Err(Error::integrity("the data file contradicts itself")),
    }
}
