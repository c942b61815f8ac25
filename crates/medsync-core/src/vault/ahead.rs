//! Edits worked out ahead: beside other writers, while none of them waits.
//!
//! Most of what an edit costs is reading a record, building its change and rendering it anew. All of
//! that follows from the record and from the commit's place and time. So it is done on a snapshot,
//! with a place and time that are likely; then, alone, the writer looks whether the records are still
//! what they were, and writes. If anything is not, the edit is worked out again in its place.

use crate::error::Result;
use crate::ids::{AuthorKey, ChainId, CommitId, RecordId};
use crate::ledger::commit::Intent;
use crate::model::pack::Lane;
use crate::store::ReadTxn;
use crate::time::Clock;
use crate::vault::Vault;
use crate::vault::core::{Core, NOT_MADE, Work};
use crate::vault::draft::{Draft, resolve_all};
use crate::vault::edit::{At, WorkedOut, put_record, work_out};
use crate::vault::rows::{self, kind};
use crate::vault::write::{OwnCommit, Signer};
use std::fmt;
use std::sync::Arc;

/// What edits are worked out on.
pub(crate) struct Snapshot {
    core: Core,
    rows: ReadTxn,
    author: AuthorKey,
}

/// Edits that are worked out, for one place and time.
pub(crate) struct Ahead {
    core: Core,
    at: At,
    lane: Lane,
    records: Vec<Record>,
}

struct Record {
    id: RecordId,
    /// The state row it was worked out on.
    was: Option<Vec<u8>>,
    out: WorkedOut,
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ahead({} records)", self.records.len())
    }
}

impl Vault {
    /// What the next commit builds on; `None` if nobody could make it.
    pub(crate) fn snapshot(&self) -> Result<Option<Snapshot>> {
        let Some(signer) = &self.signer else {
            return Ok(None);
        };
        Ok(Some(Snapshot {
            core: self.core.clone(),
            rows: self.store.get()?.read_staged()?,
            author: signer.author,
        }))
    }
}

impl Snapshot {
    /// The last time that the vault's clock gave.
    pub(crate) const fn clock(&self) -> Clock {
        self.core.clock
    }

    /// Works edits out for the `ahead`-th commit from the present end of the author's chain. `None` if
    /// they are not worked out ahead: whoever commits them in their place finds out what they do.
    pub(crate) fn work_out(self, drafts: &[Draft], ahead: u64, clock: &Clock) -> Option<Ahead> {
        let id = ChainId {
            author: self.author,
            replica: self.core.meta.replica,
        };
        let chain = self.core.chain_no(&id)?;
        let tip = self.core.chain(chain).ok()?.tip();
        let seq = tip.seq.checked_add(1)?.checked_add(ahead)?;
        let at = At {
            chain,
            seq,
            id,
            hlc: clock.last(),
            standing: self.core.standing(&id, seq, &NOT_MADE),
        };
        let resolved = resolve_all(&self.rows, &self.core, drafts.to_vec()).ok()?;
        let lane = |r: &crate::vault::draft::Resolved| self.core.rules(&r.edit.record).lane();
        let lane = resolved.iter().map(lane).min()?;
        let mut records = Vec::with_capacity(resolved.len());
        for one in resolved {
            let id = one.edit.record.clone();
            let was = self.rows.get(&rows::of_record(kind::STATE, &id)).ok()?;
            let out = work_out(&self.rows, &self.core, &at, one).ok()?;
            records.push(Record { id, was, out });
        }
        Some(Ahead {
            core: self.core,
            at,
            lane,
            records,
        })
    }
}

impl Ahead {
    /// Writes what was worked out as the next commit; `None`, and nothing is written, if it does not
    /// fit any more.
    pub(crate) fn write(mut self, work: &mut Work, signer: &Signer) -> Result<Option<CommitId>> {
        if !self.fits(work, signer)? {
            return Ok(None);
        }
        work.core.clock = Clock::resume(work.core.clock.last().max(self.at.hlc));
        let intent = Intent::Edit;
        let mut commit = OwnCommit::at(work, signer, intent, self.lane, self.at.hlc)?;
        for record in &mut self.records {
            record.out.move_to(&self.core, &record.id, commit.place().1);
        }
        for record in self.records {
            put_record(work, &mut commit, record.out)?;
        }
        commit.store(work).map(Some)
    }

    fn fits(&self, work: &mut Work, signer: &Signer) -> Result<bool> {
        let (then, now) = (&self.core, &work.core);
        let same = Arc::ptr_eq(&then.pack, &now.pack)
            && Arc::ptr_eq(&then.membership, &now.membership)
            && Arc::ptr_eq(&then.forks, &now.forks)
            && signer.author == self.at.id.author
            && now.chain_no(&self.at.id) == Some(self.at.chain);
        if !same || OwnCommit::own_chain(work, signer)? != (self.at.chain, self.at.id) {
            return Ok(false);
        }
        let tip = work.core.chain(self.at.chain)?.tip();
        let standing = work.core.standing(&self.at.id, tip.seq + 1, &NOT_MADE);
        if self.at.hlc < tip.hlc || standing != self.at.standing {
            return Ok(false);
        }
        for record in &self.records {
            let is = work.txn.get(&rows::of_record(kind::STATE, &record.id))?;
            if is != record.was {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
