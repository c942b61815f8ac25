//! Import: resources of a source become commits, durable and ready to be sealed.
//!
//! A resource is compared with what the same source brought last, known from the replicated
//! commits, and only the difference is written, as an edit made in sight of that import: importing
//! last month's file does not revert yesterday's work.

use crate::doc;
use crate::doc::state::RecordState;
use crate::error::{Error, Result};
use crate::ids::{ActorId, ChangeId, RecordId};
use crate::ledger::commit::Intent;
use crate::ledger::entry::ImportMark;
use crate::model::cell::Cell;
use crate::model::json::Json;
use crate::model::pack::Lane;
use crate::model::shape::{Atoms, ElementNamer, flatten};
use crate::time::Timestamp;
use crate::vault::Vault;
use crate::vault::core::{Core, Work, load_record};
use crate::vault::index;
use crate::vault::write::{
    OwnCommit, RecordEdit, Signer, edit_record, history, new_record_rows, source_mark,
};
use std::sync::mpsc;
use std::thread;

/// Resources of one commit. Few enough that one bad commit is small, enough to share its cost.
const COMMIT_RESOURCES: usize = 32;
/// Commits of one fsync.
const BATCH_COMMITS: usize = 24;

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
}

/// Resources of one commit, with the time it will have.
struct Group {
    hlc: Timestamp,
    atomic: bool,
    resources: Vec<(u64, RecordId, Json)>,
}

/// A resource made ready as far as that is possible without the store.
struct Prepared {
    tag: u64,
    record: RecordId,
    json: Json,
    atoms: Result<Atoms>,
    fresh: Option<Fresh>,
    digest: [u8; 16],
    patient: Option<RecordId>,
}

/// What a record would be if it is new.
struct Fresh {
    incoming: doc::state::Incoming,
    bytes: Vec<u8>,
    state: RecordState,
}

struct PreparedGroup {
    hlc: Timestamp,
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
        let (chain, id) = self.authored(|work, signer| {
            let id = OwnCommit::chain_of(work, signer);
            Ok((work.number_chain(&id)?, id))
        })?;
        let preparer = Preparer {
            core: self.core.clone(),
            namer: self.core.namer()?,
            actor: id.actor(),
            chain,
            source: source_mark(source),
        };
        let mut report = ImportReport::default();
        let mut groups = Grouper {
            units,
            waiting: Vec::new(),
        };
        thread::scope(|scope| {
            let (to_prepare, jobs) = mpsc::sync_channel::<Vec<Group>>(1);
            let (done, prepared) = mpsc::sync_channel(1);
            scope.spawn(move || {
                for batch in jobs {
                    let ready: Vec<PreparedGroup> = batch
                        .into_iter()
                        .map(|group| preparer.prepare(group))
                        .collect();
                    if done.send(ready).is_err() {
                        break;
                    }
                }
            });
            let mut in_flight = 0;
            loop {
                let batch = groups.next_batch();
                let ended = batch.is_empty();
                if !ended {
                    let timed = self.time(batch);
                    to_prepare.send(timed).map_err(|_| STOPPED)?;
                    in_flight += 1;
                }
                // One batch is prepared while the one before it is written.
                while in_flight > usize::from(!ended) {
                    let ready = prepared.recv().map_err(|_| STOPPED)?;
                    in_flight -= 1;
                    self.write_batch(source, ready, &mut report)?;
                    progress(&report);
                }
                if ended {
                    return Ok(report);
                }
            }
        })
    }

    /// Gives each group the time its commit will have.
    fn time(&mut self, batch: Vec<(bool, Vec<(u64, RecordId, Json)>)>) -> Vec<Group> {
        let now = self.env.now_ms();
        let clock = &mut self.core.clock;
        let timed = |(atomic, resources)| Group {
            hlc: clock.tick(now),
            atomic,
            resources,
        };
        batch.into_iter().map(timed).collect()
    }

    fn write_batch(
        &mut self,
        source: &str,
        batch: Vec<PreparedGroup>,
        report: &mut ImportReport,
    ) -> Result<()> {
        let clock = self.core.clock;
        let wrote = self.authored(|work, signer| {
            let mut wrote = ImportReport::default();
            for group in batch {
                write_group(work, signer, source, group, &mut wrote)?;
            }
            Ok(wrote)
        })?;
        // Times given to batches that are still being prepared are not given again.
        self.core.clock = crate::time::Clock::resume(self.core.clock.last().max(clock.last()));
        report.imported += wrote.imported;
        report.updated += wrote.updated;
        report.unchanged += wrote.unchanged;
        report.rejected.extend(wrote.rejected);
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
        while batch.len() < BATCH_COMMITS {
            let Some(unit) = self.units.next() else { break };
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
    fn prepare(&self, group: Group) -> PreparedGroup {
        let Group {
            hlc,
            atomic,
            resources,
        } = group;
        let resources = resources
            .into_iter()
            .map(|(tag, id, json)| self.resource(hlc, tag, id, json))
            .collect();
        PreparedGroup {
            hlc,
            atomic,
            resources,
        }
    }

    fn resource(&self, hlc: Timestamp, tag: u64, record: RecordId, json: Json) -> Prepared {
        let rules = self.core.rules(&record);
        let text = json.text();
        let hash = blake3::hash(text.as_bytes());
        let digest = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        let patient = index::patient_of(&self.core.pack, &record, &json);
        let mut atoms = flatten(&json, rules, &self.namer);
        let fresh = atoms.as_ref().ok().and_then(|atoms| {
            let cells = atoms.iter().map(|(k, c)| (k.clone(), c.clone())).collect();
            let mut state = RecordState::default();
            let change = state.make(self.actor, hlc, cells);
            let (bytes, id) = doc::encode(&change);
            let incoming = doc::state::Incoming {
                change,
                id,
                seen: None,
                patient: patient.clone(),
                chain: self.chain,
                commit_seq: 0,
                standing: self.core.own_standing(self.chain),
                import: Some((self.source, digest)),
            };
            let kept = state.apply(&incoming, rules) && state.render(&record, rules) == text;
            kept.then_some(Fresh {
                incoming,
                bytes,
                state,
            })
        });
        if atoms.is_ok() && fresh.is_none() {
            atoms = Err(Error::invalid(
                "the resource could not be kept exactly as it is",
            ));
        }
        if fresh
            .as_ref()
            .is_some_and(|f| f.incoming.change.ops.is_empty())
        {
            atoms = Err(Error::invalid("the resource says nothing but its name"));
        }
        if fresh
            .as_ref()
            .is_some_and(|f| f.bytes.len() > doc::MAX_CHANGE)
        {
            atoms = Err(Error::invalid("the resource is too large"));
        }
        Prepared {
            tag,
            record,
            json,
            atoms,
            fresh,
            digest,
            patient,
        }
    }
}

/// Writes one group as a commit; an atomic one with a bad resource not at all.
fn write_group(
    work: &mut Work,
    signer: &Signer,
    source: &str,
    group: PreparedGroup,
    report: &mut ImportReport,
) -> Result<()> {
    let bad: Vec<(u64, Error)> = group
        .resources
        .iter()
        .filter_map(|r| Some((r.tag, r.atoms.as_ref().err()?.clone())))
        .collect();
    let refused = group.atomic && !bad.is_empty();
    report.rejected.extend(bad);
    if refused {
        return Ok(());
    }
    let lane = |r: &Prepared| work.core.rules(&r.record).lane();
    let lane = group.resources.iter().map(lane).min().unwrap_or(Lane::P3);
    let mut commit = OwnCommit::at(work, signer, Intent::Import, lane, group.hlc)?;
    for resource in group.resources {
        let Ok(atoms) = &resource.atoms else { continue };
        let loaded = load_record(work, &resource.record)?;
        match (loaded, resource.fresh) {
            (None, Some(fresh)) => {
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
                let mut state = fresh.state;
                if let Some(change) = state.changes.first_mut() {
                    change.commit_seq = commit.place().1;
                }
                for (key, value) in
                    new_record_rows(&work.core, &edit.record, &state, &resource.json)
                {
                    work.txn.put(key, value);
                }
                work.core.counts.records += 1;
                commit.push(work, edit, fresh.incoming.id, fresh.bytes)?;
                report.imported += 1;
            }
            (Some((state, _)), _) => {
                let known = state.last_import(source_mark(source));
                let same = |(_, digest): (u64, [u8; 16])| digest == resource.digest;
                if known.and_then(|c| c.import).is_some_and(same) {
                    report.unchanged += 1;
                    continue;
                }
                let last = known.map(|c| c.id);
                let image = image(work, &resource.record, &state, source)?;
                let cells = differences(&image, atoms);
                if cells.is_empty() {
                    report.unchanged += 1;
                    continue;
                }
                let edit = RecordEdit {
                    record: resource.record,
                    cells,
                    seen: Some(last.into_iter().collect::<Vec<ChangeId>>()),
                    patient: resource.patient,
                    because: None,
                    import: Some(ImportMark {
                        source: source.to_owned(),
                        digest: resource.digest,
                    }),
                };
                edit_record(work, &mut commit, edit)?;
                report.updated += 1;
            }
            (None, None) => {}
        }
    }
    if !commit.is_empty() {
        commit.store(work)?;
    }
    Ok(())
}

/// What the source said of a record so far: its own operations, the last of each key.
fn image(work: &Work, record: &RecordId, state: &RecordState, source: &str) -> Result<Atoms> {
    let mark = source_mark(source);
    if state.last_import(mark).is_none() {
        return Ok(Atoms::new());
    }
    let mut all = history(work, record, state)?;
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
        .filter(|(key, cell)| matches!(cell, Cell::Put { .. }) && !now.contains_key(*key))
        .map(|(key, _)| {
            let reason = "no longer in the import's source".into();
            (key.clone(), Cell::Removed { reason })
        });
    let mut cells: Vec<(Box<str>, Cell)> = changed.chain(gone).collect();
    cells.sort_by(|a, b| a.0.cmp(&b.0));
    cells
}
