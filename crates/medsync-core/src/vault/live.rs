//! Records that one work changes again and again: read once, written once.
//!
//! A batch may hold thousands of changes of one record, written side by side. Each is judged as it
//! comes, in memory; rows are written when the work ends, before anything else reads records, and
//! when too much is held.

use crate::doc::causality::Bits;
use crate::doc::merging::{Merging, Placed, append, put_in_order};
use crate::doc::state::{CausalFault, ChangeInfo, Incoming, Readiness, RecordState};
use crate::error::{Error, Result};
use crate::ids::{ChangeId, RecordId};
use crate::model::kind::KindRules;
use crate::planted::{Bug, planted};
use crate::vault::core::{Work, load_record, view_text};
use crate::vault::cost;
use crate::vault::rows::{self, Rows, kind};
use crate::vault::write::{history_of, write_record};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Most bytes of rows and changes that are held before they are written. In memory they are
/// several times as much.
const HELD_BYTES_MAX: usize = 4 << 20;

/// Most bytes of views and state of a record whose history is kept for the next step ..
const KEPT_BYTES_MAX: usize = 1 << 20;
/// .. and most changes of all that are.
const KEPT_CHANGES_MAX: usize = 20_000;

/// Records that have changed since they were read.
#[derive(Default)]
pub(crate) struct Lives {
    records: BTreeMap<RecordId, Live>,
    bytes: usize,
    /// Those of the step before, with their histories.
    pub(crate) kept: Kept,
}

/// Records with their histories, from one step to the next: else each step would read again what the
/// one before it read.
#[derive(Default)]
pub(crate) struct Kept {
    records: HashMap<RecordId, KeptLive>,
    changes: usize,
}

/// One of them, and what has to be as it was.
struct KeptLive {
    live: Live,
    row: blake3::Hash,
    rules: Arc<KindRules>,
}

impl Kept {
    fn put(&mut self, record: RecordId, kept: KeptLive) {
        let changes = kept.live.state.changes.len();
        if self.changes + changes > KEPT_CHANGES_MAX {
            *self = Self::default();
        }
        self.changes += changes;
        self.records.insert(record, kept);
    }

    /// The record, unless something else was written to it or decides on it since.
    fn take(&mut self, work: &Work, record: &RecordId) -> Result<Option<Live>> {
        let Some(kept) = self.records.remove(record) else {
            return Ok(None);
        };
        self.changes -= kept.live.state.changes.len();
        let same = Arc::ptr_eq(&kept.rules, work.core.rules(record))
            && state_hash(work, record)? == Some(kept.row);
        let view = work.get(&rows::of_record(kind::VIEW, record))?;
        let view = view.map(|row| view_text(&row).map(str::to_owned));
        Ok(Some(Live {
            view: view.transpose()?,
            ..kept.live
        })
        .filter(|_| same))
    }
}

fn state_hash(work: &Work, record: &RecordId) -> Result<Option<blake3::Hash>> {
    let row = rows::of_record(kind::STATE, record);
    work.txn.with(&row, blake3::hash)
}

/// One of them.
#[derive(Default)]
struct Live {
    /// While there is a merging, its changes stand in the order in which they came.
    state: RecordState,
    /// The view that its index rows follow from.
    view: Option<String>,
    merging: Option<Merging>,
    /// Whether it has one strand and one order; unknown until it is asked.
    plain: Option<bool>,
    changed: bool,
}

/// How a change is taken.
pub(crate) enum Way {
    /// On top of everything.
    OnTop,
    /// At a place among others.
    Beside(Placed),
    /// With the whole history judged again: a chain forked, or what stands there stands in two
    /// commits.
    Again(Box<RecordState>),
}

/// Whether a change can be taken.
pub(crate) enum Judged {
    Ready(Way),
    /// A change that it builds on, or that its author had in view, is not here.
    Waits(ChangeId),
    /// No honest engine makes it.
    Fault(&'static str),
}

/// Judges a change, and leaves the record as it is.
pub(crate) fn judge(work: &mut Work, record: &RecordId, incoming: &Incoming) -> Result<Judged> {
    let mut live = take_out(work, record)?;
    let judged = live.judge(work, record, incoming);
    work.lives.records.insert(record.clone(), live);
    judged
}

/// Takes a change that was judged. No other change of the record may have come in between.
pub(crate) fn take(
    work: &mut Work,
    record: &RecordId,
    incoming: &Incoming,
    way: Way,
) -> Result<()> {
    let mut live = take_out(work, record)?;
    let operations = incoming.change.ops.len() as u64;
    work.spent.add(cost::CHANGE + cost::OPERATION * operations);
    if !live.changed {
        work.spent.add(cost::RECORD + live.cost());
    }
    live.changed = true;
    let done = live.take(work, record, incoming, way);
    work.lives.records.insert(record.clone(), live);
    done
}

/// Counts what a commit brought, and writes the rows when it is much.
pub(crate) fn held(work: &mut Work, bytes: usize) -> Result<()> {
    work.lives.bytes += bytes;
    if work.lives.bytes > HELD_BYTES_MAX {
        flush(work)?;
    }
    Ok(())
}

/// Writes the rows of every record that changed.
pub(crate) fn flush(work: &mut Work) -> Result<()> {
    work.lives.bytes = 0;
    for (record, mut live) in std::mem::take(&mut work.lives.records) {
        // Some were only asked about.
        if !live.changed {
            continue;
        }
        let rules = Arc::clone(work.core.rules(&record));
        let view = live.view.take();
        if let Some(merging) = &mut live.merging {
            merging.settle(&mut live.state, &rules);
            let mut state = live.state.clone();
            put_in_order(&mut state);
            write_record(work, &record, view.as_deref(), &state, &rules)?;
            drop(state);
            keep(work, record, live, rules)?;
        } else {
            write_record(work, &record, view.as_deref(), &live.state, &rules)?;
        }
    }
    Ok(())
}

/// Keeps a record that was written, with its history.
fn keep(work: &mut Work, record: RecordId, live: Live, rules: Arc<KindRules>) -> Result<()> {
    let row = rows::of_record(kind::STATE, &record);
    let found = work.txn.with(&row, |row| (row.len(), blake3::hash(row)))?;
    if let Some((bytes, row)) = found
        && bytes <= KEPT_BYTES_MAX
    {
        let live = Live {
            changed: false,
            ..live
        };
        work.lives.kept.put(record, KeptLive { live, row, rules });
    }
    Ok(())
}

fn take_out(work: &mut Work, record: &RecordId) -> Result<Live> {
    if let Some(live) = work.lives.records.remove(record) {
        return Ok(live);
    }
    let mut kept = std::mem::take(&mut work.lives.kept);
    let live = kept.take(work, record);
    work.lives.kept = kept;
    if let Some(live) = live? {
        work.spent.add(cost::RECORD);
        return Ok(live);
    }
    let Some((state, view)) = load_record(work, record)? else {
        return Ok(Live::default());
    };
    work.lives.bytes += view.len() * 2;
    let live = Live {
        state,
        view: Some(view),
        ..Live::default()
    };
    work.spent.add(cost::RECORD + live.cost());
    Ok(live)
}

impl Live {
    /// What reading or writing it costs, for its size.
    fn cost(&self) -> u64 {
        let view = self.view.as_ref().map_or(0, String::len);
        let candidates = self.state.keys.values().map(|k| k.outcome.candidates.len());
        let parts = self.state.changes.len() + candidates.sum::<usize>();
        cost::of_bytes(view * 2) + parts as u64 / 4
    }

    fn judge(&mut self, work: &Work, record: &RecordId, incoming: &Incoming) -> Result<Judged> {
        const FAULT: Judged = Judged::Fault("a change replaces what did not stand there");
        let checked = match &self.merging {
            Some(merging) => merging.check(incoming),
            None => self.state.check(incoming),
        };
        let fresh = match checked {
            Ok(Readiness::Ready) => true,
            Ok(Readiness::Duplicate) => false,
            Ok(Readiness::Waits(missing)) => return Ok(Judged::Waits(missing)),
            Err(_) if planted(Bug::SkippedGate) => false,
            Err(_) => return Ok(Judged::Fault("a change contradicts its causes")),
        };
        if fresh && self.merging.is_none() && self.is_current(incoming) && !self.state.clashes() {
            return Ok(Judged::Ready(Way::OnTop));
        }
        let rules = Arc::clone(work.core.rules(record));
        if fresh && self.stays_plain(incoming) {
            let placed = self.merging(work, record, &rules)?.place(incoming);
            return Ok(placed.map_or(FAULT, |placed| Judged::Ready(Way::Beside(placed))));
        }
        let again = self.again(work, record, incoming, &rules)?;
        Ok(again.map_or(FAULT, |state| Judged::Ready(Way::Again(Box::new(state)))))
    }

    fn is_current(&self, incoming: &Incoming) -> bool {
        let deps = &incoming.change.deps;
        let seen = incoming.seen.as_ref().unwrap_or(deps);
        self.state.is_current(deps) && self.state.is_current(seen)
    }

    /// Judges the whole history again, with one more change.
    fn again(
        &self,
        work: &Work,
        record: &RecordId,
        incoming: &Incoming,
        rules: &KindRules,
    ) -> Result<std::result::Result<RecordState, CausalFault>> {
        let mut all = history_of(work, record, &self.state)?;
        all.push(incoming.clone());
        Ok(RecordState::replay(all, rules))
    }

    /// Whether, with this change too, each stands in one commit, no two of one actor have one
    /// number, and nobody saw what they do not build on: then the order of changes is that of their
    /// operations, and there is one strand.
    fn stays_plain(&mut self, incoming: &Incoming) -> bool {
        if let Some(merging) = &self.merging {
            return merging.stays_plain(incoming);
        }
        let state = &self.state;
        let plain = *self.plain.get_or_insert_with(|| is_plain(state));
        let places = |ids: &[ChangeId]| -> Vec<usize> {
            ids.iter().filter_map(|id| state.position(id)).collect()
        };
        let seen = places(incoming.seen.as_deref().unwrap_or_default());
        let last = state.last_of(&incoming.change.actor);
        plain && last.is_none_or(|last| last.seq < incoming.change.seq) && {
            let deps = places(&incoming.change.deps);
            seen.is_empty() || covers(state, &deps, &seen)
        }
    }

    fn take(
        &mut self,
        work: &Work,
        record: &RecordId,
        incoming: &Incoming,
        way: Way,
    ) -> Result<()> {
        let rules = Arc::clone(work.core.rules(record));
        let placed = match way {
            Way::Again(state) => {
                self.replace(*state);
                return Ok(());
            }
            Way::Beside(placed) => placed,
            Way::OnTop if self.merging.is_none() && self.state.apply(incoming, &rules) => {
                return Ok(());
            }
            Way::OnTop if self.stays_plain(incoming) => {
                let merging = self.merging(work, record, &rules)?;
                merging.place(incoming).map_err(lost)?
            }
            Way::OnTop => {
                let again = self.again(work, record, incoming, &rules)?;
                self.replace(again.map_err(lost)?);
                return Ok(());
            }
        };
        self.merging(work, record, &rules)?
            .push(incoming, placed, &rules);
        if let Some(merging) = &mut self.merging {
            append(&mut self.state, incoming, merging);
        }
        Ok(())
    }

    fn replace(&mut self, state: RecordState) {
        self.state = state;
        (self.merging, self.plain) = (None, None);
    }

    /// The record's history, read at the first need.
    fn merging(
        &mut self,
        work: &Work,
        record: &RecordId,
        rules: &KindRules,
    ) -> Result<&mut Merging> {
        let merging = match self.merging.take() {
            Some(merging) => merging,
            None => {
                let all = history_of(work, record, &self.state)?;
                Merging::new(&all, rules).map_err(lost)?
            }
        };
        Ok(self.merging.insert(merging))
    }
}

fn is_plain(state: &RecordState) -> bool {
    let within = |c: &ChangeInfo| {
        let seen = c.seen.as_deref();
        seen.is_none_or(|seen| seen.is_empty() || covers(state, &c.deps, seen))
    };
    state.again.is_empty() && !state.clashes() && state.changes.iter().all(within)
}

/// Whether these changes are among the causes that a version has.
fn covers(state: &RecordState, version: &[usize], changes: &[usize]) -> bool {
    let causes = Bits::closure(&state.changes, version);
    changes.iter().all(|change| causes.has(*change))
}

fn lost(fault: CausalFault) -> Error {
    Error::integrity_at("a record's history", fault)
}
