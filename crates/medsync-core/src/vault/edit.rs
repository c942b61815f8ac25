//! One record's part of a commit: worked out from the rows as they are, then written.

use crate::doc;
use crate::doc::state::{Incoming, Readiness, RecordState};
use crate::error::{Error, Result};
use crate::ids::{ChainId, ChangeId, RecordId};
use crate::model::json::Json;
use crate::model::policy::Standing;
use crate::time::Timestamp;
use crate::vault::core::{Core, NOT_MADE, Work, load_record};
use crate::vault::crowd;
use crate::vault::draft::{Loaded, Resolved};
use crate::vault::index;
use crate::vault::rows::{Row, Rows};
use crate::vault::write::{
    OwnCommit, RecordEdit, history, other_rows, record_rows, source_mark, state_row,
};
use std::collections::BTreeSet;

/// The place of a commit of one's own, its time and its author's authority.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) chain: u32,
    pub(crate) seq: u64,
    pub(crate) id: ChainId,
    pub(crate) hlc: Timestamp,
    pub(crate) standing: Standing,
}

impl At {
    /// What a change of this commit looks like to a record.
    fn incoming(&self, change: doc::FlatChange, id: ChangeId, edit: &RecordEdit) -> Incoming {
        let import = edit
            .import
            .as_ref()
            .map(|mark| (source_mark(&mark.source), mark.digest));
        Incoming {
            change,
            id,
            seen: edit.seen.clone(),
            patient: edit.patient.clone(),
            chain: self.chain,
            commit_seq: self.seq,
            commit: NOT_MADE,
            standing: self.standing,
            import,
        }
    }
}

/// An edit with the record as it is.
pub(crate) fn read_for(rows: &dyn Rows, edit: RecordEdit) -> Result<Resolved> {
    let loaded = match load_record(rows, &edit.record)? {
        Some((state, view)) => Some(Loaded {
            json: Json::parse(view.as_bytes())?,
            state,
            view,
            edited: None,
        }),
        None => None,
    };
    Ok(Resolved { edit, loaded })
}

/// One record's part of a commit, worked out and not yet written.
pub(crate) struct WorkedOut {
    edit: RecordEdit,
    id: ChangeId,
    change: Vec<u8>,
    state: RecordState,
    /// Whether the record is new.
    fresh: bool,
    gone: Vec<Vec<u8>>,
    rows: Vec<Row>,
}

impl WorkedOut {
    /// Takes it to another place of the same chain.
    pub(crate) fn move_to(&mut self, core: &Core, record: &RecordId, seq: u64) {
        let own = self.state.changes.iter_mut().find(|c| c.id == self.id);
        if let Some(own) = own.filter(|c| c.commit_seq != seq) {
            own.commit_seq = seq;
            self.rows
                .push(state_row(record, &self.state, core.rules(record)));
        }
    }
}

/// Works out one record's part of a commit.
pub(crate) fn work_out(
    rows: &dyn Rows,
    core: &Core,
    at: &At,
    resolved: Resolved,
) -> Result<WorkedOut> {
    let Resolved { mut edit, loaded } = resolved;
    let rules = core.rules(&edit.record);
    let nothing = RecordState::default();
    let was = loaded.as_ref().map_or(&nothing, |l| &l.state);
    if let Some(patient) = &was.patient {
        edit.patient = Some(patient.clone());
    } else if loaded.is_some() {
        edit.patient = None;
    }
    let cells = std::mem::take(&mut edit.cells);
    let actor = at.id.actor();
    let base = crowd::base((rows, core), &edit.record, was, actor, &cells, rules)?;
    if let Some(base) = &base {
        let seen = edit.seen.take().unwrap_or_else(|| was.heads());
        edit.seen = Some(crowd::seen_of(was, base, &seen));
    }
    let base = base.as_ref().unwrap_or(was);
    let change = base.make(actor, at.hlc, cells);
    // The version in view is left out of the entry where the dependencies say the same.
    let same = |seen: &Vec<ChangeId>| {
        base.is_current(seen) && seen.iter().all(|id| base.position(id).is_some())
    };
    if edit.seen.as_ref().is_some_and(same) {
        edit.seen = None;
    }
    let (bytes, id) = doc::encode(&change);
    // Our own edits pass the gate that a peer's replica will hold them to.
    doc::decode(&bytes).map_err(|fault| match fault {
        doc::Fault::Limit(_) => Error::invalid_at("the edit is too large", fault),
        _ => Error::invalid_at("the edit cannot be kept", fault),
    })?;
    let incoming = at.incoming(change, id, &edit);
    let state = applied(rows, core, was, incoming, &edit.record)?;
    let (gone, new) = changed_rows(rows, core, &edit.record, loaded.as_ref(), &state)?;
    Ok(WorkedOut {
        fresh: loaded.is_none(),
        edit,
        id,
        change: bytes,
        state,
        gone,
        rows: new,
    })
}

/// A record's state with one more change, which was just made.
fn applied(
    rows: &dyn Rows,
    core: &Core,
    was: &RecordState,
    incoming: Incoming,
    record: &RecordId,
) -> Result<RecordState> {
    let rules = core.rules(record);
    match was.check(&incoming) {
        Ok(Readiness::Ready) => {}
        Ok(_) => {
            return Err(Error::invalid(
                "the version in view is not one of this record",
            ));
        }
        Err(fault) => return Err(Error::invalid_at("the edit does not fit the record", fault)),
    }
    let mut state = was.clone();
    if state.apply(&incoming, rules) {
        return Ok(state);
    }
    let mut all = history(rows, core, record, was)?;
    all.push(incoming);
    RecordState::replay(all, rules)
        .map_err(|fault| Error::integrity_at("a record's history", fault))
}

/// The rows that go, and those that come, when a record gets another state.
fn changed_rows(
    rows: &dyn Rows,
    core: &Core,
    record: &RecordId,
    loaded: Option<&Loaded>,
    state: &RecordState,
) -> Result<(Vec<Vec<u8>>, Vec<Row>)> {
    let text = state.render(record, core.rules(record));
    let mut gone = Vec::new();
    let parsed;
    let edited = loaded.and_then(|l| l.edited.as_ref());
    let view = match edited.filter(|(_, said)| *said == text) {
        Some((view, _)) => view,
        None => {
            parsed = Json::parse(text.as_bytes())?;
            &parsed
        }
    };
    let mut new = record_rows(core, record, state, &text, view);
    if let Some(loaded) = loaded {
        // Most of what a record is found by stays.
        let mut old = BTreeSet::from_iter(index::entries(&core.pack, record, &loaded.json));
        new.retain(|row| !old.remove(row));
        gone = old.into_iter().map(|(key, _)| key).collect();
        gone.extend(other_rows(rows, record)?);
    }
    Ok((gone, new))
}

/// Writes one record's part of a commit.
pub(crate) fn put_record(work: &mut Work, commit: &mut OwnCommit, out: WorkedOut) -> Result<()> {
    work.core.counts.records += u64::from(out.fresh);
    for key in out.gone {
        work.txn.delete(key);
    }
    for (key, value) in out.rows {
        work.txn.put(key, value);
    }
    commit.push(work, out.edit, out.id, out.change)
}
