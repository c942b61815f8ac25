//! Proving that what is shown follows from what was signed.

use crate::doc::causality::Bits;
use crate::doc::state::{Incoming, RecordState};
use crate::doc::{FlatChange, encode, oracle};
use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::ledger::commit::{Header, check_link};
use crate::ledger::membership::Membership;
use crate::ledger::merkle;
use crate::model::kind::KindRules;
use crate::vault::Vault;
use crate::vault::commit_row::CommitRow;
use crate::vault::core::{Core, Work, load_commit, load_data_key, load_record};
use crate::vault::deliver::{Received, settle};
use crate::vault::intake;
use crate::vault::open::take_items;
use crate::vault::rejudge::clear_derived;
use crate::vault::rows::{self, Rows, kind};
use crate::vault::seal::batch_row;
use crate::vault::shelf::Shelf;
use crate::vault::status::derived_digest;
use crate::vault::write::history_in;
use std::sync::Arc;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct VerifyReport {
    /// Commits whose place, hash, leaves and root were checked.
    pub commits: u64,
    /// Batches whose signature was checked.
    pub batches: u64,
    /// Records that were opened in Automerge and compared.
    pub records: u64,
    /// Whether the derived rows were made again, and came out the same, byte for byte.
    pub rebuilt_equal: Option<bool>,
    /// What does not hold, by place; never a clinical value.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Whether everything holds.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty() && self.rebuilt_equal != Some(false)
    }
}

impl Vault {
    /// Checks every commit, batch and record. With `rebuild` every row that follows from the
    /// ledger is made again from it. `progress` is told how many of how many things are done.
    ///
    /// # Errors
    /// [`Error::Storage`] if the vault cannot be read; what does not hold is in the report.
    pub fn verify(
        &mut self,
        rebuild: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<VerifyReport> {
        // What was received and had to wait for its turn is delivered first.
        self.take_rest()?;
        let mut report = VerifyReport::default();
        let total = self.core.counts.commits + self.core.counts.records;
        {
            let rows = self.store.read()?;
            for no in (0u32..).take(self.core.chains.len()) {
                verify_chain(&rows, &self.core, no, &mut report, &mut |n| {
                    progress(n, total)
                })?;
            }
            verify_batches(&rows, &self.core, &mut report)?;
        }
        let commits = report.commits;
        self.verify_records(&mut report, &mut |n| progress(commits + n, total))?;
        if rebuild {
            let before = derived_digest(&self.store.read()?)?;
            // One transaction: a cut leaves the old rows.
            self.work(|work, _| self::rebuild(work))?;
            let after = derived_digest(&self.store.read()?)?;
            report.rebuilt_equal = Some(before == after);
        }
        Ok(report)
    }

    fn verify_records(
        &self,
        report: &mut VerifyReport,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let (rows, shelf) = (self.store.read()?, Shelf::default());
        rows.scan(&[kind::VIEW], &[kind::VIEW], &mut |key, _| {
            let id = std::str::from_utf8(key.get(1..).unwrap_or_default()).unwrap_or_default();
            let record: RecordId = id.parse()?;
            if let Err(error) = verify_record(&rows, &self.core, &shelf, &record) {
                report
                    .problems
                    .push(format!("record {}: {error}", report.records));
            }
            report.records += 1;
            progress(report.records);
            Ok(true)
        })
    }
}

/// Makes every row that follows from the ledger again.
pub(crate) fn rebuild(work: &mut Work) -> Result<()> {
    clear_derived(work)?;
    work.core.counts.records = 0;
    let authority = *work.core.membership.authority();
    let mut membership = Membership::new(authority);
    membership.set_forks(Arc::clone(&work.core.forks));
    membership.extend(crate::vault::granted::load(work)?);
    work.core.membership = Arc::new(membership);
    let mut all = Vec::new();
    work.scan(&[kind::COMMIT], &[kind::COMMIT], &mut |key, row| {
        let (chain, seq) = rows::place(key).ok_or(Error::integrity("a commit has no place"))?;
        let row = CommitRow::from_bytes(row)?;
        let hlc = row.header()?.fields().hlc;
        // Members and pack first, or records would be judged twice.
        all.push((!row.only_items(), hlc, chain, seq));
        Ok(true)
    })?;
    all.sort_unstable();
    let mut received = Received::default();
    let changes = all.partition_point(|(changes, ..)| !changes);
    for (_, _, chain, seq) in &all[..changes] {
        settle(work, *chain, *seq, &mut received)?;
    }
    take_items(work)?;
    for (_, _, chain, seq) in &all[changes..] {
        settle(work, *chain, *seq, &mut received)?;
    }
    intake::receive(work, Vec::new()).map(drop)
}

fn verify_chain(
    rows: &dyn Rows,
    core: &Core,
    no: u32,
    report: &mut VerifyReport,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let chain = core.chain(no)?;
    let mut before: Option<Header> = None;
    let prefix = rows::of_chain(kind::COMMIT, no);
    rows.scan(&prefix, &prefix, &mut |key, row| {
        let (_, seq) = rows::place(key).ok_or(Error::integrity("a commit has no place"))?;
        let row = CommitRow::from_bytes(row)?;
        let header = row.header()?;
        let mut wrong = |what| {
            report
                .problems
                .push(format!("chain {no}, commit {seq}: {what}"))
        };
        if header.fields().chain != chain.id || header.fields().seq != seq {
            wrong("stands at another place than it was signed for");
        }
        let last = before
            .as_ref()
            .filter(|last| last.fields().seq.saturating_add(1) == seq);
        if last.is_some_and(|last| check_link(&last.tip(), &header).is_err()) {
            wrong("does not follow the one before it");
        }
        let key = |id: &_| -> Result<[u8; 32]> {
            let key = load_data_key(rows, id)?;
            let key = key.ok_or(Error::integrity("a data key is missing"))?;
            Ok(*key.key.expose())
        };
        let leaves = row.leaves.iter().enumerate();
        let leaves: Result<Vec<_>> = leaves
            .map(|(i, leaf)| leaf.hash(&header, i, &key))
            .collect();
        match leaves {
            Ok(leaves) if merkle::root(&leaves) == header.fields().root => {}
            Ok(_) => wrong("its entries are not those that were signed"),
            Err(_) => wrong("a data key of its entries is missing"),
        }
        report.commits += 1;
        progress(report.commits);
        before = Some(header);
        Ok(true)
    })?;
    if chain.seq > 0
        && load_commit(rows, no, chain.seq)?
            .map(|r| r.header())
            .transpose()?
            .map(|h| h.id())
            != Some(chain.tip)
    {
        report
            .problems
            .push(format!("chain {no}: ends at another commit than it says"));
    }
    Ok(())
}

fn verify_batches(rows: &dyn Rows, core: &Core, report: &mut VerifyReport) -> Result<()> {
    for (key, row) in rows.all(&[kind::BATCH])? {
        let (chain, first) = rows::place(&key).ok_or(Error::integrity("a batch has no place"))?;
        let place = format!("chain {chain}, batch from {first}");
        let Some(signed) = batch_row(&row) else {
            report.problems.push(format!("{place}: damaged"));
            continue;
        };
        report.batches += 1;
        let Ok(batch) = signed.verify_signature() else {
            report
                .problems
                .push(format!("{place}: not signed by its author"));
            continue;
        };
        let tip = load_commit(rows, chain, batch.last)?
            .map(|r| r.header())
            .transpose()?;
        let same = tip.is_some_and(|tip| tip.id() == batch.last_id);
        if !same || batch.chain != core.chain(chain)?.id || batch.first != first {
            report
                .problems
                .push(format!("{place}: seals other commits"));
        }
    }
    Ok(())
}

/// A record's row, view and history must say the same, and Automerge must agree: with a fork, on
/// each strand by itself.
fn verify_record(rows: &dyn Rows, core: &Core, shelf: &Shelf, record: &RecordId) -> Result<()> {
    let loaded = load_record(rows, record)?;
    let (state, view) = loaded.ok_or(Error::integrity("a record vanished"))?;
    let rules = core.rules(record);
    let all = history_in(rows, core, shelf, record, &state)?;
    let strands = state.strands();
    let parts: Vec<Vec<Incoming>> = strands
        .iter()
        .map(|strand| part(&state, &all, strand))
        .collect();
    if replay(all, rules)? != state {
        return Err(Error::integrity(
            "its state does not follow from its history",
        ));
    }
    if state.render(record, rules) != view {
        return Err(Error::integrity("its view does not follow from its state"));
    }
    match &parts[..] {
        [one] => verify_strand(&state, one),
        parts => parts.iter().try_for_each(|part| {
            let state = replay(part.clone(), rules)?;
            verify_strand(&state, part)
        }),
    }
}

fn replay(all: Vec<Incoming>, rules: &KindRules) -> Result<RecordState> {
    RecordState::replay(all, rules)
        .map_err(|fault| Error::integrity_at("its history contradicts itself", fault))
}

/// The changes of a strand, once each.
fn part(state: &RecordState, all: &[Incoming], strand: &Bits) -> Vec<Incoming> {
    let first = &all[..state.changes.len().min(all.len())];
    let within = |(i, _): &(usize, &Incoming)| strand.has(*i);
    let within = first.iter().enumerate().filter(within);
    within.map(|(_, incoming)| incoming.clone()).collect()
}

fn verify_strand(state: &RecordState, changes: &[Incoming]) -> Result<()> {
    let raw: Vec<Vec<u8>> = changes.iter().map(|i| encode(&i.change).0).collect();
    let max_op = changes
        .iter()
        .map(|i| FlatChange::end_op(&i.change))
        .max()
        .unwrap_or(0);
    let opened = oracle::open(raw.iter().map(Vec::as_slice))
        .map_err(|fault| Error::integrity_at("Automerge does not open it", fault))?;
    let same = opened.heads == state.heads()
        && opened.max_op == max_op
        && opened.visible.len() == state.keys.len()
        && opened
            .visible
            .iter()
            .all(|(key, ops)| state.keys.get(key).is_some_and(|k| k.visible == *ops));
    if same {
        Ok(())
    } else {
        Err(Error::integrity("Automerge sees other operations"))
    }
}
