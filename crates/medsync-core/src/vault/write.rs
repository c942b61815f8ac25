//! Writing commits of one's own, and the rows that every changed record needs.

use crate::crypto::sign::SigningKey;
use crate::doc;
use crate::doc::shown::{Contest, Why};
use crate::doc::state::{ChangeInfo, Incoming, RecordState};
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, ChainId, ChangeId, CommitId, DataKeyId, RecordId};
use crate::ledger::audit::Actor;
use crate::ledger::commit::{Commit, CommitBuilder, Header, Intent};
use crate::ledger::entry::{ChangeEntry, ImportMark, ItemKind};
use crate::ledger::wire::SEALED_BYTES_MAX;
use crate::model::cell::Cell;
use crate::model::json::Json;
use crate::model::kind::{KindRules, field_of_key};
use crate::model::pack::{Lane, Risk};
use crate::model::policy::Standing;
use crate::time::Timestamp;
use crate::vault::audit::Note;
use crate::vault::commit_row::{CommitRow, LeafRow};
use crate::vault::core::{Core, NOT_MADE, Work, pack_row};
use crate::vault::cost;
use crate::vault::draft::Resolved;
use crate::vault::edit::{At, put_record, read_for, work_out};
use crate::vault::finding;
use crate::vault::incarnation;
use crate::vault::index;
use crate::vault::rows::{self, Row, Rows, kind};
use crate::vault::shelf::Shelf;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Largest commit, in bytes as it travels: with room for what a batch adds.
pub(crate) const COMMIT_TRAVELS_MAX: usize = SEALED_BYTES_MAX / 2;

/// The person who authors commits here, with the key unlocked.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) key: SigningKey,
    pub(crate) author: AuthorKey,
}

/// What one commit does to one record.
#[derive(Clone)]
pub(crate) struct RecordEdit {
    pub(crate) record: RecordId,
    /// Cells by key, ascending.
    pub(crate) cells: Vec<(Box<str>, Cell)>,
    /// The version the author had in view; `None`: the current one.
    pub(crate) seen: Option<Vec<ChangeId>>,
    /// The patient a new record belongs to.
    pub(crate) patient: Option<RecordId>,
    pub(crate) because: Option<String>,
    pub(crate) import: Option<ImportMark>,
}

impl fmt::Debug for RecordEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells.len();
        write!(f, "RecordEdit({:?}, {cells} cells)", self.record)
    }
}

/// An open question as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuestionRow {
    pub(crate) since: Timestamp,
    pub(crate) why: Why,
    pub(crate) risk: Risk,
}

/// A name for an import's source that fits a row.
pub(crate) fn source_mark(source: &str) -> u64 {
    let hash = blake3::derive_key("medsync v1 import source", source.as_bytes());
    u64::from_le_bytes(hash.first_chunk().copied().unwrap_or_default())
}

/// What of an entry is not in the commit's builder.
enum Part {
    Item,
    Change { key: DataKeyId, change: Vec<u8> },
}

/// A commit of one's own in the making.
pub(crate) struct OwnCommit {
    builder: CommitBuilder,
    parts: Vec<Part>,
    chain: u32,
    seq: u64,
    pub(crate) id: ChainId,
    pub(crate) hlc: Timestamp,
    standing: Standing,
    intent: Intent,
    revokes: bool,
}

impl OwnCommit {
    /// The chain that a person writes to on this replica, with its number. Nothing is added to one
    /// that forked, or of which more is here than its end follows from.
    pub(crate) fn own_chain(work: &mut Work, signer: &Signer) -> Result<(u32, ChainId)> {
        let chain_of = |work: &Work| ChainId {
            author: signer.author,
            replica: work.core.meta.replica,
        };
        let mut id = chain_of(work);
        let number = work.core.chain_no(&id);
        let ahead = |no| work.core.chain(no).is_ok_and(|c| c.max_seq > c.seq);
        if work.core.forks.has(&id) || number.is_some_and(ahead) {
            incarnation::renew(work, incarnation::Why::Exchange)?;
            id = chain_of(work);
        }
        Ok((work.number_chain(&id)?, id))
    }

    /// Starts the next commit of the signer's chain.
    pub(crate) fn new(
        work: &mut Work,
        signer: &Signer,
        intent: Intent,
        lane: Lane,
    ) -> Result<Self> {
        let hlc = work.core.clock.tick(work.env.now_ms());
        Self::at(work, signer, intent, lane, hlc)
    }

    /// Starts the next commit of the signer's chain, at a time the clock gave before.
    pub(crate) fn at(
        work: &mut Work,
        signer: &Signer,
        intent: Intent,
        lane: Lane,
        hlc: Timestamp,
    ) -> Result<Self> {
        let (chain, id) = Self::own_chain(work, signer)?;
        let tip = work.core.chain(chain)?.tip();
        // A copy of this vault with a fast clock may have written the chain's end.
        let hlc = if hlc < tip.hlc { tip.hlc.next() } else { hlc };
        let builder = CommitBuilder::new(id, tip, hlc, lane, intent)?;
        let seq = tip.seq + 1;
        let standing = work.core.standing(&id, seq, &NOT_MADE);
        Ok(Self {
            builder,
            parts: Vec::new(),
            chain,
            seq,
            id,
            hlc,
            standing,
            intent,
            revokes: false,
        })
    }

    /// Whether nothing was added yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The chain's number and the commit's place in it.
    pub(crate) const fn place(&self) -> (u32, u64) {
        (self.chain, self.seq)
    }

    const fn stands(&self) -> At {
        At {
            chain: self.chain,
            seq: self.seq,
            id: self.id,
            hlc: self.hlc,
            standing: self.standing,
        }
    }

    /// Adds a record's change whose state was computed already.
    pub(crate) fn push(
        &mut self,
        work: &mut Work,
        edit: RecordEdit,
        id: ChangeId,
        change: Vec<u8>,
    ) -> Result<()> {
        let key = work.data_key(edit.patient.as_ref())?;
        let entry = ChangeEntry {
            record: edit.record,
            patient: edit.patient,
            seen: edit.seen,
            change: id,
            because: edit.because,
            source: edit.import,
        };
        self.builder.change(&entry, key.key.expose())?;
        self.parts.push(Part::Change {
            key: key.id,
            change,
        });
        Ok(())
    }

    /// Adds a certificate, a revocation or a pack.
    pub(crate) fn item(&mut self, kind: ItemKind, bytes: &[u8]) -> Result<()> {
        self.builder.item(kind, bytes)?;
        self.revokes |= kind == ItemKind::REVOCATION;
        self.parts.push(Part::Item);
        Ok(())
    }

    /// Stores the commit as the end of its chain.
    pub(crate) fn store(self, work: &mut Work) -> Result<CommitId> {
        let Commit { header, entries } = self.builder.build()?;
        let leaves = entries
            .into_iter()
            .zip(self.parts)
            .map(|(entry, part)| match part {
                Part::Item => LeafRow::Item(entry.bytes),
                Part::Change { key, change } => LeafRow::Change {
                    key,
                    entry: entry.bytes,
                    change,
                },
            });
        let row = CommitRow {
            header: header.bytes().to_vec(),
            leaves: leaves.collect(),
        };
        // A commit travels whole, in one batch.
        if row.travels() > COMMIT_TRAVELS_MAX {
            return Err(Error::invalid_at(
                "a commit is too large to be sent; split it",
                format!("at most {COMMIT_TRAVELS_MAX} bytes"),
            ));
        }
        work.txn.put(
            rows::in_chain(kind::COMMIT, self.chain, self.seq),
            row.to_bytes(),
        );
        let tip = header.tip();
        let chain = work.chain_mut(self.chain)?;
        (chain.seq, chain.tip, chain.hlc) = (tip.seq, tip.id, tip.hlc);
        chain.max_seq = chain.max_seq.max(tip.seq);
        work.core.counts.commits += 1;
        let actor = Actor::Person(self.id.author);
        let place = (tip.seq, tip.id);
        work.note(Note::commit(
            self.intent,
            self.revokes,
            actor,
            self.hlc,
            place,
        ));
        Ok(header.id())
    }
}

/// Writes edits of several records as one commit.
pub(crate) fn commit_edits(
    work: &mut Work,
    signer: &Signer,
    intent: Intent,
    edits: Vec<RecordEdit>,
) -> Result<CommitId> {
    let mut resolved = Vec::with_capacity(edits.len());
    for edit in edits {
        resolved.push(read_for(work, edit)?);
    }
    commit_resolved(work, signer, intent, resolved)
}

/// As [`commit_edits`], with the records as they were read.
pub(crate) fn commit_resolved(
    work: &mut Work,
    signer: &Signer,
    intent: Intent,
    edits: Vec<Resolved>,
) -> Result<CommitId> {
    let lane = edits
        .iter()
        .map(|e| work.core.rules(&e.edit.record).lane())
        .min()
        .unwrap_or_default();
    let mut commit = OwnCommit::new(work, signer, intent, lane)?;
    for edit in edits {
        let out = work_out(work, &work.core, &commit.stands(), edit)?;
        put_record(work, &mut commit, out)?;
    }
    commit.store(work)
}

/// Writes one record's part of a commit: its change, state, view and rows.
pub(crate) fn edit_record(work: &mut Work, commit: &mut OwnCommit, edit: RecordEdit) -> Result<()> {
    let edit = read_for(work, edit)?;
    let out = work_out(work, &work.core, &commit.stands(), edit)?;
    put_record(work, commit, out)
}

/// The keys of a record's rows beside its view, its state and those of its indexes.
pub(crate) fn other_rows(rows: &dyn Rows, record: &RecordId) -> Result<Vec<Vec<u8>>> {
    let questions = rows.all(&rows::question(record, ""))?;
    let mut keys: Vec<Vec<u8>> = questions.into_iter().map(|(key, _)| key).collect();
    let idle = idle_row(record);
    if rows.get(&idle)?.is_some() {
        keys.push(idle);
    }
    Ok(keys)
}

/// All changes of a record, from the ledger; one that stands in two commits comes twice.
pub(crate) fn history(
    rows: &dyn Rows,
    core: &Core,
    record: &RecordId,
    state: &RecordState,
) -> Result<Vec<Incoming>> {
    history_in(rows, core, &Shelf::default(), record, state)
}

/// As [`history`], in a work that foreign input makes.
pub(crate) fn history_of(
    work: &Work,
    record: &RecordId,
    state: &RecordState,
) -> Result<Vec<Incoming>> {
    let all = history_in(work, &work.core, &work.shelf, record, state)?;
    let operations = all.iter().map(|i| i.change.ops.len() as u64).sum::<u64>();
    let changes = (cost::COMMIT + cost::CHANGE) * all.len() as u64;
    work.spent.add(changes + cost::OPERATION * operations);
    Ok(all)
}

/// As [`history`], with a shelf for several records.
pub(crate) fn history_in(
    rows: &dyn Rows,
    core: &Core,
    shelf: &Shelf,
    record: &RecordId,
    state: &RecordState,
) -> Result<Vec<Incoming>> {
    let place = |info: &ChangeInfo| {
        let actor = state.actors.get(info.actor);
        (actor.map_or(u32::MAX, |a| a.chain), info.commit_seq)
    };
    let again = state.again.iter().map(|(_, chain, seq)| (*chain, *seq));
    let places = state.changes.iter().map(place).chain(again);
    let read = |place: (u32, u64)| {
        shelf.change_of(rows, place, record, |header, entry, change| {
            open_change(entry, change, &Place::new(core, place.0, header))
        })
    };
    places.map(read).collect()
}

/// Where a change stands, and with what authority.
pub(crate) struct Place {
    pub(crate) chain: u32,
    pub(crate) seq: u64,
    pub(crate) commit: CommitId,
    pub(crate) standing: Standing,
}

impl Place {
    pub(crate) fn new(core: &Core, chain: u32, header: &Header) -> Self {
        let seq = header.fields().seq;
        Self {
            chain,
            seq,
            commit: header.id(),
            standing: core.standing(&header.fields().chain, seq, &header.id()),
        }
    }
}

/// Reads a stored change again.
pub(crate) fn open_change(entry: &ChangeEntry, change: &[u8], at: &Place) -> Result<Incoming> {
    let (change, id) =
        doc::decode(change).map_err(|fault| Error::integrity_at("a stored change", fault))?;
    Ok(Incoming {
        change,
        id,
        seen: entry.seen.clone(),
        patient: entry.patient.clone(),
        chain: at.chain,
        commit_seq: at.seq,
        commit: at.commit,
        standing: at.standing,
        import: entry
            .source
            .as_ref()
            .map(|mark| (source_mark(&mark.source), mark.digest)),
    })
}

/// The rows of a record as it is now. `view` is its rendered JSON, `parsed` the same parsed.
pub(crate) fn record_rows(
    core: &Core,
    record: &RecordId,
    state: &RecordState,
    view: &str,
    parsed: &Json,
) -> Vec<Row> {
    let rules = core.rules(record);
    let mut rows = index::entries(&core.pack, record, parsed);
    let questions = question_rows(record, state, rules);
    let open = u8::from(!questions.is_empty());
    rows.extend(questions);
    if !state.without_effect(rules).is_empty() {
        rows.push((idle_row(record), Vec::new()));
    }
    let merged = [&[open][..], view.as_bytes()].concat();
    rows.push((rows::of_record(kind::VIEW, record), merged));
    rows.push(state_row(record, state, rules));
    rows
}

/// The row that holds a record's state beside its view.
pub(crate) fn state_row(record: &RecordId, state: &RecordState, rules: &KindRules) -> Row {
    (rows::of_record(kind::STATE, record), state.to_row(rules))
}

/// Marks a record with an operation that a final status keeps from taking effect.
fn idle_row(record: &RecordId) -> Vec<u8> {
    [&finding::IDLE_PREFIX[..], record.as_str().as_bytes()].concat()
}

fn question_rows(record: &RecordId, state: &RecordState, rules: &KindRules) -> Vec<Row> {
    let row = |contest: Contest| {
        let risk = rules.risk(field_of_key(&contest.key));
        let row = QuestionRow {
            since: contest.since,
            why: contest.why,
            risk,
        };
        (rows::question(record, &contest.key), pack_row(&row))
    };
    state.contests(rules).into_iter().map(row).collect()
}

/// Writes the rows that follow from a record's state, in place of those of its last view.
pub(crate) fn write_record(
    work: &mut Work,
    record: &RecordId,
    before: Option<&str>,
    state: &RecordState,
    rules: &KindRules,
) -> Result<()> {
    let text = state.render(record, rules);
    let view = Json::parse(text.as_bytes())?;
    if let Some(before) = before {
        let old = Json::parse(before.as_bytes())?;
        for (key, _) in index::entries(&work.core.pack, record, &old) {
            work.txn.delete(key);
        }
        for key in other_rows(work, record)? {
            work.txn.delete(key);
        }
    } else {
        work.core.counts.records += 1;
    }
    for (key, value) in record_rows(&work.core, record, state, &text, &view) {
        work.txn.put(key, value);
    }
    Ok(())
}
