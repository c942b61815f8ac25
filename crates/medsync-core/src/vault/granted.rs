//! Certificates and revocations that came with a grant, until the ledger has their commits.

use crate::error::Result;
use crate::ids::{AuthorKey, ChainId, CommitId, ReplicaId};
use crate::ledger::entry::ItemKind;
use crate::ledger::membership::{Carrier, MemberItem, Membership};
use crate::time::Timestamp;
use crate::vault::core::{Work, load_commit, pack_row, unpack_row};
use crate::vault::open::ledger_items;
use crate::vault::rows::{self, Rows, kind};
use std::sync::Arc;

/// Kind, bytes and carrier.
type Granted = (u8, Vec<u8>, AuthorKey, ReplicaId, u64, i64);

const ROW: &str = "grant";

/// Keeps what a grant lists.
pub(crate) fn put<'a>(work: &mut Work, items: impl Iterator<Item = (&'a MemberItem, &'a Carrier)>) {
    let granted = |(item, c): (&MemberItem, &Carrier)| -> Granted {
        let bytes = item.bytes().to_vec();
        let chain = c.chain;
        (
            item.kind().0,
            bytes,
            chain.author,
            chain.replica,
            c.seq,
            c.hlc.0,
        )
    };
    let items: Vec<Granted> = items.map(granted).collect();
    work.txn.put(rows::meta(ROW), pack_row(&items));
}

/// What came with the grant and is not in the ledger yet.
pub(crate) fn load(rows: &dyn Rows) -> Result<Vec<(MemberItem, Carrier)>> {
    let mut out = Vec::new();
    for (kind, bytes, author, replica, seq, hlc) in stored(rows)? {
        if let Some(item) = MemberItem::parse(ItemKind(kind), &bytes)? {
            let chain = ChainId { author, replica };
            let carrier = Carrier {
                hlc: Timestamp(hlc),
                chain,
                seq,
                commit: CommitId([0; 32]),
            };
            out.push((item, carrier));
        }
    }
    Ok(out)
}

/// Forgets what the grant said of commits that are here now; returns the membership that follows
/// from the rest and the ledger, or nothing if the grant said nothing of them.
///
/// What an admin claimed that a commit brings counts only until the commit can be asked.
pub(crate) fn forget_arrived(work: &mut Work) -> Result<Option<Membership>> {
    let mut left = stored(work)?;
    let before = left.len();
    let mut here = Vec::with_capacity(before);
    for (.., author, replica, seq, _) in &left {
        let chain = ChainId {
            author: *author,
            replica: *replica,
        };
        here.push(arrived(work, &chain, *seq)?);
    }
    let mut here = here.into_iter();
    left.retain(|_| !here.next().unwrap_or(false));
    if left.len() == before {
        return Ok(None);
    }
    if left.is_empty() {
        work.txn.delete(rows::meta(ROW));
    } else {
        work.txn.put(rows::meta(ROW), pack_row(&left));
    }
    let mut membership = Membership::new(*work.core.membership.authority());
    membership.set_forks(Arc::clone(&work.core.forks));
    let mut items = load(work)?;
    items.extend(ledger_items(work)?);
    membership.extend(items);
    Ok(Some(membership))
}

fn stored(rows: &dyn Rows) -> Result<Vec<Granted>> {
    let row = rows.get(&rows::meta(ROW))?;
    row.map_or_else(|| Ok(Vec::new()), |row| unpack_row(&row))
}

/// Whether the commit at a place is here and its items have taken effect, or never will.
fn arrived(work: &Work, chain: &ChainId, seq: u64) -> Result<bool> {
    let Some(no) = work.core.chain_no(chain) else {
        return Ok(false);
    };
    let there = |kind| Ok(work.get(&rows::in_chain(kind, no, seq))?.is_some());
    if there(kind::ITEM)? || there(kind::QUARANTINE)? {
        return Ok(true);
    }
    let row = load_commit(work, no, seq)?;
    Ok(row.is_some_and(|row| row.is_whole() && !row.has_items()))
}
