//! The heads of other devices' logs.

use crate::error::Result;
use crate::ledger::audit::{AuditEvent, Head, HeadTerms, LogId};
use crate::ledger::merkle::Hash;
use crate::store::WriteTxn;
use crate::vault::Vault;
use crate::vault::audit::{EntryRow, log};
use crate::vault::core::unpack_row;
use crate::vault::rows::{self, Rows, kind};

/// Most heads that are kept of one log: the newest, and those that contradict it.
const KEPT: usize = 8;

impl Vault {
    /// Keeps heads that somebody left: the newest of each log, and what contradicts it.
    pub(crate) fn keep_heads(&mut self, heads: Vec<Head>) -> Result<()> {
        let rows = self.store.read()?;
        // What lies here was verified when it came.
        let terms = |(_, row): &rows::Row| Head::claims(row).map(|(terms, ..)| terms);
        let held = rows.all(&[kind::AUDIT_HEAD])?;
        let held = held.iter().map(terms).collect::<Result<Vec<_>>>()?;
        let mut new = Vec::new();
        for head in heads {
            if says_more(&rows, &head, &held)? {
                new.push(head);
            }
        }
        drop(rows);
        if new.is_empty() {
            return Ok(());
        }
        self.work(|work, _| {
            for head in new {
                keep(&mut work.txn, &head)?;
            }
            Ok(())
        })
    }
}

/// Whether a head is news beside those that are held, or beside the entries that are here.
fn says_more(rows: &dyn Rows, head: &Head, held: &[HeadTerms]) -> Result<bool> {
    let terms = head.terms();
    let of_log = || held.iter().filter(|h| h.log == terms.log);
    if of_log().any(|h| (h.seq, h.hash) == (terms.seq, terms.hash)) {
        return Ok(false);
    }
    if let Some(hash) = hash_at(rows, terms)? {
        return Ok(hash != terms.hash);
    }
    let newer = of_log().all(|h| h.seq < terms.seq);
    Ok(newer || of_log().any(|h| h.seq == terms.seq))
}

fn keep(txn: &mut WriteTxn, head: &Head) -> Result<()> {
    let terms = head.terms();
    let no = log::number(txn, &terms.log)?;
    let all = txn.all(&rows::of_chain(kind::AUDIT_HEAD, no))?;
    let others: Vec<_> = all
        .into_iter()
        .filter(|(key, _)| key.len() > OWN_KEY)
        .collect();
    if others.len() >= KEPT {
        return Ok(());
    }
    // Where the entries are here, an older head is kept because it contradicts them.
    let own = txn.get(&rows::of_chain(kind::AUDIT_HEAD, no))?.is_some();
    let older = |row: &[u8]| Head::parse(row).is_ok_and(|h| h.terms().seq < terms.seq);
    for (key, row) in &others {
        if !own && older(row) {
            txn.delete(key.clone());
        }
    }
    txn.put(head_row(no, head), head.to_bytes());
    Ok(())
}

/// The key of a log's own head is shorter than those of heads that others brought.
const OWN_KEY: usize = 5;

/// Two heads of one length are two rows: they prove that a log was written twice.
fn head_row(no: u32, head: &Head) -> Vec<u8> {
    let terms = head.terms();
    let place = rows::in_chain(kind::AUDIT_HEAD, no, terms.seq);
    [&place[..], &terms.hash[..8]].concat()
}

/// The chain's hash after the entry that a head covers last, where the entries are here.
fn hash_at(rows: &dyn Rows, terms: &HeadTerms) -> Result<Option<Hash>> {
    for (key, row) in rows.all(&[kind::AUDIT_LOG])? {
        if unpack_row::<LogId>(&row)? != terms.log {
            continue;
        }
        let (mut hash, mut at) = (terms.log.start(), 0);
        let prefix = rows::of_chain(kind::AUDIT, log::log_no(&key)?);
        rows.scan(&prefix, &prefix, &mut |_, row| {
            hash = AuditEvent::chain(&hash, &unpack_row::<EntryRow>(row)?.entry);
            at += 1;
            Ok(at < terms.seq)
        })?;
        return Ok((at == terms.seq && at > 0).then_some(hash));
    }
    Ok(None)
}
