//! Judging records again when certificates, revocations or a pack arrive after them.

use crate::doc::state::RecordState;
use crate::error::{Error, Result};
use crate::ids::{ChainId, RecordId};
use crate::ledger::membership::{Membership, Standing};
use crate::vault::commit_row::CommitRow;
use crate::vault::core::{Core, NOT_MADE, Work, load_record};
use crate::vault::open::active_pack;
use crate::vault::rows::{self, Rows, kind};
use crate::vault::write::{history_of, write_record};
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
        if work.core.forks.has(&chain.id) {
            of_branches(work, &old, no, &mut touched)?;
            continue;
        }
        // Between two cuts all commits of a chain have the same standing. Places are no count of
        // commits: a chain may go from its first to any other.
        let mut low = 0;
        let cuts = [cut(&old, &chain.id), cut(&work.core, &chain.id)];
        for high in [cuts[0].min(cuts[1]), cuts[0].max(cuts[1]), u64::MAX] {
            let then = old.standing(&chain.id, high, &NOT_MADE);
            let same = then == work.core.standing(&chain.id, high, &NOT_MADE);
            if low < high && !same {
                records_of(work, no, low + 1, high, &mut touched)?;
            }
            low = low.max(high);
        }
    }
    judge(work, touched)
}

/// Judges again what a branch that arrived takes authority from, or gives it to.
pub(crate) fn after_forks(work: &mut Work) -> Result<()> {
    if Arc::ptr_eq(work.core.membership.forks(), &work.core.forks) {
        return Ok(());
    }
    let before = Arc::clone(&work.core.membership);
    let forks = Arc::clone(&work.core.forks);
    if !Arc::make_mut(&mut work.core.membership).set_forks(forks) {
        return Ok(());
    }
    let pack = active_pack(work, &work.core)?;
    if pack.hash() == work.core.pack.hash() {
        after_membership(work, &before)
    } else {
        work.core.pack = pack;
        after_pack(work)
    }
}

/// The records whose commits under a number of a chain that forked have another standing now.
fn of_branches(work: &Work, old: &Core, no: u32, records: &mut BTreeSet<RecordId>) -> Result<()> {
    let prefix = rows::of_chain(kind::COMMIT, no);
    work.scan(&prefix, &prefix, &mut |_, row| {
        let row = CommitRow::from_bytes(row)?;
        let header = row.header()?;
        let (fields, id) = (header.fields(), header.id());
        let then = old.standing(&fields.chain, fields.seq, &id);
        if then != work.core.standing(&fields.chain, fields.seq, &id) {
            for leaf in &row.leaves {
                if let Some((entry, _)) = leaf.change()? {
                    records.insert(entry.record);
                }
            }
        }
        Ok(true)
    })
}

/// The last place of a chain that still has authority.
fn cut(core: &Core, chain: &ChainId) -> u64 {
    match core.membership.role_of(chain, u64::MAX, &NOT_MADE) {
        Standing::Revoked { last_accepted } => last_accepted,
        _ => u64::MAX,
    }
}

/// The records that the commits at these places of a chain change.
fn records_of(
    work: &Work,
    no: u32,
    first: u64,
    last: u64,
    records: &mut BTreeSet<RecordId>,
) -> Result<()> {
    let prefix = rows::of_chain(kind::COMMIT, no);
    let from = rows::in_chain(kind::COMMIT, no, first);
    work.scan(&prefix, &from, &mut |key, row| {
        let within = rows::place(key).is_some_and(|(_, seq)| seq <= last);
        if within {
            for leaf in &CommitRow::from_bytes(row)?.leaves {
                if let Some((entry, _)) = leaf.change()? {
                    records.insert(entry.record);
                }
            }
        }
        Ok(within)
    })
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
        let all = history_of(work, &record, &state)?;
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
