//! The end of this device's log, and adding to it.

use crate::crypto::sign::SigningKey;
use crate::env::{Env, SharedEnv};
use crate::error::{Error, Result};
use crate::ids::{RecordId, WorkspaceId};
use crate::ledger::audit::{
    Action, Actor, AuditEvent, Detail, Head, HeadTerms, LogId, Subject, root, salt,
};
use crate::ledger::entry;
use crate::ledger::merkle::Hash;
use crate::store::WriteTxn;
use crate::time::Timestamp;
use crate::vault::audit::glass::{self, Emergency};
use crate::vault::audit::reads::Reads;
use crate::vault::audit::{About, DetailRow, EntryRow, Note};
use crate::vault::core::{DataKey, existing_data_key, new_data_key, pack_row, unpack_row};
use crate::vault::open::DeviceSecrets;
use crate::vault::rows::{self, Rows, kind};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries after which the device signs its log whatever happens.
const SIGN_EVERY: u64 = 1024;

/// Where entries go, and what waits to become one.
pub(crate) struct Audit {
    tail: Mutex<Tail>,
    reads: Mutex<Reads>,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audit")
    }
}

/// The end of the log.
#[derive(Clone, Copy)]
struct Tail {
    id: LogId,
    workspace: Option<WorkspaceId>,
    /// The log's number; `None` until its first entry.
    no: Option<u32>,
    seq: u64,
    hash: Hash,
    hlc: Timestamp,
    /// The last entry that a head covers.
    signed: u64,
}

impl Tail {
    fn start(id: LogId, workspace: Option<WorkspaceId>) -> Self {
        Self {
            id,
            workspace,
            no: None,
            seq: 0,
            hash: id.start(),
            hlc: Timestamp(0),
            signed: 0,
        }
    }
}

/// Entries that take effect when their transaction is handed in.
pub(crate) struct Written<'a> {
    guard: MutexGuard<'a, Tail>,
    tail: Tail,
}

impl Written<'_> {
    /// The transaction is handed in, and the next entry follows these.
    pub(crate) fn keep(mut self) {
        *self.guard = self.tail;
    }
}

impl Audit {
    /// A log that has no entry yet.
    pub(crate) fn new(id: LogId, workspace: Option<WorkspaceId>) -> Self {
        Self {
            tail: Mutex::new(Tail::start(id, workspace)),
            reads: Mutex::new(Reads::new(Actor::Nobody)),
        }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_actor(&self, actor: Actor) {
        self.reads().set_actor(actor);
    }

    pub(super) fn has_reads(&self) -> bool {
        !self.reads().is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.reads().is_full()
    }

    /// Whether there is anything that no head covers.
    pub(super) fn has_unsigned(&self) -> bool {
        let tail = *self.tail();
        self.has_reads() || tail.seq > tail.signed
    }

    /// The last entry.
    pub(super) fn seq(&self) -> u64 {
        self.tail().seq
    }

    pub(super) fn note_read(
        &self,
        record: &RecordId,
        version: Option<[u8; 16]>,
        env: &dyn Env,
    ) -> bool {
        self.reads().record(record, version, env)
    }

    pub(super) fn note_search(&self, how: &str, what: &str, env: &dyn Env) -> bool {
        self.reads().search(how, what, env)
    }

    /// Adds what was read, then these notes, to a transaction. `place` says whose log it is now.
    pub(crate) fn write(
        &self,
        txn: &mut WriteTxn,
        env: &SharedEnv,
        place: Option<(LogId, Option<WorkspaceId>)>,
        notes: Vec<Note>,
        sign: bool,
    ) -> Result<Option<Written<'_>>> {
        let (mut all, actor) = {
            let mut reads = self.reads();
            (reads.take(), reads.actor())
        };
        all.extend(notes);
        let guard = self.tail();
        let mut tail = *guard;
        if let Some((id, workspace)) = place {
            if tail.id != id {
                // The device goes on under a new name: this one's log ends here.
                if let Some(no) = tail.no.filter(|_| tail.seq > tail.signed) {
                    put_head(txn, &mut tail, no)?;
                }
                tail = Tail::start(id, workspace);
            }
            tail.workspace = workspace;
        }
        if all.is_empty() && !(sign && tail.seq > tail.signed) {
            return Ok(None);
        }
        let no = match tail.no {
            Some(no) => no,
            None => number(txn, &tail.id)?,
        };
        tail.no = Some(no);
        for note in all {
            append(txn, env, &mut tail, no, note, actor)?;
        }
        if sign || tail.seq.saturating_sub(tail.signed) >= SIGN_EVERY {
            put_head(txn, &mut tail, no)?;
        }
        Ok(Some(Written { guard, tail }))
    }
}

/// The number of a log; a new one gets the next.
pub(super) fn number(txn: &mut WriteTxn, id: &LogId) -> Result<u32> {
    let logs = txn.all(&[kind::AUDIT_LOG])?;
    for (key, row) in &logs {
        if unpack_row::<LogId>(row)? == *id {
            return log_no(key);
        }
    }
    let no = u32::try_from(logs.len()).map_err(|_| Error::invalid("too many audit logs"))?;
    txn.put(rows::of_chain(kind::AUDIT_LOG, no), pack_row(id));
    Ok(no)
}

pub(super) fn log_no(key: &[u8]) -> Result<u32> {
    let no = key.get(1..5).and_then(|no| no.try_into().ok());
    no.map(u32::from_be_bytes)
        .ok_or(Error::integrity("an audit log has no number"))
}

fn append(
    txn: &mut WriteTxn,
    env: &SharedEnv,
    tail: &mut Tail,
    no: u32,
    note: Note,
    actor: Actor,
) -> Result<()> {
    let seq = tail.seq + 1;
    let now = Timestamp::new(env.now_ms(), 0);
    let hlc = tail.hlc.next().max(now).max(note.hlc);
    let mut leaves = Vec::new();
    let subject = match note.about {
        About::Commit(seq, id) => Subject::Commit(seq, id),
        About::Details(details) if details.is_empty() => Subject::Nothing,
        About::Details(details) => {
            let mut hashes = Vec::with_capacity(details.len());
            for (index, detail) in (0u32..).zip(&details) {
                let key = key_of(txn, env, detail)?;
                let bytes = detail.to_bytes();
                let salt = salt(key.key.expose(), &tail.id, seq, index);
                hashes.push(entry::leaf(&salt, &bytes));
                leaves.push(DetailRow::Open(key.id, bytes));
            }
            Subject::Details(root(&hashes))
        }
    };
    let event = AuditEvent {
        seq,
        hlc,
        action: note.action,
        done: note.done,
        actor: note.actor.unwrap_or(actor),
        subject,
    };
    let entry = event.to_bytes();
    (tail.seq, tail.hlc) = (seq, hlc);
    tail.hash = AuditEvent::chain(&tail.hash, &entry);
    let row = pack_row(&EntryRow { entry, leaves });
    txn.put(rows::in_chain(kind::AUDIT, no, seq), row);
    if event.action == Action::BREAK_GLASS {
        let emergency = Emergency {
            log: no,
            seq,
            time: hlc,
        };
        glass::add(txn, emergency)?;
    }
    Ok(())
}

/// The key that salts a detail: the patient's, so that it goes with the patient; else the
/// workspace's. Reading makes no key of a patient.
fn key_of(txn: &mut WriteTxn, env: &SharedEnv, detail: &Detail) -> Result<DataKey> {
    if let Detail::Record { record, .. } = detail {
        let state = rows::of_record(kind::STATE, record);
        let patient = txn.with(&state, crate::doc::row::patient_of)?.flatten();
        if let Some(patient) = patient
            && let Some(key) = existing_data_key(txn, Some(&patient))?
        {
            return Ok(key);
        }
    }
    match existing_data_key(txn, None)? {
        Some(key) => Ok(key),
        None => Ok(new_data_key(txn, &**env, None)),
    }
}

/// Signs the log as it is, in place of the head before.
fn put_head(txn: &mut WriteTxn, tail: &mut Tail, no: u32) -> Result<()> {
    let device: SigningKey = DeviceSecrets::load(txn)?.signing;
    let head = Head::sign(
        &device,
        HeadTerms {
            workspace: tail.workspace,
            log: tail.id,
            seq: tail.seq,
            hash: tail.hash,
            hlc: tail.hlc,
        },
    )?;
    // In place of the one before: it says all that that one said.
    txn.put(rows::of_chain(kind::AUDIT_HEAD, no), head.to_bytes());
    tail.signed = tail.seq;
    Ok(())
}

/// Finds the end of the log.
pub(crate) fn load(txn: &dyn Rows, id: LogId, workspace: Option<WorkspaceId>) -> Result<Audit> {
    let audit = Audit::new(id, workspace);
    let mut no = None;
    for (key, row) in txn.all(&[kind::AUDIT_LOG])? {
        if unpack_row::<LogId>(&row)? == id {
            no = Some(log_no(&key)?);
        }
    }
    let Some(no) = no else {
        return Ok(audit);
    };
    let mut tail = Tail::start(id, workspace);
    tail.no = Some(no);
    if let Some(row) = txn.get(&rows::of_chain(kind::AUDIT_HEAD, no))? {
        let head = *Head::parse(&row)?.terms();
        (tail.seq, tail.hash, tail.hlc) = (head.seq, head.hash, head.hlc);
        tail.signed = head.seq;
    }
    let prefix = rows::of_chain(kind::AUDIT, no);
    let from = rows::in_chain(kind::AUDIT, no, tail.seq + 1);
    txn.scan(&prefix, &from, &mut |_, row| {
        let entry = unpack_row::<EntryRow>(row)?.entry;
        let event = AuditEvent::parse(&entry)?;
        tail.hash = AuditEvent::chain(&tail.hash, &entry);
        (tail.seq, tail.hlc) = (event.seq, event.hlc);
        Ok(true)
    })?;
    *audit.tail() = tail;
    Ok(audit)
}
