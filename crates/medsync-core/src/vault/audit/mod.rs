//! The audit log of this device: entries in the transaction of what they tell of, reads gathered
//! and written within a second, heads signed by the device.

mod flush;
pub(crate) mod glass;
mod heads;
mod list;
mod log;
mod reads;
#[cfg(test)]
mod tests;

pub(crate) use flush::Flusher;
pub use glass::Emergency;
pub use list::{AuditFilter, AuditRow, Exporting};
pub(crate) use log::{Audit, load};

use crate::error::{Error, Result};
use crate::ids::{CommitId, DataKeyId, RecordId};
use crate::ledger::audit::{Action, Actor, Detail};
use crate::ledger::commit::Intent;
use crate::ledger::merkle::Hash;
use crate::time::Timestamp;
use crate::vault::core::Work;
use crate::vault::{ExchangeReport, Vault};
use serde::{Deserialize, Serialize};

/// Something to be written down.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub(crate) action: Action,
    pub(crate) done: bool,
    /// Who; `None`: whoever reads now.
    pub(crate) actor: Option<Actor>,
    /// Not before this.
    pub(crate) hlc: Timestamp,
    pub(crate) about: About,
}

/// What a note is about.
#[derive(Debug, Clone)]
pub(crate) enum About {
    Commit(u64, CommitId),
    Details(Vec<Detail>),
}

impl Note {
    /// Something that was done.
    pub(crate) const fn new(action: Action, details: Vec<Detail>) -> Self {
        Self {
            action,
            done: true,
            actor: None,
            hlc: Timestamp(0),
            about: About::Details(details),
        }
    }

    /// By somebody else than who reads now.
    pub(crate) const fn by(mut self, actor: Actor) -> Self {
        self.actor = Some(actor);
        self
    }

    /// It was tried, and did not happen.
    pub(crate) const fn failed(mut self) -> Self {
        self.done = false;
        self
    }

    /// A commit of one's own.
    pub(crate) fn commit(
        intent: Intent,
        revokes: bool,
        actor: Actor,
        hlc: Timestamp,
        (seq, id): (u64, CommitId),
    ) -> Self {
        let action = match intent {
            Intent::Import => Action::IMPORT,
            Intent::Review => Action::DECIDE,
            Intent::Membership if revokes => Action::REVOKE,
            Intent::Membership => Action::ADMIT,
            Intent::Pack => Action::PACK,
            _ => Action::CHANGE,
        };
        Self {
            action,
            done: true,
            actor: Some(actor),
            hlc,
            about: About::Commit(seq, id),
        }
    }
}

/// A stored entry.
#[derive(Serialize, Deserialize)]
struct EntryRow {
    entry: Vec<u8>,
    leaves: Vec<DetailRow>,
}

/// A leaf of a stored entry.
#[derive(Serialize, Deserialize)]
enum DetailRow {
    Withheld(Hash),
    Open(DataKeyId, Vec<u8>),
}

impl Work {
    /// Writes something down with this work.
    pub(crate) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// Signs the audit log with this work.
    pub(crate) const fn sign_audit(&mut self) {
        self.sign_audit = true;
    }
}

/// What an unlock or an export fails with that could not be written down.
const UNWRITTEN: &str = "write this into the audit log, so it was not done";

impl Vault {
    /// Writes something down before it happens: durable when this returns.
    pub(crate) fn note_first(&mut self, note: Note) -> Result<()> {
        let written = self.work(|work, _| {
            work.note(note);
            Ok(())
        });
        written.map_err(|error| match error {
            Error::Storage { kind, .. } => Error::Storage {
                what: UNWRITTEN,
                kind,
            },
            other => other,
        })
    }

    /// Who reads from now on.
    pub(crate) fn set_actor(&self, actor: Actor) {
        self.core.audit.set_actor(actor);
    }

    /// Notes that a record was read. Never fails: reads are not stopped by the log.
    pub(crate) fn note_read(&self, record: &RecordId, version: Option<[u8; 16]>) {
        if self.core.audit.note_read(record, version, &*self.env) {
            self.gathering();
        }
    }

    /// Notes that records were searched for or listed.
    pub(crate) fn note_search(&self, how: &str, what: &str) {
        if self.core.audit.note_search(how, what, &*self.env) {
            self.gathering();
        }
    }

    /// Reads are gathered from now on, or there are too many: somebody has to write them.
    fn gathering(&self) {
        if self.core.audit.is_full() {
            self.write_reads().ok();
        } else if let Ok(store) = self.store.shared()
            && store.vault_id().is_some()
        {
            let (audit, env) = (self.core.audit.clone(), self.env.clone());
            let start = || Flusher::start(store, audit, env);
            self.flusher.get_or_init(start).wake();
        }
    }

    /// Writes the reads that were gathered, and makes them durable. A vault with files does it by
    /// itself within a second; a host that brings its own storage calls this as often.
    ///
    /// # Errors
    /// [`Error::Storage`] if they cannot be written.
    pub fn write_reads(&self) -> Result<()> {
        flush::write_reads(self.store.get()?, &self.core.audit, &self.env)
    }

    /// Notes an exchange, once it has taken up what is there and before anything is left.
    pub(crate) fn note_exchange(&mut self, report: &ExchangeReport) -> Result<()> {
        let received = Detail::Count("received commits".to_owned(), report.received.commits);
        self.work(|work, _| {
            work.note(Note::new(Action::EXCHANGE, vec![received]));
            work.sign_audit();
            Ok(())
        })
    }

    /// Ends the log of this opening: what was gathered is written, and the device signs.
    pub(crate) fn end_audit(&mut self) -> Result<()> {
        drop(self.flusher.take());
        if !self.core.audit.has_unsigned() {
            return Ok(());
        }
        self.work(|work, _| {
            work.sign_audit();
            Ok(())
        })
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        // What cannot be written now is what a power cut would take.
        if !std::thread::panicking() {
            self.end_audit().ok();
        }
    }
}
