//! Judging records again when certificates, revocations or a pack arrive after them.

use crate::doc::state::RecordState;
use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::ledger::membership::Membership;
use crate::vault::core::{Core, Work, load_commit, load_record};
use crate::vault::rows::{self, Rows, kind};
use crate::vault::write::{history, write_record};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Judges the records again whose authors' standing changed.
pub(crate) fn after_membership(work: &mut Work, before: &Arc<Membership>) -> Result<()> {
    let old = Core {
        membership: Arc::clone(before),
        ..work.core.clone()
    };
    let mut touched = BTreeSet::new();
    for no in 0..work.core.chains.len() {
        let no = u32::try_from(no).unwrap_or(u32::MAX);
        let chain = *work.core.chain(no)?;
        for seq in 1..=chain.max_seq {
            if old.standing(&chain.id, seq) == work.core.standing(&chain.id, seq) {
                continue;
            }
            if let Some(row) = load_commit(work, no, seq)? {
                for leaf in &row.leaves {
                    if let Some((entry, _)) = leaf.change()? {
                        touched.insert(entry.record);
                    }
                }
            }
        }
    }
    judge(work, touched)
}

/// Judges all records again, by the pack that is now in force.
pub(crate) fn after_pack(work: &mut Work) -> Result<()> {
    // Their index rows follow from the old pack: all go, all are written again.
    for kind in [kind::INDEX, kind::RULE] {
        for (key, _) in work.all(&[kind])? {
            work.txn.delete(key);
        }
    }
    let mut all = BTreeSet::new();
    work.scan(&[kind::STATE], &[kind::STATE], &mut |key, _| {
        let id = std::str::from_utf8(key.get(1..).unwrap_or_default()).unwrap_or_default();
        all.insert(id.parse()?);
        Ok(true)
    })?;
    judge(work, all)
}

fn judge(work: &mut Work, records: BTreeSet<RecordId>) -> Result<()> {
    for record in records {
        let Some((state, view)) = load_record(work, &record)? else {
            continue;
        };
        let rules = Arc::clone(work.core.rules(&record));
        let all = history(work, &record, &state)?;
        let state = RecordState::replay(all, &rules)
            .map_err(|fault| Error::integrity_at("a record's history", fault))?;
        write_record(work, &record, Some(&view), &state, &rules)?;
    }
    Ok(())
}

/// Removes every row that follows from the ledger.
pub(crate) fn clear_derived(work: &mut Work) -> Result<()> {
    for kind in rows::DERIVED {
        for (key, _) in work.all(&[kind])? {
            work.txn.delete(key);
        }
    }
    Ok(())
}
