//! Drafts: edits not yet committed, pinned to the version a person had in view.

use crate::doc::state::RecordState;
use crate::error::{Error, Result};
use crate::ids::{ChangeId, CommitId, RecordId};
use crate::ledger::commit::Intent;
use crate::model::cell::{Atom, Cell};
use crate::model::field::{Addable, Countable, Settable};
use crate::model::json::Json;
use crate::model::kind::{KindRules, field_of_key};
use crate::model::order::Order;
use crate::model::pack::PolicyRow;
use crate::model::policy;
use crate::model::shape::{ElementNamer, RESOURCE_MAX, flatten, whole};
use crate::vault::Vault;
use crate::vault::core::{Work, load_record};
use crate::vault::index;
use crate::vault::write::{RecordEdit, commit_edits, history};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A causal position of a record: what a person had in view.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Version(pub Vec<ChangeId>);

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

#[derive(Clone)]
enum Step {
    Set(String, Json),
    Remove(String),
    Add(String, Json),
    SetElement(String, Json),
    Retract(String),
    Count(String, i64),
    Whole(Json),
}

// What is written, and why, is nobody's but the record's.
impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.len();
        write!(f, "Draft({:?}, {steps} steps)", self.record)
    }
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

    /// Why, in the author's words. Removals and retractions need it.
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
        self.authored(|work, signer| {
            let mut edits: Vec<RecordEdit> = Vec::with_capacity(drafts.len());
            for draft in drafts {
                if edits.iter().any(|e| e.record == draft.record) {
                    return Err(Error::invalid("a commit edits each record once"));
                }
                edits.extend(resolve(work, draft)?);
            }
            if edits.is_empty() {
                return Ok(None);
            }
            commit_edits(work, signer, Intent::Edit, edits).map(Some)
        })
    }
}

/// What a draft writes, judged against what its author saw and what is there now.
fn resolve(work: &Work, draft: Draft) -> Result<Option<RecordEdit>> {
    let rules = Arc::clone(work.core.rules(&draft.record));
    let now = load_record(work, &draft.record)?.map_or_else(RecordState::default, |(s, _)| s);
    let seen = state_at(work, &draft.record, &now, &draft.seen, &rules)?;
    let text = seen.render(&draft.record, &rules);
    let before = text.len();
    let json = Json::parse(text.as_bytes())?;
    let replica = work.core.meta.replica.to_string();
    let reason = draft.because.as_deref();
    let namer = work.core.namer()?;
    let mut page = Page {
        rules: &rules,
        namer,
        seen: &seen,
        json,
        cells: BTreeMap::new(),
        reason,
        replica,
    };
    for step in draft.steps {
        page.take(step)?;
    }
    let cells: Vec<(Box<str>, Cell)> = page
        .cells
        .into_iter()
        .filter(|(key, cell)| !stands_already(&seen, key, cell))
        .collect();
    for (key, cell) in &cells {
        let empty = policy::Outcome::default();
        let outcome = now.keys.get(key).map_or(&empty, |k| &k.outcome);
        if policy::without_effect(rules.policy(field_of_key(key)), outcome, cell) {
            return Err(Error::Refused {
                what: "this status is final; nothing later can lower it",
                hint: "write a new record instead (a new request with priorPrescription), or \
                       enter it as entered-in-error",
            });
        }
    }
    if cells.is_empty() {
        return Ok(None);
    }
    let patient = index::patient_of(&work.core.pack, &draft.record, &page.json);
    let size: usize = page.json.text().len();
    // Others may have made it so large, without any authority: it must still be possible to stop
    // a medicine there.
    let grows = before <= RESOURCE_MAX || size > before.saturating_add(SMALL_EDIT);
    if size > RESOURCE_MAX && grows {
        return Err(Error::invalid_at(
            "the record would be larger than 256 KiB",
            size,
        ));
    }
    Ok(Some(RecordEdit {
        record: draft.record,
        cells,
        seen: Some(draft.seen.0),
        patient,
        because: draft.because,
        import: None,
    }))
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
    work: &Work,
    record: &RecordId,
    now: &RecordState,
    version: &Version,
    rules: &KindRules,
) -> Result<RecordState> {
    let known = version.0.iter().all(|id| now.position(id).is_some());
    if !known {
        return Err(Error::invalid(
            "this version is not one of this record; read it again",
        ));
    }
    if now.is_current(&version.0) {
        return Ok(now.clone());
    }
    let places: Vec<usize> = version.0.iter().filter_map(|id| now.position(id)).collect();
    let then = crate::doc::causality::Bits::closure(&now.changes, &places);
    let mut all = history(work, record, now)?;
    all.retain(|incoming| now.position(&incoming.id).is_some_and(|i| then.has(i)));
    RecordState::replay(all, rules).map_err(|f| Error::integrity_at("a record's history", f))
}

/// A draft being worked out.
struct Page<'a> {
    rules: &'a KindRules,
    namer: ElementNamer,
    seen: &'a RecordState,
    /// What the author saw, with the steps so far.
    json: Json,
    cells: BTreeMap<Box<str>, Cell>,
    reason: Option<&'a str>,
    replica: String,
}

impl Page<'_> {
    fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Set(member, value) => self.set(&member, value),
            Step::Remove(member) => self.remove(&member),
            Step::Add(field, item) => self.add(&field, &item),
            Step::SetElement(key, item) => self.set_element(&key, &item),
            Step::Retract(key) => self.retract(&key),
            Step::Count(field, delta) => self.count(&field, delta),
            Step::Whole(resource) => self.whole(&resource),
        }
    }

    fn is_list(&self, field: &str) -> bool {
        self.rules.row(field).is_some_and(|row| row.list.is_some())
    }

    fn set(&mut self, member: &str, value: Json) -> Result<()> {
        if matches!(member, "id" | "resourceType") {
            return Err(Error::invalid_at(
                "this member names the record and stays",
                member,
            ));
        }
        if member.contains('/') {
            return self.set_element(member, &value);
        }
        let field = self.rules.field_of(member).to_owned();
        if matches!(self.rules.policy(&field), PolicyRow::Counter { .. }) {
            return Err(Error::invalid_at("a counter is added to, not set", field));
        }
        self.drop_other_choices(&field, member);
        self.json.set(member, value);
        self.rewrite(&field)
    }

    /// `valueString` takes the place of `valueQuantity`.
    fn drop_other_choices(&mut self, field: &str, member: &str) {
        let patterns = self.rules.row(field).map_or(&[][..], |row| &row.members);
        let own = [field.to_owned()];
        let patterns = if patterns.is_empty() {
            &own[..]
        } else {
            patterns
        };
        let plain = member.trim_start_matches('_');
        let Some(prefix) = patterns
            .iter()
            .filter_map(|p| p.strip_suffix("[x]"))
            .find(|p| plain.len() > p.len() && plain.starts_with(p))
        else {
            return;
        };
        let others: Vec<Box<str>> = self
            .json
            .members()
            .iter()
            .map(|(name, _)| name.clone())
            .filter(|name| {
                let other = name.trim_start_matches('_');
                other.len() > prefix.len()
                    && other.starts_with(prefix)
                    && other != plain
                    && self.rules.field_of(other) == field
            })
            .collect();
        for other in others {
            self.json.remove(&other);
        }
    }

    /// Writes a field anew from the page's JSON.
    fn rewrite(&mut self, field: &str) -> Result<()> {
        let members: Vec<(&str, &Json)> = self
            .json
            .members()
            .iter()
            .filter(|(name, _)| self.rules.field_of(name) == field)
            .map(|(name, value)| (&**name, value))
            .collect();
        if members.is_empty() {
            let reason = self.reason()?.into();
            self.cells.insert(field.into(), Cell::Removed { reason });
            return Ok(());
        }
        if self.is_list(field) {
            let part = Json::object(members.into_iter().map(|(n, v)| (n, v.clone())));
            return self.rewrite_list(field, &part);
        }
        let atom = whole(field, &members);
        self.cells
            .insert(field.into(), Cell::Put { atom, order: None });
        Ok(())
    }

    /// A list set as a whole: items that stay keep their names, new ones get one, the others are
    /// retracted.
    fn rewrite_list(&mut self, field: &str, part: &Json) -> Result<()> {
        let mut left: BTreeMap<Box<str>, Cell> = self.shown_items(field);
        for (key, cell) in flatten(part, self.rules, &self.namer)? {
            let same = left
                .iter()
                .find(|(_, old)| old.same_value(&cell))
                .map(|(k, _)| k.clone());
            match same {
                Some(kept) => {
                    left.remove(&kept);
                }
                None => {
                    left.remove(&key);
                    self.cells.insert(key, cell);
                }
            }
        }
        for key in left.into_keys() {
            let reason = self.reason()?.into();
            self.cells.insert(key, Cell::Removed { reason });
        }
        Ok(())
    }

    fn shown_items(&self, field: &str) -> BTreeMap<Box<str>, Cell> {
        self.seen
            .keys
            .iter()
            .filter(|(key, _)| field_of_key(key) == field)
            .filter_map(|(key, k)| Some((key.clone(), k.outcome.shown.clone()?)))
            .collect()
    }

    fn remove(&mut self, member: &str) -> Result<()> {
        if member.contains('/') {
            return self.retract(member);
        }
        let field = self.rules.field_of(member).to_owned();
        if self.json.remove(member).is_none() {
            return Err(Error::invalid_at("the record has no such member", member));
        }
        if self.is_list(&field) {
            for key in self.shown_items(&field).into_keys() {
                self.retract(&key)?;
            }
            return Ok(());
        }
        self.reason()?;
        self.rewrite(&field)
    }

    fn add(&mut self, field: &str, item: &Json) -> Result<()> {
        let Some(list) = self.rules.row(field).and_then(|row| row.list.as_ref()) else {
            return Err(Error::invalid_at(
                "this field is no list of items; set it",
                field,
            ));
        };
        let items = self.shown_items(field);
        if items.keys().any(|key| !key.contains('/')) {
            return Err(Error::invalid_at(
                "this list is kept whole here; set it",
                field,
            ));
        }
        let base = format!("{field}/{}", self.namer.name(item, &list.key));
        let mut key = base.clone();
        let mut n = 1;
        while self.seen.keys.contains_key(&*key) || self.cells.contains_key(&*key) {
            let is_there = items.contains_key(&*key) || self.cells.contains_key(&*key);
            if !is_there {
                break; // it was retracted, and comes back under its name
            }
            n += 1;
            key = format!("{base}#{n}");
        }
        let order_of = |cell: &Cell| match cell {
            Cell::Put { order, .. } => order.clone(),
            _ => None,
        };
        let last = items
            .values()
            .chain(self.cells.values())
            .filter_map(order_of)
            .max();
        let order = Some(Order::between(last.as_ref(), None));
        self.cells.insert(
            key.into(),
            Cell::Put {
                atom: Atom::value(item),
                order,
            },
        );
        Ok(())
    }

    fn set_element(&mut self, key: &str, item: &Json) -> Result<()> {
        let shown = self
            .seen
            .keys
            .get(key)
            .and_then(|k| k.outcome.shown.clone());
        let Some(Cell::Put { order, .. }) = shown else {
            return Err(Error::invalid_at(
                "the list has no such element",
                element_name(key),
            ));
        };
        self.cells.insert(
            key.into(),
            Cell::Put {
                atom: Atom::value(item),
                order,
            },
        );
        Ok(())
    }

    fn retract(&mut self, key: &str) -> Result<()> {
        let reason = self.reason()?.into();
        if !self.seen.keys.contains_key(key) {
            return Err(Error::invalid_at(
                "the list has no such element",
                element_name(key),
            ));
        }
        self.cells.insert(key.into(), Cell::Removed { reason });
        Ok(())
    }

    fn count(&mut self, field: &str, delta: i64) -> Result<()> {
        if !matches!(self.rules.policy(field), PolicyRow::Counter { .. }) {
            return Err(Error::invalid_at("this field is no counter; set it", field));
        }
        let key: Box<str> = format!("{field}/{}", self.replica).into();
        let so_far = match self.cells.get(&key) {
            Some(cell) => crate::doc::shown::part(Some(cell)),
            None => {
                let state = self.seen.keys.get(&key);
                crate::doc::shown::part(state.and_then(|k| k.outcome.shown.as_ref()))
            }
        };
        let sum = i64::try_from(so_far + i128::from(delta))
            .map_err(|_| Error::invalid_at("the counter would overflow", field))?;
        let atom = Atom::Value(sum.to_string().into());
        self.cells.insert(key, Cell::Put { atom, order: None });
        Ok(())
    }

    fn whole(&mut self, resource: &Json) -> Result<()> {
        let fields = |json: &Json| -> std::collections::BTreeSet<String> {
            json.members()
                .iter()
                .filter(|(name, _)| &**name != "id" && &**name != "resourceType")
                .map(|(name, _)| self.rules.field_of(name).to_owned())
                .collect()
        };
        let all: Vec<String> = fields(&self.json)
            .union(&fields(resource))
            .cloned()
            .collect();
        let before = std::mem::replace(&mut self.json, resource.clone());
        for field in all {
            let part = |json: &Json| {
                let members = json.members().iter();
                let own = members.filter(|(name, _)| self.rules.field_of(name) == field);
                own.cloned().collect::<Vec<_>>()
            };
            if part(&before) != part(resource) {
                self.rewrite(&field)?;
            }
        }
        Ok(())
    }

    fn reason(&self) -> Result<&str> {
        self.reason.ok_or(Error::Refused {
            what: "removing or retracting needs a reason",
            hint: "say why (--because)",
        })
    }
}

/// An element's name is data: only its field is told.
fn element_name(key: &str) -> String {
    format!("{}/..", field_of_key(key))
}
