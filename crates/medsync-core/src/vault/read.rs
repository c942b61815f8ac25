//! Reading: merged records, their open questions, their history.

use crate::doc::shown::{Apart, Contest, Why};
use crate::doc::state::RecordState;
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, RecordId, ReplicaId};
use crate::ledger::commit::Intent;
use crate::model::cell::{Atom, Cell, OpId};
use crate::model::field::{self, Field, Value as _};
use crate::model::json::Json;
use crate::model::kind::{KindRules, field_of_key, key_in_logs};
use crate::model::pack::Risk;
use crate::model::policy::Operation;
use crate::phi::Phi;
use crate::time::Timestamp;
use crate::vault::core::{BAD_VIEW, Core, load_commit, load_record, unpack_row, view_text};
use crate::vault::rows::{self, Rows, kind};
use crate::vault::write::QuestionRow;
use crate::vault::{Vault, Version};
use std::fmt;

/// A merged record as canonical JSON: settled values and safe interims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The record.
    pub json: Phi<String>,
    /// Whether it has open questions.
    pub contested: bool,
}

/// A record with its version and open questions.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its name.
    pub id: RecordId,
    /// The merged record as canonical JSON.
    pub json: Phi<String>,
    /// What to pin a draft to.
    pub version: Version,
    /// Its open questions.
    pub questions: Vec<Question>,
}

/// What reading a typed field returns.
#[derive(Debug, Clone)]
pub enum Merged<'a, T> {
    /// Settled; `None`: there is no value.
    Settled(Option<T>),
    /// Contested: the question, with every candidate and the safe interim.
    Contested(&'a Question),
}

impl Record {
    /// A field as its type: settled, or contested with every candidate.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the record holds another type there.
    pub fn get<P: field::Whole>(&self, field: Field<P>) -> Result<Merged<'_, P::Value>> {
        if let Some(question) = self.questions.iter().find(|q| q.field == field.name()) {
            return Ok(Merged::Contested(question));
        }
        let json = Json::parse(self.json.expose().as_bytes())?;
        let value = json.get(field.name()).map(|value| {
            let wrong = Error::invalid_at("the field holds another type", field.name());
            P::Value::from_json(value).ok_or(wrong)
        });
        Ok(Merged::Settled(value.transpose()?))
    }

    /// The items of a typed set.
    ///
    /// # Errors
    /// As [`Record::get`].
    pub fn items<P: field::Items>(&self, field: Field<P>) -> Result<Vec<P::Value>> {
        let json = Json::parse(self.json.expose().as_bytes())?;
        let items = json.get(field.name()).map_or(&[][..], Json::items);
        let wrong = || Error::invalid_at("the field holds another type", field.name());
        items
            .iter()
            .map(|item| P::Value::from_json(item).ok_or_else(wrong))
            .collect()
    }
}

/// An escalation: the open question on one contested field, as seen.
#[derive(Clone)]
pub struct Question {
    /// Its short name, the same on every replica.
    pub id: String,
    /// The record.
    pub record: RecordId,
    /// The field, or `field/element`.
    pub field: String,
    /// Why it is open.
    pub why: Why,
    /// By its risk it is due sooner or later.
    pub risk: Risk,
    /// Since when the candidates disagree.
    pub since: Timestamp,
    /// What is shown meanwhile; `None`: nothing.
    pub interim: Option<Phi<Json>>,
    /// The candidates, oldest first.
    pub candidates: Vec<Candidate>,
    /// How they came to stand beside each other.
    pub apart: Apart,
    /// Where a final status stands beside changes: those changes, with the field or `field/element`
    /// that each is of.
    pub beside: Vec<(String, Candidate)>,
    /// The version it was read at.
    pub version: Version,
}

// The name is a plain hash of record and key and can be guessed back from a log: it stays out.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("record", &self.record)
            .field("field", &key_in_logs(&self.field))
            .field("why", &self.why)
            .field("risk", &self.risk)
            .field("since", &self.since)
            .field("candidates", &self.candidates)
            .field("apart", &self.apart)
            .field("beside", &self.beside.len())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Question {
    /// When a person should have decided, in milliseconds since 1970.
    pub const fn due_ms(&self) -> i64 {
        self.since.ms().saturating_add(self.risk.due_in_ms())
    }
}

/// One concurrent value of a contested field.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The operation that wrote it.
    pub op: OpId,
    /// The value; `None`: removed.
    pub value: Option<Phi<Json>>,
    /// Why it was removed.
    pub reason: Option<Phi<String>>,
    /// Who wrote it.
    pub author: AuthorKey,
    /// The name people know the author by.
    pub name: Option<Phi<String>>,
    /// On which replica.
    pub replica: ReplicaId,
    /// When, by that replica's clock.
    pub time: Timestamp,
    /// Whether its author had the authority.
    pub confirmed: bool,
    /// Whether its author's chain forked there: a copy of the device, or of the key, writes too.
    pub forked: bool,
}

/// One operation in a record's history.
#[derive(Clone)]
pub struct Event {
    /// The key.
    pub field: String,
    /// What was written.
    pub candidate: Candidate,
    /// Why the commit was made.
    pub intent: Intent,
    /// What the author said.
    pub because: Option<Phi<String>>,
    /// The source of an import.
    pub source: Option<String>,
    /// Whether it stands: a candidate that nothing covers.
    pub stands: bool,
    /// For a review: the operations it settled.
    pub settles: Vec<OpId>,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("field", &key_in_logs(&self.field))
            .field("candidate", &self.candidate)
            .field("intent", &self.intent)
            .field("source", &self.source)
            .field("stands", &self.stands)
            .field("settles", &self.settles)
            .finish_non_exhaustive()
    }
}

/// The value of a cell, as JSON.
pub(crate) fn value_of(cell: &Cell) -> Option<Phi<Json>> {
    let Cell::Put { atom, .. } = cell.standing() else {
        return None;
    };
    let json = match atom {
        Atom::Value(text) => Json::parse(text.as_bytes()).ok()?,
        Atom::Members(_) => Json::parse(atom.text().as_bytes()).ok()?,
    };
    Some(Phi::new(json))
}

pub(crate) fn candidate(core: &Core, state: &RecordState, op: &Operation) -> Result<Candidate> {
    let info = state
        .changes
        .get(op.change)
        .ok_or(Error::integrity("a candidate has no change"))?;
    let chain = state.actors.get(info.actor).map_or(u32::MAX, |a| a.chain);
    let chain = core.chain(chain)?.id;
    let reason = match op.cell.standing() {
        Cell::Removed { reason } => Some(Phi::new(reason.to_string())),
        _ => None,
    };
    Ok(Candidate {
        op: op.id,
        value: value_of(&op.cell),
        reason,
        author: chain.author,
        name: core.membership.name_of(&chain.author.0).cloned(),
        replica: chain.replica,
        time: op.hlc,
        confirmed: op.confirmed(),
        forked: core.forks.has(&chain),
    })
}

/// The short name of an escalation.
pub(crate) fn question_id(record: &RecordId, key: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("medsync v1 escalation");
    hasher
        .update(record.as_str().as_bytes())
        .update(&[0])
        .update(key.as_bytes());
    crate::ids::hex(&hasher.finalize().as_bytes()[..6])
}

pub(crate) fn questions(
    core: &Core,
    record: &RecordId,
    state: &RecordState,
    rules: &KindRules,
) -> Result<Vec<Question>> {
    let open = state.contests(rules);
    open.iter()
        .map(|contest| question(core, record, state, rules, contest))
        .collect()
}

fn question(
    core: &Core,
    record: &RecordId,
    state: &RecordState,
    rules: &KindRules,
    contest: &Contest,
) -> Result<Question> {
    let outcome = state.keys.get(&contest.key).map(|k| &k.outcome);
    let operations = outcome.map_or(&[][..], |o| &o.candidates);
    let candidates = operations
        .iter()
        .map(|op| candidate(core, state, op))
        .collect::<Result<Vec<_>>>()?;
    let changes = match contest.why {
        Why::StoppedBesideChange => state.changes_beside(rules, &contest.key),
        _ => Vec::new(),
    };
    let beside = changes
        .into_iter()
        .map(|(key, op)| Ok((key.to_owned(), candidate(core, state, op)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(Question {
        id: question_id(record, &contest.key),
        record: record.clone(),
        field: contest.key.to_string(),
        why: contest.why,
        risk: rules.risk(field_of_key(&contest.key)),
        since: contest.since,
        interim: outcome.and_then(|o| o.shown.as_ref()).and_then(value_of),
        candidates,
        apart: state.apart(rules, &contest.key),
        beside,
        version: Version(state.heads()),
    })
}

impl Vault {
    /// The merged record: one lookup.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Integrity`] if the vault cannot be read.
    pub fn read(&self, record: &RecordId) -> Result<Option<View>> {
        let view = self.view(record)?;
        if view.is_some() {
            self.note_read(record, None);
        }
        Ok(view)
    }

    /// As [`Vault::read`], without a word in the audit log: for what was noted as a whole.
    pub(crate) fn view(&self, record: &RecordId) -> Result<Option<View>> {
        let rows = self.store.read()?;
        let Some(mut row) = rows.get(&rows::of_record(kind::VIEW, record))? else {
            return Ok(None);
        };
        let contested = row.first() == Some(&1);
        row.drain(..row.len().min(1));
        let json = String::from_utf8(row).map_err(|_| BAD_VIEW)?;
        Ok(Some(View {
            json: Phi::new(json),
            contested,
        }))
    }

    /// The record with its version and open questions.
    ///
    /// # Errors
    /// As [`Vault::read`].
    pub fn record(&self, record: &RecordId) -> Result<Option<Record>> {
        let rows = self.store.read()?;
        let Some((state, view)) = load_record(&rows, record)? else {
            return Ok(None);
        };
        let rules = self.core.rules(record);
        let version = Version(state.heads());
        self.note_read(record, Some(version.mark()));
        Ok(Some(Record {
            id: record.clone(),
            json: Phi::new(view),
            version,
            questions: questions(&self.core, record, &state, rules)?,
        }))
    }

    /// Calls `each` with the records of a kind (all kinds: an empty text) in order, from `after`
    /// on, until it says `false`.
    ///
    /// # Errors
    /// As [`Vault::read`], or what `each` returns.
    pub fn for_each(
        &self,
        kind_name: &str,
        after: Option<&RecordId>,
        each: &mut dyn FnMut(&RecordId, &str) -> Result<bool>,
    ) -> Result<()> {
        self.note_search("list", kind_name);
        self.views(kind_name, after, each)
    }

    /// As [`Vault::for_each`], for what was noted as a whole.
    pub(crate) fn views(
        &self,
        kind_name: &str,
        after: Option<&RecordId>,
        each: &mut dyn FnMut(&RecordId, &str) -> Result<bool>,
    ) -> Result<()> {
        let rows = self.store.read()?;
        let prefix = match kind_name {
            "" => vec![kind::VIEW],
            name => [&[kind::VIEW][..], name.as_bytes(), b"/"].concat(),
        };
        let from = after.map_or_else(
            || prefix.clone(),
            |r| [&rows::of_record(kind::VIEW, r)[..], &[0]].concat(),
        );
        rows.scan(&prefix, &from, &mut |key, row| {
            let id = key
                .get(1..)
                .and_then(|id| std::str::from_utf8(id).ok())
                .unwrap_or_default();
            each(&id.parse()?, view_text(row)?)
        })
    }

    /// The open questions, most urgent first.
    ///
    /// # Errors
    /// As [`Vault::read`].
    pub fn escalations(&self) -> Result<Vec<Question>> {
        self.note_search("list", "questions");
        self.questions()
    }

    fn questions(&self) -> Result<Vec<Question>> {
        let rows = self.store.read()?;
        let mut open = Vec::new();
        let mut last: Option<RecordId> = None;
        for (key, row) in rows.all(&[kind::QUESTION])? {
            let _: QuestionRow = unpack_row(&row)?;
            let name = key
                .get(1..)
                .unwrap_or_default()
                .split(|b| *b == 0)
                .next()
                .unwrap_or_default();
            let record: RecordId = String::from_utf8_lossy(name).parse()?;
            if last.as_ref() == Some(&record) {
                continue;
            }
            if let Some((state, _)) = load_record(&rows, &record)? {
                open.extend(questions(
                    &self.core,
                    &record,
                    &state,
                    self.core.rules(&record),
                )?);
            }
            last = Some(record);
        }
        open.sort_by_key(|q| (q.due_ms(), q.id.clone()));
        Ok(open)
    }

    /// An open question by its name.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is settled or never was.
    pub fn escalation(&self, id: &str) -> Result<Question> {
        let found = self.questions()?.into_iter().find(|q| q.id == id);
        let found = found.ok_or(Error::NotFound("open question; it may be settled already"))?;
        self.note_read(&found.record, Some(found.version.mark()));
        Ok(found)
    }

    /// Everything that was written to a record, or to one field of it, oldest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown record.
    pub fn history(&self, record: &RecordId, field: Option<&str>) -> Result<Vec<Event>> {
        let events = self.events(record, field)?;
        self.note_read(record, None);
        Ok(events)
    }

    /// As [`Vault::history`], for what was noted as a whole.
    pub(crate) fn events(&self, record: &RecordId, field: Option<&str>) -> Result<Vec<Event>> {
        let rows = self.store.read()?;
        let (state, _) = load_record(&rows, record)?.ok_or(Error::NotFound("record"))?;
        let wanted = |key: &str| field.is_none_or(|f| key == f || field_of_key(key) == f);
        let mut events = Vec::new();
        for (index, info) in state.changes.iter().enumerate() {
            let chain = state.actors.get(info.actor).map_or(u32::MAX, |a| a.chain);
            let Some(row) = load_commit(&rows, chain, info.commit_seq)? else {
                continue;
            };
            let header = row.header()?;
            let Some((entry, change)) = row.change_of(record)? else {
                continue;
            };
            let (change, _) = crate::doc::decode(change)
                .map_err(|fault| Error::integrity_at("a stored change", fault))?;
            for (i, op) in change
                .ops
                .iter()
                .enumerate()
                .filter(|(_, op)| wanted(&op.key))
            {
                let id = change.op_id(i);
                let operation = Operation {
                    id,
                    change: index,
                    cell: op.cell.clone(),
                    hlc: info.hlc,
                    standing: info.standing,
                };
                let stands = state.keys.get(&op.key).is_some_and(|k| {
                    let here = |c: &Operation| (c.id, c.change) == (id, index);
                    k.outcome.candidates.iter().any(here)
                });
                let settles = match &op.cell {
                    Cell::Review(review) => review.settles.clone(),
                    _ => Vec::new(),
                };
                events.push(Event {
                    field: op.key.to_string(),
                    candidate: candidate(&self.core, &state, &operation)?,
                    intent: header.fields().intent,
                    because: entry.because.clone().map(Phi::new),
                    source: entry.source.as_ref().map(|mark| mark.source.clone()),
                    stands,
                    settles,
                });
            }
        }
        Ok(events)
    }
}
