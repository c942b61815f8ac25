//! The vault: one device's encrypted store and engine.
//!
//! Start with [`Vault::create`] or [`Vault::open`]; write with [`Vault::edit`] and
//! [`Vault::import`]; read with [`Vault::read`] and [`Vault::record`]; settle questions with
//! [`Vault::resolve`]; meet other vaults over a folder with [`Vault::exchange`].

mod ahead;
pub mod anchor;
pub mod audit;
mod authority;
mod branches;
mod commit_row;
pub mod connect;
mod copies;
mod core;
mod cost;
mod crowd;
mod deliver;
mod doctor;
mod draft;
mod edit;
mod enrol;
mod epoch;
pub mod exchange;
pub mod finding;
mod fold;
mod granted;
mod import;
mod in_question;
mod incarnation;
pub mod index;
mod intake;
mod lean;
mod lease;
mod leaves;
mod live;
mod lock;
mod marks;
mod migrate;
mod open;
mod page;
#[cfg(feature = "testing")]
mod peek;
mod pending;
mod people;
pub mod query;
mod read;
mod rejudge;
mod review;
pub mod rows;
mod rules;
mod seal;
mod shared;
mod shelf;
#[cfg(any(test, feature = "testing"))]
mod simulated;
mod slots;
mod state_folder;
mod status;
mod verify;
mod write;

pub use anchor::{Anchor, Anchored, SharedAnchor};
pub use authority::Vote;
pub use deliver::Received;
pub use doctor::{Ailment, ClockSkew, Severity};
pub use draft::{Draft, Version};
pub use exchange::{ExchangeProgress, ExchangeReport};
pub use import::{ImportReport, Unit};
pub use incarnation::{Incarnation, Why};
pub use migrate::FORMAT;
pub use open::{Created, NewVault};
pub use people::PersonInfo;
pub use read::{Candidate, Event, Merged, Question, Record, View};
pub use review::Decision;
pub use shared::SharedVault;
pub use slots::Rekeyed;
pub use state_folder::StateFolder;
pub use status::Status;
pub use verify::VerifyReport;

use crate::env::SharedEnv;
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, ReplicaId, WorkspaceId};
use crate::model::kind::ActivePack;
use crate::store::Staged;
use crate::vault::anchor::{Seen, Watch};
use crate::vault::audit::Flusher;
use crate::vault::core::{Core, Work};
use crate::vault::lock::Held;
use crate::vault::write::Signer;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// An open vault. Dropping it locks it; what was committed is durable already.
pub struct Vault {
    store: Held,
    env: SharedEnv,
    core: Core,
    signer: Option<Signer>,
    watch: Watch,
    /// Writes what was read, from the first read on.
    flusher: OnceLock<Flusher>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("replica", &self.core.meta.replica)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Does one piece of work: durable as a whole, or not at all.
    fn work<T>(&mut self, job: impl FnOnce(&mut Work, Option<&Signer>) -> Result<T>) -> Result<T> {
        let (done, staged) = self.work_staged(job)?;
        staged.settle()?;
        self.tell_anchor();
        Ok(done)
    }

    /// As [`Vault::work`], but durable only when it is settled. The vault goes on from it at once:
    /// should it not become durable, the store has stopped.
    fn work_staged<T>(
        &mut self,
        job: impl FnOnce(&mut Work, Option<&Signer>) -> Result<T>,
    ) -> Result<(T, Staged)> {
        let txn = self.store.write()?;
        let mut work = Work::new(txn, self.core.clone(), Arc::clone(&self.env));
        self.watch.look(self.store.root()?, &self.core);
        work.core.epoch.anchored |= self.watch.is_on();
        if let Some(why) = self.watch.renewal() {
            incarnation::renew_after(&mut work, why, self.watch.lost())?;
        }
        let done = job(&mut work, self.signer.as_ref())?;
        let (core, staged) = work.stage()?;
        self.core = core;
        self.watch.renewed();
        Ok((done, staged))
    }

    /// Tells the anchor how far the vault has come; after every durable write.
    fn tell_anchor(&mut self) {
        if let Some(seen) = self.seen() {
            self.tell_anchor_of(seen);
        }
    }

    /// How far the vault has come, if an anchor is to be told.
    fn seen(&self) -> Option<Seen> {
        self.watch.is_on().then(|| Seen::of(&self.core))
    }

    fn tell_anchor_of(&mut self, seen: Seen) {
        if let Ok(root) = self.store.root() {
            self.watch.wrote(root, &*self.env, seen);
        }
    }

    /// As [`Vault::work`], by the person whose key is unlocked.
    fn authored<T>(&mut self, job: impl FnOnce(&mut Work, &Signer) -> Result<T>) -> Result<T> {
        let (done, staged) = self.authored_staged(job)?;
        staged.settle()?;
        self.tell_anchor();
        Ok(done)
    }

    fn authored_staged<T>(
        &mut self,
        job: impl FnOnce(&mut Work, &Signer) -> Result<T>,
    ) -> Result<(T, Staged)> {
        self.work_staged(|work, signer| {
            let signer = signer.ok_or(Error::Locked("the author's key"))?;
            work.core.workspace()?;
            job(work, signer)
        })
    }

    /// The workspace, if the vault belongs to one.
    pub fn workspace(&self) -> Option<(WorkspaceId, &str)> {
        self.core
            .meta
            .workspace
            .as_ref()
            .map(|w| (w.id, w.name.as_str()))
    }

    /// This copy's identity.
    pub fn replica(&self) -> ReplicaId {
        self.core.meta.replica
    }

    /// The pack in force.
    pub fn pack(&self) -> &Arc<ActivePack> {
        &self.core.pack
    }

    /// The person the vault was made for.
    pub fn owner(&self) -> AuthorKey {
        self.core.meta.owner
    }

    /// The person whose key is unlocked.
    pub fn author(&self) -> Option<AuthorKey> {
        self.signer.as_ref().map(|s| s.author)
    }
}
