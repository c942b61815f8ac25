//! Import: resources of a source become commits, durable and ready to be sealed.
//!
//! A resource is compared with what the same source brought last, known from the replicated
//! commits, and only the difference is written, as an edit made in sight of that import: importing
//! last month's file does not revert yesterday's work.

use crate::doc;
use crate::doc::state::RecordState;
use crate::error::{Error, Result};
use crate::ids::{ActorId, ChangeId, RecordId};
use crate::ledger::commit::{ENTRIES_MAX, Intent};
use crate::ledger::entry::{ImportMark, SOURCE_BYTES_MAX};
use crate::model::cell::Cell;
use crate::model::json::Json;
use crate::model::pack::Lane;
use crate::model::shape::{Atoms, ElementNamer, flatten, is_reserved, name_only};
use crate::time::{Clock, Timestamp};
use crate::vault::Vault;
use crate::vault::core::{Core, NOT_MADE, Work, load_record};
use crate::vault::index;
use crate::vault::rows::Row;
use crate::vault::write::{
    COMMIT_TRAVELS_MAX, OwnCommit, RecordEdit, Signer, edit_record, history, record_rows,
    source_mark, state_row,
};
use std::sync::mpsc;
use std::thread;

/// Resources of one commit. Few enough that one bad commit is small, enough to share its cost.
const COMMIT_RESOURCES: usize = 32;
/// Commits that are prepared together, beside the writing of those before them.
const BATCH_COMMITS: usize = 8;
/// Batches that wait for the next thread at most: enough while an fsync holds up the writer.
const IN_FLIGHT: usize = 4;
/// Rows of one fsync, in bytes: the more, the fewer pages are written twice.
const FSYNC_BYTES: usize = 16 << 20;
/// Rows of the first one: whoever waits sees early that something is durable.
const FIRST_FSYNC_BYTES: usize = 3 << 20;

/// About how much an entry and its seal add to a change, in bytes.
const ENTRY_ABOUT: usize = 1024;

/// What is imported together.
#[derive(Debug, Clone)]
pub struct Unit {
    /// The resources, each with a number by which the caller knows it.
    pub resources: Vec<(u64, RecordId, Json)>,
    /// One commit, all or nothing.
    pub atomic: bool,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// New records.
    pub imported: u64,
    /// Records that differed from the last import of the source.
    pub updated: u64,
    /// Records as they were.
    pub unchanged: u64,
    /// What could not be kept, by the caller's number, and why.
    pub rejected: Vec<(u64, Error)>,
    /// Atomic units that were left as a whole, by the number of their first resource, and why.
    pub refused: Vec<(u64, Error)>,
    /// Resources that were judged, in the order in which they came: all that is said of them is in
    /// this report, and what was kept is durable.
    pub judged: u64,
}

/// Resources of one commit, with the time it will have.
struct Group {
    hlc: Timestamp,
    /// The place in the chain it will have, if no group before it turns out empty.
    seq: u64,
    atomic: bool,
    resources: Vec<(u64, RecordId, Json)>,
}

/// A resource made ready as far as that is possible without the store.
struct Prepared {
    tag: u64,
    record: RecordId,
    atoms: Result<Atoms>,
    fresh: Option<Fresh>,
    digest: [u8; 16],
    patient: Option<RecordId>,
}

/// What a record would be if it is new.
struct Fresh {
    id: ChangeId,
    bytes: Vec<u8>,
    state: RecordState,
    rows: Vec<Row>,
}

struct PreparedGroup {
    hlc: Timestamp,
    seq: u64,
    atomic: bool,
    resources: Vec<Prepared>,
}

/// All that preparing needs, so that it can run beside the writing.
struct Preparer {
    core: Core,
    namer: ElementNamer,
    actor: ActorId,
    chain: u32,
    source: u64,
}

impl Vault {
    /// Imports resources of a source. Every resource that can be kept is durable when this
    /// returns; the others are named and do not stop it.
    ///
    /// # Errors
    /// [`Error::Locked`] if nobody's key is unlocked, [`Error::Storage`] if the disk fails: what
    /// was reported so far is durable.
    pub fn import(
        &mut self,
        source: &str,
        units: impl Iterator<Item = Unit>,
        progress: &mut dyn FnMut(&ImportReport),
    ) -> Result<ImportReport> {
        if !(1..=SOURCE_BYTES_MAX).contains(&source.len()) {
            return Err(Error::invalid(
                "an import's source needs a name of 1 to 128 bytes",
            ));
        }
        let (chain, id) = self.authored(OwnCommit::own_chain)?;
        let preparer = Preparer::new(&self.core, id.actor(), chain, source)?;
        let mut timer = Timer {
            clock: self.core.clock,
            seq: self.core.chain(chain)?.seq,
        };
        let mut groups = Grouper {
            units,
            waiting: Vec::new(),
        };
        let env = std::sync::Arc::clone(&self.env);
        let writer = Writer::new(self, source);
        thread::scope(|scope| {
            let (to_prepare, jobs) = mpsc::sync_channel::<(Vec<Group>, Clock)>(IN_FLIGHT);
            let (done, prepared) = mpsc::sync_channel(IN_FLIGHT);
            let (told, reports) = mpsc::channel();
            scope.spawn(move || {
                for (batch, clock) in jobs {
                    let ready = batch.into_iter().map(|group| preparer.prepare(group));
                    if done.send((ready.collect(), clock)).is_err() {
                        break;
                    }
                }
            });
            let writing = scope.spawn(move || writer.run(prepared, &told));
            // This thread reads; the others prepare and write what it read before.
            loop {
                let batch = groups.next_batch();
                let now = env.now_ms();
                let timed: Vec<Group> = batch.into_iter().map(|g| timer.time(now, g)).collect();
                // A writer that failed hangs up, and says why below.
                if timed.is_empty() || to_prepare.send((timed, timer.clock)).is_err() {
                    break;
                }
                reports.try_iter().for_each(|report| progress(&report));
            }
            drop(to_prepare);
            reports.iter().for_each(|report| progress(&report));
            writing.join().map_err(|_| STOPPED)?
        })
    }
}

/// Gives each commit its time and its likely place before it is prepared.
struct Timer {
    clock: Clock,
    seq: u64,
}

impl Timer {
    fn time(&mut self, now_ms: i64, (atomic, resources): Waiting) -> Group {
        self.seq += 1;
        Group {
            hlc: self.clock.tick(now_ms),
            seq: self.seq,
            atomic,
            resources,
        }
    }
}

/// Writes prepared groups, many to an fsync.
struct Writer<'a> {
    vault: &'a mut Vault,
    source: &'a str,
    open: Option<(Work, ImportReport)>,
    bytes: usize,
    limit: usize,
    durable: ImportReport,
}

impl<'a> Writer<'a> {
    fn new(vault: &'a mut Vault, source: &'a str) -> Self {
        Self {
            vault,
            source,
            open: None,
            bytes: 0,
            limit: FIRST_FSYNC_BYTES,
            durable: ImportReport::default(),
        }
    }

    /// Writes every batch that comes, and tells what is durable each time more is.
    fn run(
        mut self,
        prepared: mpsc::Receiver<(Vec<PreparedGroup>, Clock)>,
        told: &mpsc::Sender<ImportReport>,
    ) -> Result<ImportReport> {
        // Nobody listening is no reason to stop.
        let tell = |report: &ImportReport| drop(told.send(report.clone()));
        for (batch, clock) in prepared {
            if self.write(batch, clock)? {
                tell(&self.durable);
            }
        }
        self.flush()?;
        tell(&self.durable);
        Ok(self.durable)
    }

    /// Writes a batch; `true` if that made something durable.
    fn write(&mut self, batch: Vec<PreparedGroup>, clock: Clock) -> Result<bool> {
        let signer = self.vault.signer.as_ref();
        let signer = signer.ok_or(Error::Locked("the author's key"))?;
        let (work, report) = match &mut self.open {
            Some(open) => open,
            closed => {
                let txn = self.vault.store.write()?;
                let env = std::sync::Arc::clone(&self.vault.env);
                let work = Work::new(txn, self.vault.core.clone(), env);
                closed.insert((work, ImportReport::default()))
            }
        };
        // Times given to what is still being prepared are not given again.
        work.core.clock = Clock::resume(work.core.clock.last().max(clock.last()));
        for group in batch {
            self.bytes += write_group(work, signer, self.source, group, report)?;
        }
        if self.bytes < self.limit {
            return Ok(false);
        }
        self.flush()?;
        Ok(true)
    }

    /// Makes what was written durable.
    fn flush(&mut self) -> Result<()> {
        if let Some((work, report)) = self.open.take() {
            self.vault.core = work.finish()?;
            self.vault.tell_anchor();
            self.bytes = 0;
            self.limit = FSYNC_BYTES;
            self.durable.imported += report.imported;
            self.durable.updated += report.updated;
            self.durable.unchanged += report.unchanged;
            self.durable.rejected.extend(report.rejected);
            self.durable.refused.extend(report.refused);
            self.durable.judged += report.judged;
        }
        Ok(())
    }
}

const STOPPED: Error =
    Error::integrity("the import's worker stopped; nothing half-written is kept");

type Waiting = (bool, Vec<(u64, RecordId, Json)>);

/// Sorts units into commits: atomic ones by themselves, the others together.
struct Grouper<I> {
    units: I,
    waiting: Vec<(u64, RecordId, Json)>,
}

impl<I: Iterator<Item = Unit>> Grouper<I> {
    fn next_batch(&mut self) -> Vec<Waiting> {
        let mut batch = Vec::new();
        let mut held = 0;
        while batch.len() < BATCH_COMMITS && held < BATCH_COMMITS * COMMIT_RESOURCES {
            let Some(unit) = self.units.next() else { break };
            held += unit.resources.len();
            if unit.atomic {
                self.flush(&mut batch);
                batch.push((true, unit.resources));
                continue;
            }
            for resource in unit.resources {
                // A commit has one change of a record.
                if self.waiting.iter().any(|(_, id, _)| *id == resource.1) {
                    self.flush(&mut batch);
                }
                self.waiting.push(resource);
                if self.waiting.len() == COMMIT_RESOURCES {
                    self.flush(&mut batch);
                }
            }
        }
        if batch.is_empty() {
            self.flush(&mut batch);
        }
        batch
    }

    fn flush(&mut self, batch: &mut Vec<Waiting>) {
        if !self.waiting.is_empty() {
            batch.push((false, std::mem::take(&mut self.waiting)));
        }
    }
}

impl Preparer {
    fn new(core: &Core, actor: ActorId, chain: u32, source: &str) -> Result<Self> {
        Ok(Self {
            core: core.clone(),
            namer: core.namer()?,
            actor,
            chain,
            source: source_mark(source),
        })
    }

    fn prepare(&self, group: Group) -> PreparedGroup {
        let Group {
            hlc,
            seq,
            atomic,
            resources,
        } = group;
        let resource = |(tag, id, json)| self.resource((hlc, seq), tag, id, &json);
        PreparedGroup {
            hlc,
            seq,
            atomic,
            resources: resources.into_iter().map(resource).collect(),
        }
    }

    fn resource(&self, at: (Timestamp, u64), tag: u64, record: RecordId, json: &Json) -> Prepared {
        let rules = self.core.rules(&record);
        let text = json.text();
        let hash = blake3::hash(text.as_bytes());
        let digest = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        let patient = index::patient_of(&self.core.pack, &record, json);
        let atoms = flatten(json, rules, &self.namer).map(|mut atoms| {
            if atoms.is_empty() {
                atoms.extend([name_only(&record)]);
            }
            atoms
        });
        let fresh = atoms.and_then(|atoms| {
            let cells = atoms.clone().into_iter().collect();
            let mut state = RecordState::default();
            let change = state.make(self.actor, at.0, cells);
            let (bytes, id) = doc::encode(&change);
            if bytes.len() > doc::MAX_CHANGE {
                return Err(Error::invalid("the resource is too large"));
            }
            let incoming = doc::state::Incoming {
                change,
                id,
                seen: None,
                patient: patient.clone(),
                chain: self.chain,
                commit_seq: at.1,
                commit: NOT_MADE,
                standing: self.core.own_standing(self.chain),
                import: Some((self.source, digest)),
            };
            if !state.apply(&incoming, rules) || state.render(&record, rules) != text {
                return Err(Error::invalid(
                    "the resource could not be kept exactly as it is",
                ));
            }
            let rows = record_rows(&self.core, &record, &state, &text, json);
            let fresh = Fresh {
                id,
                bytes,
                state,
                rows,
            };
            Ok((atoms, fresh))
        });
        let (atoms, fresh) = match fresh {
            Ok((atoms, fresh)) => (Ok(atoms), Some(fresh)),
            Err(error) => (Err(error), None),
        };
        Prepared {
            tag,
            record,
            atoms,
            fresh,
            digest,
            patient,
        }
    }
}

/// Writes one group as a commit; an atomic one with a bad resource not at all. Returns about how
/// many bytes that wrote.
fn write_group(
    work: &mut Work,
    signer: &Signer,
    source: &str,
    group: PreparedGroup,
    report: &mut ImportReport,
) -> Result<usize> {
    report.judged += group.resources.len() as u64;
    let bad = |r: &Prepared| Some((r.tag, r.atoms.as_ref().err()?.clone()));
    let bad: Vec<(u64, Error)> = group.resources.iter().filter_map(bad).collect();
    if group.atomic {
        let spoilt = (!bad.is_empty()).then_some(SPOILT);
        if let Some(fault) = one_commit(&group.resources).or(spoilt) {
            report.rejected.extend(bad);
            let first = group.resources.first().map(|r| r.tag);
            report.refused.extend(first.map(|tag| (tag, fault)));
            return Ok(0);
        }
    }
    report.rejected.extend(bad);
    let lane = |r: &Prepared| work.core.rules(&r.record).lane();
    let lane = group.resources.iter().map(lane).min().unwrap_or(Lane::P3);
    let mut commit = OwnCommit::at(work, signer, Intent::Import, lane, group.hlc)?;
    let mut bytes = 0;
    for mut resource in group.resources {
        let Ok(atoms) = &resource.atoms else { continue };
        match (load_record(work, &resource.record)?, resource.fresh.take()) {
            (None, Some(fresh)) => {
                let planned = group.seq == commit.place().1;
                bytes += write_new(work, &mut commit, resource, fresh, source, planned)?;
                report.imported += 1;
            }
            (Some((state, _)), _) => match changes_of(work, &resource, &state, source, atoms)? {
                Some(edit) => {
                    bytes += 1024;
                    match edit_record(work, &mut commit, edit) {
                        Ok(()) => report.updated += 1,
                        // Nothing of it was written: what it says does not fit the record.
                        Err(error @ Error::Invalid { .. }) if !group.atomic => {
                            report.rejected.push((resource.tag, error));
                        }
                        Err(error) => return Err(error),
                    }
                }
                None => report.unchanged += 1,
            },
            (None, None) => {}
        }
    }
    if !commit.is_empty() {
        commit.store(work)?;
    }
    Ok(bytes)
}

const SPOILT: Error =
    Error::invalid("the transaction is refused as a whole: a resource of it cannot be kept");

/// Why resources cannot be one commit, if they cannot.
fn one_commit(resources: &[Prepared]) -> Option<Error> {
    let mut records: Vec<&RecordId> = resources.iter().map(|r| &r.record).collect();
    records.sort_unstable();
    if records.windows(2).any(|pair| pair[0] == pair[1]) {
        return Some(Error::invalid("one resource twice cannot be one commit"));
    }
    let changes = resources.iter().filter_map(|r| r.fresh.as_ref());
    let size: usize = changes.map(|f| f.bytes.len() + ENTRY_ABOUT).sum();
    if size > COMMIT_TRAVELS_MAX || resources.len() > ENTRIES_MAX {
        return Some(Error::invalid("this is too much for one commit; split it"));
    }
    None
}

/// Writes a record that was not there, as it was prepared.
fn write_new(
    work: &mut Work,
    commit: &mut OwnCommit,
    resource: Prepared,
    mut fresh: Fresh,
    source: &str,
    planned: bool,
) -> Result<usize> {
    if !planned {
        // A group before it was empty: the commit stands at another place than it was made for.
        if let Some(change) = fresh.state.changes.first_mut() {
            change.commit_seq = commit.place().1;
        }
        let rules = std::sync::Arc::clone(work.core.rules(&resource.record));
        fresh
            .rows
            .push(state_row(&resource.record, &fresh.state, &rules));
    }
    let mut bytes = fresh.bytes.len();
    for (key, value) in fresh.rows {
        bytes += key.len() + value.len();
        work.txn.put(key, value);
    }
    work.core.counts.records += 1;
    let edit = RecordEdit {
        record: resource.record,
        cells: Vec::new(),
        seen: None,
        patient: resource.patient,
        because: None,
        import: Some(ImportMark {
            source: source.to_owned(),
            digest: resource.digest,
        }),
    };
    commit.push(work, edit, fresh.id, fresh.bytes)?;
    Ok(bytes)
}

/// What an import changes on a record that is there, as an edit made in sight of the source's last
/// import; `None` if nothing.
fn changes_of(
    work: &Work,
    resource: &Prepared,
    state: &RecordState,
    source: &str,
    atoms: &Atoms,
) -> Result<Option<RecordEdit>> {
    let known = state.last_import(source_mark(source));
    let same = |(_, digest): (u64, [u8; 16])| digest == resource.digest;
    if known.and_then(|c| c.import).is_some_and(same) {
        return Ok(None);
    }
    let last = known.map(|c| c.id);
    let cells = differences(&image(work, &resource.record, state, source)?, atoms);
    if cells.is_empty() {
        return Ok(None);
    }
    Ok(Some(RecordEdit {
        record: resource.record.clone(),
        cells,
        seen: Some(last.into_iter().collect::<Vec<ChangeId>>()),
        patient: resource.patient.clone(),
        because: None,
        import: Some(ImportMark {
            source: source.to_owned(),
            digest: resource.digest,
        }),
    }))
}

/// What the source said of a record so far: its own operations, the last of each key.
fn image(work: &Work, record: &RecordId, state: &RecordState, source: &str) -> Result<Atoms> {
    let mark = source_mark(source);
    if state.last_import(mark).is_none() {
        return Ok(Atoms::new());
    }
    let mut all = history(work, &work.core, record, state)?;
    all.retain(|i| i.import.is_some_and(|(from, _)| from == mark));
    all.sort_by_key(|i| (i.change.start_op, i.id));
    let ops = all.into_iter().flat_map(|i| i.change.ops);
    Ok(ops.map(|op| (op.key, op.cell)).collect())
}

fn differences(image: &Atoms, now: &Atoms) -> Vec<(Box<str>, Cell)> {
    let changed = now
        .iter()
        .filter(|(key, cell)| image.get(*key).is_none_or(|old| !old.same_value(cell)))
        .map(|(key, cell)| (key.clone(), cell.clone()));
    let gone = image
        .iter()
        .filter(|(key, cell)| {
            matches!(cell, Cell::Put { .. }) && !now.contains_key(*key) && !is_reserved(key)
        })
        .map(|(key, _)| {
            let reason = "no longer in the import's source".into();
            (key.clone(), Cell::Removed { reason })
        });
    let mut cells: Vec<(Box<str>, Cell)> = changed.chain(gone).collect();
    cells.sort_by(|a, b| a.0.cmp(&b.0));
    cells
}
