//! Drafts: edits not yet committed, pinned to the version a person had in view.

use crate::doc::state::RecordState;
use crate::error::{Error, Result};
use crate::ids::{ChangeId, CommitId, RecordId};
use crate::ledger::commit::Intent;
use crate::model::cell::Cell;
use crate::model::field::{Addable, Countable, Settable};
use crate::model::json::Json;
use crate::model::kind::{KindRules, field_of_key};
use crate::model::pack::PolicyRow;
use crate::model::policy;
use crate::model::shape::{RESOURCE_MAX, name_only};
use crate::planted::{Bug, planted};
use crate::store::Staged;
use crate::vault::Vault;
use crate::vault::ahead::Ahead;
use crate::vault::core::{Core, load_record};
use crate::vault::index;
use crate::vault::page::Page;
use crate::vault::rows::Rows;
use crate::vault::write::{RecordEdit, commit_resolved, history};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A causal position of a record: what a person had in view.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Version(pub Vec<ChangeId>);

impl Version {
    /// How the audit log names it: the first bytes of the hash of its heads.
    pub(crate) fn mark(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("medsync v1 version");
        self.0.iter().for_each(|id| {
            hasher.update(&id.0);
        });
        let hash = hasher.finalize();
        hash.as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&ids.join(","))
    }
}

impl FromStr for Version {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let ids = text.split(',').filter(|id| !id.is_empty()).map(str::parse);
        let mut ids: Vec<ChangeId> = ids.collect::<Result<_>>()?;
        ids.sort_unstable();
        ids.dedup();
        Ok(Self(ids))
    }
}

/// By how many bytes an edit may let a record grow that is larger than records should be.
const SMALL_EDIT: usize = 4096;

/// Edits of one record, pinned to the version that was in view when it was opened.
#[derive(Clone)]
#[must_use = "a draft does nothing until it is committed"]
pub struct Draft {
    record: RecordId,
    seen: Version,
    steps: Vec<Step>,
    because: Option<String>,
}

// What is written, and why, is nobody's but the record's; a member's name can be data too.
impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.len();
        write!(f, "Draft({:?}, {steps} steps)", self.record)
    }
}

#[derive(Clone)]
pub(crate) enum Step {
    Set(String, Json),
    Remove(String),
    Add(String, Json),
    SetElement(String, Json),
    Retract(String),
    Count(String, i64),
    Whole(Json),
}

impl Draft {
    /// A draft of a record as `seen`; the empty version for a new record.
    pub const fn new(record: RecordId, seen: Version) -> Self {
        Self {
            record,
            seen,
            steps: Vec::new(),
            because: None,
        }
    }

    /// The record.
    pub const fn record(&self) -> &RecordId {
        &self.record
    }

    /// The version it is pinned to.
    pub const fn version(&self) -> &Version {
        &self.seen
    }

    /// Sets a member. Setting a member of a bound atom (a dose) rewrites the atom as it was seen.
    pub fn set<V>(&mut self, member: impl Settable<V>, value: V) -> &mut Self {
        let (member, value) = member.set_to(value);
        self.step(Step::Set(member, value))
    }

    /// Removes a field: a value like any other, with a reason.
    pub fn remove(&mut self, member: &str) -> &mut Self {
        self.step(Step::Remove(member.to_owned()))
    }

    /// Adds an item to a list.
    pub fn add<V>(&mut self, field: impl Addable<V>, item: V) -> &mut Self {
        let (field, item) = field.with_item(item);
        self.step(Step::Add(field, item))
    }

    /// Replaces an item of a list, named `field/element`.
    pub fn set_element(&mut self, key: &str, item: Json) -> &mut Self {
        self.step(Step::SetElement(key.to_owned(), item))
    }

    /// Retracts an item of a list, named `field/element`.
    pub fn retract(&mut self, key: &str) -> &mut Self {
        self.step(Step::Retract(key.to_owned()))
    }

    /// Adds to this replica's part of a counter.
    pub fn count(&mut self, field: impl Countable, delta: i64) -> &mut Self {
        self.step(Step::Count(field.counter(), delta))
    }

    /// The whole record as a JSON object: fields that differ from what was seen are set, fields
    /// that it lacks are removed.
    pub fn replace(&mut self, resource: Json) -> &mut Self {
        self.step(Step::Whole(resource))
    }

    /// Why, in the author's words. Removals and retractions need it; blanks are no reason.
    pub fn because(&mut self, reason: &str) -> &mut Self {
        self.because = Some(reason.to_owned());
        self
    }

    fn step(&mut self, step: Step) -> &mut Self {
        self.steps.push(step);
        self
    }
}

impl Vault {
    /// Opens a draft of a record, pinned to the current version.
    ///
    /// # Errors
    /// [`Error::Storage`] if the vault cannot be read.
    pub fn draft(&self, record: &RecordId) -> Result<Draft> {
        let loaded = load_record(&self.store.read()?, record)?;
        let seen = loaded.map_or_else(Version::default, |(state, _)| Version(state.heads()));
        Ok(Draft::new(record.clone(), seen))
    }

    /// Edits one record: opens a draft of what `seen` shows, lets `write` fill it, commits it.
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub fn edit(
        &mut self,
        record: &RecordId,
        seen: Version,
        write: impl FnOnce(&mut Draft),
    ) -> Result<Option<CommitId>> {
        let mut draft = Draft::new(record.clone(), seen);
        write(&mut draft);
        self.commit(vec![draft])
    }

    /// Commits drafts of different records as one: visible as a whole or not at all, durable when
    /// this returns. `None`: the drafts change nothing.
    ///
    /// # Errors
    /// [`Error::Locked`] if nobody's key is unlocked; [`Error::Refused`] where a policy would never
    /// let an edit take effect, with the right way to do it; [`Error::Invalid`] for what does not
    /// fit the record.
    pub fn commit(&mut self, drafts: Vec<Draft>) -> Result<Option<CommitId>> {
        let (made, staged) = self.commit_staged(drafts)?;
        staged.settle()?;
        self.tell_anchor();
        Ok(made)
    }

    pub(super) fn commit_staged(
        &mut self,
        drafts: Vec<Draft>,
    ) -> Result<(Option<CommitId>, Staged)> {
        self.authored_staged(|work, signer| {
            let edits = resolve_all(work, &work.core, drafts)?;
            if edits.is_empty() {
                return Ok(None);
            }
            commit_resolved(work, signer, Intent::Edit, edits).map(Some)
        })
    }

    /// As [`Vault::commit_staged`], from what was worked out ahead if it still fits.
    pub(super) fn commit_ahead(
        &mut self,
        ahead: Option<Ahead>,
        drafts: Vec<Draft>,
    ) -> Result<(Option<CommitId>, Staged)> {
        if let Some(ahead) = ahead {
            let (made, staged) = self.authored_staged(|work, signer| ahead.write(work, signer))?;
            if made.is_some() {
                return Ok((made, staged));
            }
        }
        self.commit_staged(drafts)
    }
}

/// An edit that is judged, with what it was judged on.
pub(crate) struct Resolved {
    pub(crate) edit: RecordEdit,
    pub(crate) loaded: Option<Loaded>,
}

/// A record as it was read.
pub(crate) struct Loaded {
    pub(crate) state: RecordState,
    /// The view, and what it says.
    pub(crate) view: String,
    pub(crate) json: Json,
    /// What the view says with the edit in it, if that is all there is to it, and its text.
    pub(crate) edited: Option<(Json, String)>,
}

/// What drafts write, each of another record.
pub(crate) fn resolve_all(
    rows: &dyn Rows,
    core: &Core,
    drafts: Vec<Draft>,
) -> Result<Vec<Resolved>> {
    let mut edits: Vec<Resolved> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        if edits.iter().any(|e| e.edit.record == draft.record) {
            return Err(Error::invalid("a commit edits each record once"));
        }
        edits.extend(resolve(rows, core, draft)?);
    }
    Ok(edits)
}

fn load(rows: &dyn Rows, record: &RecordId) -> Result<Option<Loaded>> {
    let Some((state, view)) = load_record(rows, record)? else {
        return Ok(None);
    };
    Ok(Some(Loaded {
        json: Json::parse(view.as_bytes())?,
        state,
        view,
        edited: None,
    }))
}

/// What a draft writes, judged against what its author saw and what is there now.
fn resolve(rows: &dyn Rows, core: &Core, draft: Draft) -> Result<Option<Resolved>> {
    let rules = core.rules(&draft.record);
    let mut loaded = load(rows, &draft.record)?;
    let nothing = RecordState::default();
    let now = loaded.as_ref().map_or(&nothing, |l| &l.state);
    let older;
    // Mostly it is the present one, and its view is there.
    let current = now.knows(&draft.seen.0) && now.is_current(&draft.seen.0);
    let (seen, json, before) = match &loaded {
        Some(l) if current => (&l.state, l.json.clone(), l.view.len()),
        _ => {
            older = state_at(rows, core, &draft.record, now, &draft.seen, rules)?;
            let text = older.render(&draft.record, rules);
            (&older, Json::parse(text.as_bytes())?, text.len())
        }
    };
    let because = draft.because.filter(|reason| !reason.trim().is_empty());
    let mut page = Page {
        rules,
        namer: core.namer()?,
        seen,
        json,
        cells: BTreeMap::new(),
        reason: because.as_deref(),
        replica: core.meta.replica.to_string(),
    };
    let writes = !draft.steps.is_empty();
    for step in draft.steps {
        page.take(step)?;
    }
    if writes && loaded.is_none() && page.cells.is_empty() {
        page.cells.extend([name_only(&draft.record)]);
    }
    let json = page.json;
    let cells: Vec<(Box<str>, Cell)> = page
        .cells
        .into_iter()
        .filter(|(key, cell)| !stands_already(seen, key, cell))
        .collect();
    refuse_idle(now, &cells, rules)?;
    if cells.is_empty() {
        return Ok(None);
    }
    let patient = index::patient_of(&core.pack, &draft.record, &json);
    let text = json.text();
    refuse_large(text.len(), before)?;
    let seen = if planted(Bug::StaleForm) {
        now.heads()
    } else {
        draft.seen.0
    };
    if let Some(loaded) = &mut loaded {
        loaded.edited = current.then_some((json, text));
    }
    Ok(Some(Resolved {
        edit: RecordEdit {
            record: draft.record,
            cells,
            seen: Some(seen),
            patient,
            because,
            import: None,
        },
        loaded,
    }))
}

/// Others may have made it so large, without any authority: it must still be possible to stop a
/// medicine there.
fn refuse_large(size: usize, before: usize) -> Result<()> {
    let grows = before <= RESOURCE_MAX || size > before.saturating_add(SMALL_EDIT);
    if size > RESOURCE_MAX && grows {
        let what = "the record would be larger than 256 KiB";
        return Err(Error::invalid_at(what, size));
    }
    Ok(())
}

/// Refuses what a policy would not let take effect.
fn refuse_idle(now: &RecordState, cells: &[(Box<str>, Cell)], rules: &KindRules) -> Result<()> {
    for (key, cell) in cells {
        let empty = policy::Outcome::default();
        let outcome = now.keys.get(key).map_or(&empty, |k| &k.outcome);
        if policy::without_effect(rules.policy(field_of_key(key)), outcome, cell) {
            return Err(Error::Refused {
                what: "this status is final; nothing later can lower it",
                hint: instead_of_lowering(rules, field_of_key(key), outcome),
            });
        }
    }
    Ok(())
}

/// What somebody does who wants a final status lower, by what the kind's statuses allow.
pub(crate) fn instead_of_lowering(
    rules: &KindRules,
    field: &str,
    outcome: &policy::Outcome,
) -> &'static str {
    let PolicyRow::Lattice(lattice) = rules.policy(field) else {
        return "write a new record instead";
    };
    let codes = outcome
        .candidates
        .iter()
        .filter_map(|c| policy::code(&c.cell));
    let held = codes.filter_map(|code| lattice.rank(&code)).max();
    let above = lattice
        .ranks
        .len()
        .saturating_sub(held.map_or(0, |rank| rank + 1));
    match above {
        0 => "write a new record instead",
        1 if rules.row("priorPrescription").is_some() => {
            "write a new record instead (a new request with priorPrescription), or enter it as \
             entered-in-error"
        }
        1 => "write a new record instead, or enter this one as entered-in-error",
        _ => {
            "correct it with its new value and a status above the final one (amended, corrected), \
             or enter it as entered-in-error"
        }
    }
}

/// Whether the author saw this value settled already.
fn stands_already(seen: &RecordState, key: &str, cell: &Cell) -> bool {
    seen.keys
        .get(key)
        .is_some_and(|k| match &k.outcome.candidates[..] {
            [one] => one.cell.same_value(cell),
            _ => false,
        })
}

/// The record as it was at a version.
///
/// # Errors
/// [`Error::Invalid`] if it never was.
pub(crate) fn state_at(
    rows: &dyn Rows,
    core: &Core,
    record: &RecordId,
    now: &RecordState,
    version: &Version,
    rules: &KindRules,
) -> Result<RecordState> {
    if !now.knows(&version.0) {
        return Err(Error::invalid(
            "this version is not one of this record; read it again",
        ));
    }
    if now.is_current(&version.0) {
        return Ok(now.clone());
    }
    let places: Vec<usize> = version.0.iter().filter_map(|id| now.position(id)).collect();
    let then = crate::doc::causality::Bits::closure(&now.changes, &places);
    let mut all = history(rows, core, record, now)?;
    all.retain(|incoming| now.position(&incoming.id).is_some_and(|i| then.has(i)));
    RecordState::replay(all, rules).map_err(|f| Error::integrity_at("a record's history", f))
}
