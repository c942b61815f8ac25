//! The gate: foreign commits enter the ledger, and the view when all their causes are here.
//!
//! Only structure is judged: signature and chain by the ledger, changes by `doc`. Authority never
//! blocks entry; it is judged in the view. A contradiction quarantines its commit, with evidence,
//! and the rest goes on.

use crate::doc::state::{Incoming, Readiness, RecordState};
use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::ledger::batch::VerifiedRun;
use crate::ledger::commit::{Header, check_link};
use crate::ledger::entry::Entry;
use crate::ledger::equivocation::Equivocation;
use crate::ledger::wire::{VerifiedBatch, WireLeaf, open_leaf};
use crate::vault::Vault;
use crate::vault::commit_row::{CommitRow, LeafRow};
use crate::vault::core::{Work, load_commit, load_data_key, load_record};
use crate::vault::open::take_items;
use crate::vault::rows::{self, Rows, kind};
use crate::vault::seal::{batch_row, put_batch};
use crate::vault::write::{history, open_change, write_record};
use std::sync::Arc;

/// What came of received batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Received {
    /// Commits that are new here.
    pub commits: u64,
    /// Commits that were here already.
    pub duplicates: u64,
    /// Commits that wait for causes or keys.
    pub pending: u64,
    /// Commits that contradict themselves, kept as evidence.
    pub quarantined: u64,
    /// Places at which an author signed two different commits.
    pub equivocations: u64,
}

/// What came of one commit.
enum Delivery {
    Visible,
    Waits,
    Fault(&'static str),
}

impl Vault {
    /// Takes up verified batches: durable as a whole when this returns.
    pub(crate) fn receive(&mut self, batches: Vec<VerifiedBatch>) -> Result<Received> {
        self.work(|work, _| {
            let mut received = Received::default();
            for batch in &batches {
                take_batch(work, batch, &mut received)?;
            }
            retry(work, &mut received)?;
            Ok(received)
        })
    }

    /// Tries again what waits: new data keys may have arrived.
    pub(crate) fn retry_pending(&mut self) -> Result<Received> {
        self.work(|work, _| {
            let mut received = Received::default();
            retry(work, &mut received)?;
            Ok(received)
        })
    }
}

fn take_batch(work: &mut Work, batch: &VerifiedBatch, received: &mut Received) -> Result<()> {
    let run = batch.run();
    if run.batch().workspace != work.core.workspace()?.id {
        return Err(Error::Refused {
            what: "this batch belongs to another workspace",
            hint: "exchange only with devices of the same workspace",
        });
    }
    let chain = work.number_chain(&run.batch().chain)?;
    let now = work.env.now_ms();
    let (mut new, mut clean) = (Vec::new(), true);
    for (i, (header, leaves)) in batch.commits().enumerate() {
        work.core.clock.observe(header.fields().hlc, now);
        let seq = header.fields().seq;
        match load_commit(work, chain, seq)? {
            Some(row) if row.header == header.bytes() => {
                received.duplicates += 1;
                if fill_in(work, chain, seq, row, batch, (i, leaves))? {
                    new.push(seq);
                }
            }
            Some(_) => {
                clean = false;
                received.equivocations += 1;
                keep_evidence(work, chain, seq, run)?;
            }
            None if !links(work, chain, header)? => {
                clean = false;
                received.equivocations += 1;
                keep_evidence(work, chain, seq, run)?;
            }
            None => {
                let (row, fault) = open_commit(work, batch, i, header, leaves)?;
                work.txn
                    .put(rows::in_chain(kind::COMMIT, chain, seq), row.to_bytes());
                work.core.counts.commits += 1;
                received.commits += 1;
                extend_chain(work, chain, header)?;
                match fault {
                    Some(reason) => quarantine(work, chain, seq, reason, received),
                    None => new.push(seq),
                }
            }
        }
    }
    if clean {
        put_batch(work, chain, run.signed(), run.headers());
        let last = run.batch().last;
        let known = work.chain_mut(chain)?;
        known.sealed = known.sealed.max(last);
    }
    for seq in new {
        settle(work, chain, seq, received)?;
    }
    Ok(())
}

/// Puts leaves in place that were withheld when the commit first came.
fn fill_in(
    work: &mut Work,
    chain: u32,
    seq: u64,
    mut row: CommitRow,
    batch: &VerifiedBatch,
    (i, leaves): (usize, &[WireLeaf]),
) -> Result<bool> {
    let withheld = |leaf: &LeafRow| matches!(leaf, LeafRow::Withheld(_));
    if !row.leaves.iter().any(withheld) {
        return Ok(false);
    }
    let header = row.header()?;
    let (fuller, fault) = open_commit(work, batch, i, &header, leaves)?;
    let gained = fuller.leaves.iter().filter(|l| !withheld(l)).count()
        > row.leaves.iter().filter(|l| !withheld(l)).count();
    if gained && fault.is_none() {
        row.leaves = fuller.leaves;
        work.txn
            .put(rows::in_chain(kind::COMMIT, chain, seq), row.to_bytes());
    }
    Ok(gained && fault.is_none())
}

/// Whether a commit fits its neighbours in the chain, as far as they are here.
fn links(work: &Work, chain: u32, header: &Header) -> Result<bool> {
    let seq = header.fields().seq;
    let tip = work.core.chain(chain)?.tip();
    if tip.seq + 1 == seq && check_link(&tip, header).is_err() {
        return Ok(false);
    }
    let before = match seq.checked_sub(1) {
        Some(0) | None => None,
        Some(before) => load_commit(work, chain, before)?,
    };
    if let Some(before) = before
        && check_link(&before.header()?.tip(), header).is_err()
    {
        return Ok(false);
    }
    match load_commit(work, chain, seq.saturating_add(1))? {
        Some(after) => Ok(check_link(&header.tip(), &after.header()?).is_ok()),
        None => Ok(true),
    }
}

/// Moves the chain's end over what is here without a gap.
fn extend_chain(work: &mut Work, no: u32, header: &Header) -> Result<()> {
    let mut tip = work.core.chain(no)?.tip();
    let mut next = header.fields().seq;
    let max = work.core.chain(no)?.max_seq.max(next);
    if tip.seq + 1 == next {
        tip = header.tip();
        next += 1;
        while next <= max {
            let Some(row) = load_commit(work, no, next)? else {
                break;
            };
            tip = row.header()?.tip();
            next += 1;
        }
    }
    let chain = work.chain_mut(no)?;
    (chain.seq, chain.tip, chain.hlc, chain.max_seq) = (tip.seq, tip.id, tip.hlc, max);
    Ok(())
}

/// Opens a commit's leaves with the keys that are here. The second part names a contradiction.
fn open_commit(
    work: &Work,
    batch: &VerifiedBatch,
    commit: usize,
    header: &Header,
    leaves: &[WireLeaf],
) -> Result<(CommitRow, Option<&'static str>)> {
    let mut row = CommitRow {
        header: header.bytes().to_vec(),
        leaves: Vec::new(),
    };
    let mut fault = None;
    for (index, leaf) in (0u32..).zip(leaves) {
        let mut stored = LeafRow::from(leaf);
        match leaf {
            WireLeaf::Sealed { .. } => match open_stored(work, header, index, &stored)? {
                Ok(Some(opened)) => stored = opened,
                Ok(None) => {}
                Err(reason) => fault = Some(reason),
            },
            WireLeaf::Item(_) if batch.item(commit, index).is_err() => {
                fault = Some("an item is malformed");
            }
            _ => {}
        }
        row.leaves.push(stored);
    }
    Ok((row, fault))
}

/// Opens a sealed leaf if its key is here.
fn open_stored(
    work: &Work,
    header: &Header,
    index: u32,
    leaf: &LeafRow,
) -> Result<std::result::Result<Option<LeafRow>, &'static str>> {
    let LeafRow::Sealed {
        key,
        leaf,
        nonce,
        body,
    } = leaf
    else {
        return Ok(Ok(None));
    };
    let Some(data_key) = load_data_key(work, key)? else {
        return Ok(Ok(None));
    };
    let wire = WireLeaf::Sealed {
        key: *key,
        leaf: *leaf,
        nonce: *nonce,
        body: body.clone(),
    };
    Ok(
        match open_leaf(header, index, &wire, data_key.key.expose()) {
            Ok(opened) => Ok(Some(LeafRow::Change {
                key: *key,
                entry: opened.entry_bytes,
                change: opened.change,
            })),
            Err(_) => Err("a sealed change is damaged or not what was committed"),
        },
    )
}

fn quarantine(work: &mut Work, chain: u32, seq: u64, reason: &str, received: &mut Received) {
    received.quarantined += 1;
    work.txn.put(
        rows::in_chain(kind::QUARANTINE, chain, seq),
        reason.as_bytes().to_vec(),
    );
    work.txn.delete(rows::in_chain(kind::PENDING, chain, seq));
}

/// Keeps the proof that an author signed two different commits at one place; without the other
/// batch's seal, which our own unsealed commits lack, the contradicting run itself.
fn keep_evidence(work: &mut Work, chain: u32, seq: u64, run: &VerifiedRun) -> Result<()> {
    let proof = known_run(work, chain, seq)?.and_then(|known| Equivocation::between(&known, run));
    let signed = run.signed();
    let bytes = match proof {
        Some(proof) => proof.bytes().to_vec(),
        None => [&signed.signature[..], &signed.header].concat(),
    };
    work.txn
        .put(rows::in_chain(kind::EVIDENCE, chain, seq), bytes);
    Ok(())
}

/// The stored batch that holds a place of a chain, verified again.
fn known_run(work: &Work, chain: u32, seq: u64) -> Result<Option<VerifiedRun>> {
    let mut found = None;
    let prefix = rows::of_chain(kind::BATCH, chain);
    work.scan(&prefix, &prefix, &mut |key, row| {
        let first = rows::place(key).map_or(u64::MAX, |(_, first)| first);
        if first <= seq {
            found = batch_row(row).map(|signed| (first, signed));
        }
        Ok(first <= seq)
    })?;
    let Some((first, signed)) = found else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    let last = signed.verify_signature()?.last;
    for at in first..=last {
        let Some(row) = load_commit(work, chain, at)? else {
            return Ok(None);
        };
        headers.push(row.header()?);
    }
    Ok(signed.verify(headers).ok())
}

/// Delivers a stored commit, or notes why not.
pub(crate) fn settle(
    work: &mut Work,
    chain: u32,
    seq: u64,
    received: &mut Received,
) -> Result<bool> {
    let waiting = rows::in_chain(kind::PENDING, chain, seq);
    match deliver(work, chain, seq)? {
        Delivery::Visible => {
            work.txn.delete(waiting);
            Ok(true)
        }
        Delivery::Waits => {
            work.txn.put(waiting, Vec::new());
            Ok(false)
        }
        Delivery::Fault(reason) => {
            quarantine(work, chain, seq, reason, received);
            Ok(false)
        }
    }
}

/// Tries what waits until nothing more becomes visible.
pub(crate) fn retry(work: &mut Work, received: &mut Received) -> Result<()> {
    loop {
        let waiting = work.all(&[kind::PENDING])?;
        received.pending = waiting.len() as u64;
        let mut moved = false;
        for (key, _) in waiting {
            if let Some((chain, seq)) = rows::place(&key) {
                moved |= settle(work, chain, seq, received)?;
            }
        }
        if !moved {
            received.pending = work.all(&[kind::PENDING])?.len() as u64;
            return Ok(());
        }
    }
}

/// Makes a commit visible as a whole, if all its causes are here.
fn deliver(work: &mut Work, chain: u32, seq: u64) -> Result<Delivery> {
    let Some(mut row) = load_commit(work, chain, seq)? else {
        return Ok(Delivery::Waits);
    };
    let header = row.header()?;
    let mut opened = false;
    for (index, leaf) in (0u32..).zip(&mut row.leaves) {
        if !matches!(leaf, LeafRow::Sealed { .. }) {
            continue;
        }
        match open_stored(work, &header, index, leaf)? {
            Ok(Some(change)) => (*leaf, opened) = (change, true),
            Ok(None) => return Ok(Delivery::Waits),
            Err(reason) => return Ok(Delivery::Fault(reason)),
        }
    }
    if opened {
        work.txn
            .put(rows::in_chain(kind::COMMIT, chain, seq), row.to_bytes());
    }
    let changes = match changes(work, chain, &header, &row)? {
        Ok(changes) => changes,
        Err(reason) => return Ok(Delivery::Fault(reason)),
    };
    let mut written: Vec<(RecordId, Option<String>, RecordState)> = Vec::new();
    for (record, incoming) in changes {
        if written.iter().any(|(other, _, _)| *other == record) {
            return Ok(Delivery::Fault("a commit changes one record twice"));
        }
        let loaded = load_record(work, &record)?;
        let (mut state, view) = loaded.map_or_else(Default::default, |(s, v)| (s, Some(v)));
        match state.check(&incoming) {
            Ok(Readiness::Ready) => {}
            Ok(Readiness::Waits) => return Ok(Delivery::Waits),
            Ok(Readiness::Duplicate) => {
                return Ok(Delivery::Fault("a change stands in two commits"));
            }
            Err(_) => return Ok(Delivery::Fault("a change contradicts its causes")),
        }
        let rules = Arc::clone(work.core.rules(&record));
        if !state.apply(&incoming, &rules) {
            let mut all = history(work, &record, &state)?;
            all.push(incoming);
            match RecordState::replay(all, &rules) {
                Ok(replayed) => state = replayed,
                Err(_) => {
                    return Ok(Delivery::Fault(
                        "a change replaces what did not stand there",
                    ));
                }
            }
        }
        written.push((record, view, state));
    }
    for (record, view, state) in written {
        let rules = Arc::clone(work.core.rules(&record));
        write_record(work, &record, view.as_deref(), &state, &rules)?;
    }
    take_items(work, chain, seq)?;
    Ok(Delivery::Visible)
}

type Changes = Vec<(RecordId, Incoming)>;

/// A commit's changes, each past the gate; the inner error names the structural fault.
fn changes(
    work: &Work,
    chain: u32,
    header: &Header,
    row: &CommitRow,
) -> Result<std::result::Result<Changes, &'static str>> {
    let fields = header.fields();
    let standing = work.core.standing(&fields.chain, fields.seq);
    let actor = fields.chain.actor();
    let mut changes = Vec::new();
    for leaf in &row.leaves {
        let LeafRow::Change { entry, change, .. } = leaf else {
            continue;
        };
        let entry = match Entry::parse(entry) {
            Ok(Entry::Change(entry)) => entry,
            // Of a newer engine: kept, and not understood.
            Ok(Entry::Unknown(_)) => continue,
            _ => return Ok(Err("an entry is malformed")),
        };
        let Ok(incoming) = open_change(&entry, change, chain, fields.seq, standing) else {
            return Ok(Err("a change is malformed"));
        };
        if incoming.id != entry.change {
            return Ok(Err("a change is not the one that was committed"));
        }
        if incoming.change.actor != actor {
            return Ok(Err("a change's actor is not its author's"));
        }
        if incoming.change.hlc != fields.hlc {
            return Ok(Err("a change's time is not its commit's"));
        }
        changes.push((entry.record, incoming));
    }
    Ok(Ok(changes))
}
