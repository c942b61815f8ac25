//! The gate: foreign commits enter the ledger, and the view when all their causes are here.
//!
//! Only structure is judged: signature and chain by the ledger, changes by `doc`. Authority never
//! blocks entry; it is judged in the view. A contradiction quarantines its commit, with evidence,
//! and the rest goes on.

use crate::doc;
use crate::doc::state::Incoming;
use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::ledger::batch::VerifiedRun;
use crate::ledger::commit::{Header, Intent};
use crate::ledger::entry::{Entry, ItemKind};
use crate::ledger::equivocation::Equivocation;
use crate::ledger::membership::MemberItem;
use crate::ledger::wire::{VerifiedBatch, WireLeaf};
use crate::model::pack::PolicyPack;
use crate::planted::{Bug, planted};
use crate::vault::branches::{self, Slot};
use crate::vault::commit_row::{CommitRow, LeafRow};
use crate::vault::core::{Work, load_commit};
use crate::vault::cost;
use crate::vault::incarnation::{self, Why};
use crate::vault::leaves::{self, Opened};
use crate::vault::live::{self, Judged};
use crate::vault::pending::Cause;
use crate::vault::rows::{self, Rows, kind};
use crate::vault::seal::{batch_row, put_batch};
use crate::vault::write::{Place, open_change};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Places at which an author signed two different commits: both are kept.
    pub equivocations: u64,
    /// Whether another copy of this vault wrote under its name: it goes on under a new one.
    pub new_incarnation: bool,
}

/// What came of one commit.
enum Delivery {
    Visible,
    Waits(Cause),
    Fault(&'static str),
}

/// Commits that are new here, or have more entries than before.
#[derive(Default)]
pub(crate) struct New {
    /// Of certificates, revocations and packs alone.
    pub(crate) items: Vec<(u32, u64)>,
    pub(crate) changes: Vec<(u32, u64)>,
}

/// Puts a batch's commits into the ledger.
pub(crate) fn take_batch(
    work: &mut Work,
    batch: &VerifiedBatch,
    new: &mut New,
    received: &mut Received,
) -> Result<()> {
    let run = batch.run();
    if run.batch().workspace != work.core.workspace()?.id {
        return Err(Error::Refused {
            what: "this batch belongs to another workspace",
            hint: "exchange only with devices of the same workspace",
        });
    }
    work.spent.add(cost::BATCH);
    let id = run.batch().chain;
    let main = work.number_chain(&id)?;
    let own = branches::is_own(work, &id)?;
    let now = work.env.now_ms();
    let (mut fork, mut last) = (None, main);
    let mut parts = BTreeMap::new();
    let before = received.commits;
    for (i, (header, leaves)) in batch.commits().enumerate() {
        work.core.clock.observe(header.fields().hlc, now);
        let seq = header.fields().seq;
        let chain = match branches::slot(work, main, header)? {
            Slot::Here(chain) => {
                last = chain;
                note_part(work, &mut parts, chain, seq)?;
                take_again(work, (chain, seq), header, leaves, new, received)?;
                continue;
            }
            Slot::Next(_) if seq.is_multiple_of(3) && planted(Bug::LostHeader) => continue,
            Slot::Next(chain) => chain,
            Slot::Fork => {
                received.equivocations += 1;
                fork = fork.or(Some(seq));
                work.open_branch(&id)?
            }
        };
        last = chain;
        note_part(work, &mut parts, chain, seq)?;
        let (row, fault) = leaves::take(work, (batch, i), header, leaves)?;
        put_commit(work, chain, seq, &row);
        branches::note(work, main, chain, header)?;
        work.core.counts.commits += 1;
        received.commits += 1;
        extend_chain(work, chain, header)?;
        match fault {
            Some(reason) => quarantine(work, chain, seq, reason, received),
            None if row.only_items() => new.items.push((chain, seq)),
            None => new.changes.push((chain, seq)),
        }
    }
    if let Some(first) = fork {
        keep_evidence(work, main, first, run)?;
    }
    put_batch(work, last, run.signed(), run.headers())?;
    for (no, part) in parts {
        let known = work.chain_mut(no)?;
        // Nobody else seals what was written here and waits for it.
        if !part.waits || part.first <= known.sealed.saturating_add(1) {
            known.sealed = known.sealed.max(part.last);
        }
    }
    if own && received.commits > before && !received.new_incarnation {
        incarnation::renew(work, Why::Exchange)?;
        received.new_incarnation = true;
    }
    Ok(())
}

/// The part of a batch that lies under one number of its chain: the branches of a fork may share it.
struct Part {
    first: u64,
    last: u64,
    /// Something was there already that no batch seals.
    waits: bool,
}

fn note_part(work: &Work, parts: &mut BTreeMap<u32, Part>, no: u32, seq: u64) -> Result<()> {
    let chain = work.core.chain(no)?;
    let part = parts.entry(no).or_insert(Part {
        first: seq,
        last: seq,
        waits: chain.sealed < chain.seq,
    });
    part.last = seq;
    Ok(())
}

/// Takes up what a commit that is here may have lacked.
fn take_again(
    work: &mut Work,
    (chain, seq): (u32, u64),
    header: &Header,
    leaves: &[WireLeaf],
    new: &mut New,
    received: &mut Received,
) -> Result<()> {
    received.duplicates += 1;
    if let Some(mut row) = load_commit(work, chain, seq)?
        && leaves::fill_in(work, header, &mut row, leaves)?
    {
        put_commit(work, chain, seq, &row);
        new.changes.push((chain, seq));
    }
    Ok(())
}

fn put_commit(work: &mut Work, chain: u32, seq: u64, row: &CommitRow) {
    work.spent.add(cost::COMMIT + cost::of_bytes(row.travels()));
    work.shelf.clear();
    work.txn
        .put(rows::in_chain(kind::COMMIT, chain, seq), row.to_bytes());
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

fn quarantine(work: &mut Work, chain: u32, seq: u64, reason: &str, received: &mut Received) {
    received.quarantined += 1;
    work.txn.put(
        rows::in_chain(kind::QUARANTINE, chain, seq),
        reason.as_bytes().to_vec(),
    );
    work.txn.delete(rows::in_chain(kind::PENDING, chain, seq));
}

/// Keeps the proof that an author signed two different commits from a place on: under the first
/// place at which this run differs, because each later commit names the one before it. Without the
/// other batch's seal, which our own unsealed commits lack, the contradicting run itself.
fn keep_evidence(work: &mut Work, chain: u32, first: u64, run: &VerifiedRun) -> Result<()> {
    let place = rows::in_chain(kind::EVIDENCE, chain, first);
    if work
        .get(&place)?
        .is_some_and(|row| Equivocation::parse(&row).is_ok())
    {
        return Ok(());
    }
    let known = known_run(work, chain, first)?;
    let proof = known.and_then(|known| Equivocation::between(&known, run));
    let signed = run.signed();
    let bytes = match proof {
        Some(proof) => proof.bytes().to_vec(),
        None => [&signed.signature[..], &signed.header].concat(),
    };
    work.txn.put(place, bytes);
    Ok(())
}

/// The stored batch that holds a place of a chain, verified again.
fn known_run(work: &Work, chain: u32, seq: u64) -> Result<Option<VerifiedRun>> {
    let mut found = None;
    let prefix = rows::of_chain(kind::BATCH, chain);
    work.scan(&prefix, &prefix, &mut |key, row| {
        let first = rows::place(key).map_or(u64::MAX, |(_, first)| first);
        if first <= seq {
            found = batch_row(row);
        }
        Ok(first <= seq)
    })?;
    let Some(signed) = found else {
        return Ok(None);
    };
    let Some(places) = branches::run(work, &work.core, &signed.verify_signature()?)? else {
        return Ok(None);
    };
    let mut headers = Vec::with_capacity(places.len());
    for (number, at) in places {
        let Some(row) = load_commit(work, number, at)? else {
            return Ok(None);
        };
        headers.push(row.header()?);
    }
    Ok(signed.verify(headers).ok())
}

/// Delivers a stored commit, or notes why not; returns what it waits for.
pub(crate) fn settle(
    work: &mut Work,
    chain: u32,
    seq: u64,
    received: &mut Received,
) -> Result<Option<Cause>> {
    // What contradicts itself does so for good, whatever else of it arrives.
    if work
        .get(&rows::in_chain(kind::QUARANTINE, chain, seq))?
        .is_some()
    {
        return Ok(None);
    }
    let waiting = rows::in_chain(kind::PENDING, chain, seq);
    Ok(match deliver(work, chain, seq)? {
        Delivery::Visible => {
            work.txn.delete(waiting);
            None
        }
        Delivery::Waits(cause) => {
            work.txn.put(waiting, cause.row());
            Some(cause)
        }
        Delivery::Fault(reason) => {
            quarantine(work, chain, seq, reason, received);
            None
        }
    })
}

/// Makes a commit visible as a whole, if all its causes are here.
fn deliver(work: &mut Work, chain: u32, seq: u64) -> Result<Delivery> {
    let Some(mut row) = load_commit(work, chain, seq)? else {
        return Ok(Delivery::Waits(Cause::Any));
    };
    let items = row.leaves.iter().filter(|l| matches!(l, LeafRow::Item(_)));
    let items = items.count() as u64 * cost::SIGNATURE;
    work.spent
        .add(cost::COMMIT + cost::of_bytes(row.travels()) + items);
    let header = row.header()?;
    if let Some(cause) = open_all(work, chain, &header, &mut row)? {
        return Ok(Delivery::Waits(cause));
    }
    let changes = match changes(work, chain, &header, &row)? {
        Ok(changes) => changes,
        Err(other) => return Ok(other),
    };
    let mut records = BTreeSet::new();
    let mut ready = Vec::with_capacity(changes.len());
    for (record, incoming) in changes {
        if !records.insert(record.clone()) {
            return Ok(Delivery::Fault("a commit changes one record twice"));
        }
        match live::judge(work, &record, &incoming)? {
            Judged::Ready(way) => ready.push((record, incoming, way)),
            Judged::Waits(_) if planted(Bug::HalfCommit) => {}
            Judged::Waits(missing) => {
                return Ok(Delivery::Waits(Cause::Change(record, missing)));
            }
            Judged::Fault(reason) => return Ok(Delivery::Fault(reason)),
        }
    }
    let mut ids = Vec::with_capacity(ready.len());
    for (record, incoming, way) in ready {
        live::take(work, &record, &incoming, way)?;
        ids.push((record, incoming.id));
    }
    live::held(work, row.travels())?;
    work.visible.extend(ids);
    if row.has_items() {
        work.items.push((chain, seq));
    }
    Ok(Delivery::Visible)
}

/// Opens the leaves whose keys have come; the first that stays closed is what the commit waits for.
fn open_all(
    work: &mut Work,
    chain: u32,
    header: &Header,
    row: &mut CommitRow,
) -> Result<Option<Cause>> {
    let (mut cause, mut changed) = (None, false);
    for (index, leaf) in (0u32..).zip(&mut row.leaves) {
        let missing = match leaf {
            LeafRow::Withheld(_) => Cause::Leaf,
            LeafRow::Sealed {
                key, leaf: hash, ..
            } => {
                let (key, hash) = (*key, *hash);
                match leaves::open(work, header, index, leaf)? {
                    Opened::NoKey => Cause::Key(key),
                    Opened::Change(opened) => {
                        (*leaf, changed) = (opened, true);
                        continue;
                    }
                    Opened::Damaged => {
                        (*leaf, changed) = (LeafRow::Withheld(hash), true);
                        Cause::Leaf
                    }
                }
            }
            _ => continue,
        };
        cause = cause.or(Some(missing));
    }
    if changed {
        put_commit(work, chain, header.fields().seq, row);
    }
    Ok(cause)
}

type Changes = Vec<(RecordId, Incoming)>;

/// A commit's changes, each past the gate; the inner error says what becomes of it instead.
fn changes(
    work: &mut Work,
    chain: u32,
    header: &Header,
    row: &CommitRow,
) -> Result<std::result::Result<Changes, Delivery>> {
    let fault = |reason| Ok(Err(Delivery::Fault(reason)));
    let fields = header.fields();
    let place = Place::new(&work.core, chain, header);
    let actor = fields.chain.actor();
    let noted = rows::in_chain(kind::NEWER, chain, fields.seq);
    let mut newer = matches!(fields.intent, Intent::Unknown(_));
    let mut changes = Vec::new();
    for leaf in &row.leaves {
        let LeafRow::Change { entry, change, .. } = leaf else {
            newer |= is_of_newer(leaf);
            continue;
        };
        let entry = match Entry::parse(entry) {
            Ok(Entry::Change(entry)) => entry,
            // Of a newer engine: kept, and not understood.
            Ok(Entry::Unknown(_)) => {
                newer = true;
                continue;
            }
            _ => return fault("an entry is malformed"),
        };
        let Ok(incoming) = open_change(&entry, change, &place) else {
            if doc::decode(change) == Err(doc::Fault::Newer) {
                work.txn.put(noted, Vec::new());
                return Ok(Err(Delivery::Waits(Cause::Engine)));
            }
            return fault("a change is malformed");
        };
        if incoming.id != entry.change {
            return fault("a change is not the one that was committed");
        }
        if incoming.change.actor != actor && !planted(Bug::SkippedGate) {
            return fault("a change's actor is not its author's");
        }
        if incoming.change.hlc != fields.hlc {
            return fault("a change's time is not its commit's");
        }
        changes.push((entry.record, incoming));
    }
    if newer {
        work.txn.put(noted, Vec::new());
    }
    Ok(Ok(changes))
}

/// Whether an item is of a kind, or a pack of a format, that only a newer engine understands.
fn is_of_newer(leaf: &LeafRow) -> bool {
    match leaf.entry() {
        Ok(Some(Entry::Unknown(_))) => true,
        Ok(Some(Entry::Item {
            kind: ItemKind::PACK,
            bytes,
        })) => matches!(PolicyPack::from_json(&bytes), Err(Error::TooNew { .. })),
        Ok(Some(Entry::Item { kind, .. })) => !MemberItem::is_of(kind),
        _ => false,
    }
}
