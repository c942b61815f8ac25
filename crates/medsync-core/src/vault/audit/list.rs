//! Reading the audit log, and giving it away.

use crate::error::{Error, Result};
use crate::ids::{AuthorKey, ChainId, CommitId, RecordId};
use crate::ledger::audit::{
    Action, Actor, AuditEvent, DETAILS_MAX, Detail, Head, LogId, Subject, salt,
};
use crate::ledger::audit_proof::{
    AuditLine, AuditProof, AuditReport, HEADS_MAX, ProofEntry, ProofLeaf, ProofLog,
};
use crate::ledger::entry::{self, Entry};
use crate::store::ReadTxn;
use crate::vault::audit::{DetailRow, EntryRow, Note, log};
use crate::vault::branches;
use crate::vault::core::{load_commit, load_data_key, unpack_row};
use crate::vault::rows::{self, Rows, kind};
use crate::vault::{Event, Vault, View};

/// Which entries to list.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Those about this record.
    pub record: Option<RecordId>,
    /// Those of this person.
    pub person: Option<AuthorKey>,
    /// Those from this time on, in milliseconds since 1970.
    pub since_ms: Option<i64>,
}

/// An entry, with the records that its commit changed.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// The entry.
    pub line: AuditLine,
    /// For a commit: the records in it.
    pub records: Vec<RecordId>,
}

impl AuditRow {
    /// Whether it is about a record.
    pub fn names(&self, record: &RecordId) -> bool {
        let details = self.line.details.iter().flatten();
        self.records.contains(record) || details.filter_map(Detail::record).any(|r| r == record)
    }
}

impl AuditFilter {
    fn wants(&self, row: &AuditRow) -> bool {
        let event = &row.line.event;
        let person = |key: &AuthorKey| event.actor == Actor::Person(*key);
        self.since_ms.is_none_or(|since| event.hlc.ms() >= since)
            && self.person.as_ref().is_none_or(person)
            && self.record.as_ref().is_none_or(|record| row.names(record))
    }
}

/// Reading what leaves the vault in clear. It was written down before this exists.
#[derive(Debug)]
pub struct Exporting<'a> {
    vault: &'a Vault,
}

impl Exporting<'_> {
    /// As [`Vault::read`].
    ///
    /// # Errors
    /// As [`Vault::read`].
    pub fn read(&self, record: &RecordId) -> Result<Option<View>> {
        self.vault.view(record)
    }

    /// As [`Vault::for_each`].
    ///
    /// # Errors
    /// As [`Vault::for_each`].
    pub fn for_each(
        &self,
        kind_name: &str,
        after: Option<&RecordId>,
        each: &mut dyn FnMut(&RecordId, &str) -> Result<bool>,
    ) -> Result<()> {
        self.vault.views(kind_name, after, each)
    }

    /// As [`Vault::history`] of the whole record.
    ///
    /// # Errors
    /// As [`Vault::history`].
    pub fn history(&self, record: &RecordId) -> Result<Vec<Event>> {
        self.vault.events(record, None)
    }
}

impl Vault {
    /// Opens records for an export: all of the kinds and records named here. Durable in the audit
    /// log before anything is shown.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be written down.
    pub fn export(&mut self, kinds: &[&str], records: &[RecordId]) -> Result<Exporting<'_>> {
        let kind = |name: &&str| Detail::Text("kind".to_owned(), (*name).to_owned());
        let record = |record: &RecordId| Detail::Record {
            record: record.clone(),
            version: None,
            times: 1,
        };
        let all: Vec<Detail> = kinds
            .iter()
            .map(kind)
            .chain(records.iter().map(record))
            .collect();
        for some in all.chunks(DETAILS_MAX) {
            self.note_first(Note::new(Action::EXPORT, some.to_vec()))?;
        }
        Ok(Exporting { vault: self })
    }

    /// Calls `each` with the entries of this device's log, oldest first, until it says `false`.
    /// What was read a moment ago is among them.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Integrity`] if the log cannot be read.
    pub fn audit(
        &self,
        filter: &AuditFilter,
        each: &mut dyn FnMut(AuditRow) -> Result<bool>,
    ) -> Result<()> {
        self.write_reads()?;
        let rows = self.store.read()?;
        for (key, row) in rows.all(&[kind::AUDIT_LOG])? {
            let (no, id) = (log::log_no(&key)?, unpack_row::<LogId>(&row)?);
            let prefix = rows::of_chain(kind::AUDIT, no);
            let mut goes_on = true;
            rows.scan(&prefix, &prefix, &mut |_, row| {
                let row = self.audit_row(&rows, id, unpack_row(row)?)?;
                goes_on = !filter.wants(&row) || each(row)?;
                Ok(goes_on)
            })?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    fn audit_row(&self, rows: &ReadTxn, log: LogId, row: EntryRow) -> Result<AuditRow> {
        let event = AuditEvent::parse(&row.entry)?;
        let detail = |leaf: &DetailRow| match leaf {
            DetailRow::Withheld(_) => Ok(None),
            DetailRow::Open(_, bytes) => Detail::parse(bytes).map(Some),
        };
        let details = row.leaves.iter().map(detail).collect::<Result<_>>()?;
        let records = match (event.actor, event.subject) {
            (Actor::Person(author), Subject::Commit(seq, id)) => {
                let replica = log.replica;
                self.records_of(rows, &ChainId { author, replica }, seq, &id)?
            }
            _ => Vec::new(),
        };
        Ok(AuditRow {
            line: AuditLine {
                log,
                event,
                details,
            },
            records,
        })
    }

    /// The records that a commit changed.
    fn records_of(
        &self,
        rows: &ReadTxn,
        chain: &ChainId,
        seq: u64,
        id: &CommitId,
    ) -> Result<Vec<RecordId>> {
        let Some(no) = branches::locate(rows, &self.core, chain, seq, id)? else {
            return Ok(Vec::new());
        };
        let Some(row) = load_commit(rows, no, seq)? else {
            return Ok(Vec::new());
        };
        let record = |leaf: &crate::vault::commit_row::LeafRow| match leaf.entry() {
            Ok(Some(Entry::Change(entry))) => Some(entry.record),
            _ => None,
        };
        Ok(row.leaves.iter().filter_map(record).collect())
    }

    /// The log of this device as a proof for others, written down as given away and signed to its
    /// end. `reveal`: with the names of records, searches and reasons in clear.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be written down.
    pub fn prove_audit(&mut self, reveal: bool) -> Result<AuditProof> {
        self.note_first(Note::new(Action::PROVE, Vec::new()))?;
        self.end_audit()?;
        self.audit_proof(reveal)
    }

    /// Checks the log of this device, and that it does not end before what it signed and others
    /// hold.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be read; what does not hold is in the report.
    pub fn verify_audit(&mut self) -> Result<AuditReport> {
        self.end_audit()?;
        Ok(self.audit_proof(false)?.verify(&self.audit_heads()?))
    }

    /// The heads of audit logs that are known here: this device's, and what others left.
    ///
    /// # Errors
    /// [`Error::Storage`] if they cannot be read.
    pub fn audit_heads(&self) -> Result<Vec<Head>> {
        let heads = self.store.read()?.all(&[kind::AUDIT_HEAD])?;
        heads.iter().map(|(_, row)| Head::parse(row)).collect()
    }

    /// The public key of the workspace's authority: what a stranger checks a log against.
    ///
    /// # Errors
    /// [`Error::Refused`] without a workspace.
    pub fn authority(&self) -> Result<[u8; 32]> {
        self.core.workspace().map(|workspace| workspace.authority)
    }

    fn audit_proof(&self, reveal: bool) -> Result<AuditProof> {
        self.core.workspace()?;
        let rows = self.store.read()?;
        let mut logs = Vec::new();
        for (key, row) in rows.all(&[kind::AUDIT_LOG])? {
            let (no, id) = (log::log_no(&key)?, unpack_row::<LogId>(&row)?);
            let mut entries = Vec::new();
            let prefix = rows::of_chain(kind::AUDIT, no);
            rows.scan(&prefix, &prefix, &mut |_, row| {
                entries.push(proof_entry(&rows, &id, unpack_row(row)?, reveal)?);
                Ok(true)
            })?;
            // Of others only heads are here.
            if entries.is_empty() {
                continue;
            }
            let heads = rows.all(&rows::of_chain(kind::AUDIT_HEAD, no))?;
            let heads = heads
                .iter()
                .take(HEADS_MAX)
                .map(|(_, row)| Head::parse(row));
            logs.push(ProofLog {
                id,
                entries,
                heads: heads.collect::<Result<_>>()?,
            });
        }
        Ok(AuditProof {
            membership: (*self.core.membership).clone(),
            logs,
        })
    }
}

fn proof_entry(rows: &ReadTxn, log: &LogId, row: EntryRow, reveal: bool) -> Result<ProofEntry> {
    let seq = AuditEvent::parse(&row.entry).map_or(0, |event| event.seq);
    let mut leaves = Vec::with_capacity(row.leaves.len());
    for (index, leaf) in (0u32..).zip(row.leaves) {
        leaves.push(match leaf {
            DetailRow::Withheld(hash) => ProofLeaf::Withheld(hash),
            DetailRow::Open(key, bytes) => {
                let missing = Error::integrity("the data key of an audit entry is missing");
                let key = load_data_key(rows, &key)?.ok_or(missing)?;
                let salt = salt(key.key.expose(), log, seq, index);
                if reveal {
                    ProofLeaf::Shown(salt, bytes)
                } else {
                    ProofLeaf::Withheld(entry::leaf(&salt, &bytes))
                }
            }
        });
    }
    Ok(ProofEntry {
        bytes: row.entry,
        leaves,
    })
}
