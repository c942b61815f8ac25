//! The state row: a record's state without the values that its view already holds.
//!
//! The view is the merged record as canonical JSON, so a warm read is one lookup. The row beside it
//! has heads, operations and candidates. Values stand in the row only where the view does not show
//! them: contested candidates, tombstones, reviews.

use crate::doc::state::{ActorInfo, ChangeInfo, ImportedFrom, KeyState, RecordState};
use crate::error::{Error, Result};
use crate::ids::{ActorId, ChangeId, RecordId};
use crate::model::cell::{Atom, Cell, OpId};
use crate::model::kind::{KindRules, field_of_key};
use crate::model::order::Order;
use crate::model::pack::PolicyRow;
use crate::model::policy::{Accord, Operation, Outcome, Standing};
use crate::model::shape::{is_column, is_reserved, split_items, split_members};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// A row without changes that stand in two commits ..
const PLAIN: u8 = 1;
/// .. and one with them: what a fork leaves behind.
const AGAIN: u8 = 2;
const BAD: Error = Error::integrity("a state row does not fit its view");

#[derive(Serialize, Deserialize)]
struct Row {
    format: u8,
    patient: Option<RecordId>,
    actors: Vec<(ActorId, u32)>,
    changes: Vec<ChangeRow>,
    keys: Vec<KeyRow>,
}

#[derive(Serialize, Deserialize)]
struct ChangeRow {
    id: ChangeId,
    actor: usize,
    seq: u64,
    start_op: u64,
    ops: u64,
    deps: Vec<usize>,
    seen: Option<Vec<usize>>,
    hlc: i64,
    commit_seq: u64,
    standing: Standing,
    import: Option<ImportedFrom>,
}

#[derive(Serialize, Deserialize)]
struct KeyRow {
    key: Box<str>,
    /// Where the visible operations are not just the candidates'.
    visible: Option<Vec<(usize, u64)>>,
    candidates: Vec<CandidateRow>,
    /// Where what is shown is not just the one candidate.
    shown: Option<(Accord, Option<Cell>)>,
}

#[derive(Serialize, Deserialize)]
struct CandidateRow {
    change: usize,
    ctr: u64,
    cell: CellRow,
}

/// A cell, or where in the view it stands.
#[derive(Serialize, Deserialize)]
enum CellRow {
    Here(Cell),
    /// The member of the key's name, or the key's item of that list.
    Viewed(Option<Order>),
    /// These members, or the key's item of the lists of these names.
    ViewedMembers(Option<Order>, Vec<Box<str>>),
    /// A review that its author had no authority for where it was written.
    OutOfPlace(Cell),
}

impl RecordState {
    /// The row that, with the view, holds this state.
    pub fn to_row(&self, rules: &KindRules) -> Vec<u8> {
        let clashing = self.clashing_members(rules);
        let row = Row {
            format: if self.again.is_empty() { PLAIN } else { AGAIN },
            patient: self.patient.clone(),
            actors: self.actors.iter().map(|a| (a.actor, a.chain)).collect(),
            changes: self.changes.iter().map(change_row).collect(),
            keys: self
                .keys
                .iter()
                .map(|(key, state)| self.key_row(key, state, &clashing))
                .collect(),
        };
        let mut bytes = postcard::to_allocvec(&row).expect("a row has no maps of unknown length");
        if !self.again.is_empty() {
            let again = postcard::to_allocvec(&self.again);
            bytes.extend(again.expect("a list of numbers has no maps"));
        }
        bytes
    }

    /// Members of the view that are not one key's or one list's alone: there the view does not
    /// hold every value as it was written.
    fn clashing_members(&self, rules: &KindRules) -> BTreeSet<&str> {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        let mut clashing = BTreeSet::new();
        for (key, state) in &self.keys {
            // `name` kept whole and the items `name/..` are two owners.
            let owner = key.split_inclusive('/').next().unwrap_or_default();
            let field = field_of_key(key);
            // The view shows a counter's sum, not its parts.
            if matches!(rules.policy(field), PolicyRow::Counter { .. }) {
                clashing.insert(field);
                clashing.extend(members_of(key, state.outcome.shown.as_ref()));
            }
            // A list kept whole comes before its items and moves them all.
            if let Some(whole) = self.keys.get(field).filter(|_| owner != field) {
                clashing.extend(members_of(field, whole.outcome.shown.as_ref()));
                clashing.extend(members_of(key, state.outcome.shown.as_ref()));
            }
            for name in members_of(key, state.outcome.shown.as_ref()) {
                let beside = owner != field && !is_column(field, name);
                let shared = *owners.entry(name).or_insert(owner) != owner;
                if shared || beside || is_reserved(name) {
                    clashing.insert(name);
                }
            }
        }
        clashing
    }

    fn out_of_place(&self, candidate: &Operation) -> bool {
        let written = self.changes.get(candidate.change);
        written.is_some_and(|c| c.standing != candidate.standing)
    }

    fn key_row(&self, key: &str, state: &KeyState, clashing: &BTreeSet<&str>) -> KeyRow {
        let outcome = &state.outcome;
        let ids: Vec<OpId> = outcome.candidates.iter().map(|c| c.id).collect();
        let actor = |id: &OpId| self.actors.iter().position(|a| a.actor == id.actor);
        let visible = (ids != state.visible).then(|| {
            state
                .visible
                .iter()
                .map(|id| (actor(id).unwrap_or(usize::MAX), id.ctr))
                .collect()
        });
        let alone = match &outcome.candidates[..] {
            [one] if outcome.accord == Accord::Settled => {
                Some(one).filter(|one| shows(one, outcome.shown.as_ref()))
            }
            _ => None,
        };
        let members = members_of(key, outcome.shown.as_ref());
        let viewed = alone.filter(|_| !members.iter().any(|name| clashing.contains(name)));
        let candidates = outcome.candidates.iter().map(|c| CandidateRow {
            change: c.change,
            ctr: c.id.ctr,
            cell: match &c.cell {
                Cell::Put {
                    atom: Atom::Value(_),
                    order,
                } if viewed.is_some() => CellRow::Viewed(order.clone()),
                Cell::Put {
                    atom: Atom::Members(members),
                    order,
                } if viewed.is_some() => {
                    let names = members.iter().map(|(name, _)| name.clone()).collect();
                    CellRow::ViewedMembers(order.clone(), names)
                }
                cell if self.out_of_place(c) => CellRow::OutOfPlace(cell.clone()),
                cell => CellRow::Here(cell.clone()),
            },
        });
        KeyRow {
            key: key.into(),
            visible,
            candidates: candidates.collect(),
            shown: alone
                .is_none()
                .then(|| (outcome.accord, outcome.shown.clone())),
        }
    }

    /// Reads a state back from its row and view.
    ///
    /// # Errors
    /// [`Error::Integrity`] if the two do not fit, [`Error::TooNew`] for a newer format.
    pub fn from_row(row: &[u8], view: &str) -> Result<Self> {
        if row.first().is_some_and(|format| *format > AGAIN) {
            let found = row.first().copied().map_or(0, u32::from);
            return Err(Error::TooNew {
                what: "a state row",
                found,
                known: AGAIN.into(),
            });
        }
        let (row, rest) = postcard::take_from_bytes::<Row>(row).map_err(|_| BAD)?;
        let again: Vec<(usize, u32, u64)> = match row.format {
            AGAIN => postcard::from_bytes(rest).map_err(|_| BAD)?,
            _ => Vec::new(),
        };
        let mut view = View {
            members: split_members(view)?,
            items: BTreeMap::new(),
        };
        let actors: Vec<ActorInfo> = row
            .actors
            .into_iter()
            .map(|(actor, chain)| ActorInfo { actor, chain })
            .collect();
        let changes: Vec<ChangeInfo> = row.changes.into_iter().map(change_info).collect();
        if !changes
            .iter()
            .enumerate()
            .all(|(i, c)| c.fits(i, actors.len()))
            || again.iter().any(|(i, ..)| *i >= changes.len())
        {
            return Err(BAD);
        }
        let slots = slots(&row.keys);
        let mut keys = BTreeMap::new();
        for (key, slot) in row.keys.into_iter().zip(slots) {
            let name = key.key.clone();
            let state = key_state(key, &actors, &changes, |key, cell| {
                view.cell(key, cell, slot)
            })?;
            keys.insert(name, state);
        }
        Ok(Self {
            patient: row.patient,
            actors,
            changes,
            keys,
            again,
        })
    }
}

/// The patient that a record belongs to, from the first bytes of its row.
pub(crate) fn patient_of(row: &[u8]) -> Option<RecordId> {
    let ((_, patient), _): ((u8, Option<RecordId>), _) = postcard::take_from_bytes(row).ok()?;
    patient
}

/// A key's state from its row; `cell` finds what the view holds.
fn key_state(
    row: KeyRow,
    actors: &[ActorInfo],
    changes: &[ChangeInfo],
    mut cell: impl FnMut(&str, CellRow) -> Result<Cell>,
) -> Result<KeyState> {
    let op_id = |actor: usize, ctr: u64| {
        let actor = actors.get(actor).ok_or(BAD)?.actor;
        Ok(OpId { ctr, actor })
    };
    let mut candidates = Vec::with_capacity(row.candidates.len());
    for candidate in row.candidates {
        let change = changes.get(candidate.change).ok_or(BAD)?;
        let standing = match candidate.cell {
            CellRow::OutOfPlace(_) => Standing::default(),
            _ => change.standing,
        };
        candidates.push(Operation {
            id: op_id(change.actor, candidate.ctr)?,
            change: candidate.change,
            cell: cell(&row.key, candidate.cell)?,
            hlc: change.hlc,
            standing,
        });
    }
    let visible = match row.visible {
        None => candidates.iter().map(|c| c.id).collect(),
        Some(visible) => visible
            .into_iter()
            .map(|(actor, ctr)| op_id(actor, ctr))
            .collect::<Result<_>>()?,
    };
    let (accord, shown) = row.shown.unwrap_or_else(|| {
        let cell = candidates.first().map(|c| c.cell.standing().clone());
        let cell = cell.filter(|cell| matches!(cell, Cell::Put { .. }));
        (Accord::Settled, cell)
    });
    let outcome = Outcome {
        candidates,
        shown,
        accord,
    };
    Ok(KeyState { visible, outcome })
}

/// For each key the place of its item in the view's list, which orders items by their index.
fn slots(keys: &[KeyRow]) -> Vec<usize> {
    type Item<'a> = (Option<&'a Order>, &'a str, usize);
    let mut lists: BTreeMap<&str, Vec<Item<'_>>> = BTreeMap::new();
    for (i, key) in keys.iter().enumerate() {
        if let (Some((field, element)), Some(order)) = (key.key.split_once('/'), key.place()) {
            lists.entry(field).or_default().push((order, element, i));
        }
    }
    let mut slots = vec![0; keys.len()];
    for mut items in lists.into_values() {
        items.sort_unstable();
        items
            .iter()
            .enumerate()
            .for_each(|(slot, (_, _, i))| slots[*i] = slot);
    }
    slots
}

impl KeyRow {
    /// The index of what the key shows; `None` if it shows nothing.
    fn place(&self) -> Option<Option<&Order>> {
        let of = |cell: &'_ Cell| matches!(cell, Cell::Put { .. });
        match (&self.shown, &self.candidates[..]) {
            (Some((_, shown)), _) => shown.as_ref().filter(|c| of(c)).map(order_of),
            (None, [CandidateRow { cell, .. }]) => match cell {
                CellRow::Viewed(order) | CellRow::ViewedMembers(order, _) => Some(order.as_ref()),
                CellRow::Here(cell) | CellRow::OutOfPlace(cell) => {
                    Some(cell.standing()).filter(|c| of(c)).map(order_of)
                }
            },
            _ => None,
        }
    }
}

const fn order_of(cell: &Cell) -> Option<&Order> {
    match cell {
        Cell::Put { order, .. } => order.as_ref(),
        _ => None,
    }
}

/// The view, taken apart as far as elided values need it.
struct View<'a> {
    members: BTreeMap<Box<str>, &'a RawValue>,
    items: BTreeMap<Box<str>, Vec<&'a RawValue>>,
}

impl View<'_> {
    fn cell(&mut self, key: &str, cell: CellRow, slot: usize) -> Result<Cell> {
        let (order, atom) = match cell {
            CellRow::Here(cell) | CellRow::OutOfPlace(cell) => return Ok(cell),
            CellRow::Viewed(order) => {
                (order, Atom::Value(self.text(field_of_key(key), key, slot)?))
            }
            CellRow::ViewedMembers(order, names) => {
                let mut members = Vec::with_capacity(names.len());
                for name in names {
                    let text = self.text(&name, key, slot)?;
                    members.push((name, text));
                }
                (order, Atom::Members(members.into()))
            }
        };
        Ok(Cell::Put { atom, order })
    }

    fn text(&mut self, member: &str, key: &str, slot: usize) -> Result<Box<str>> {
        let raw = *self.members.get(member).ok_or(BAD)?;
        if !key.contains('/') {
            return Ok(raw.get().into());
        }
        if !self.items.contains_key(member) {
            self.items.insert(member.into(), split_items(raw.get())?);
        }
        let items = self.items.get(member).ok_or(BAD)?;
        Ok(items.get(slot).ok_or(BAD)?.get().into())
    }
}

/// The members of the view that a key's shown value stands in.
fn members_of<'a>(key: &'a str, shown: Option<&'a Cell>) -> Vec<&'a str> {
    match shown {
        Some(Cell::Put { atom, .. }) => match atom {
            Atom::Value(_) => vec![field_of_key(key)],
            Atom::Members(all) => all.iter().map(|(name, _)| &**name).collect(),
        },
        _ => vec![],
    }
}

/// Whether the one candidate is what is shown, so that the row need not say so.
fn shows(one: &Operation, shown: Option<&Cell>) -> bool {
    match one.cell.standing() {
        cell @ Cell::Put { .. } => shown == Some(cell),
        _ => shown.is_none(),
    }
}

impl ChangeInfo {
    /// Whether it names only actors that there are, and changes before it.
    fn fits(&self, index: usize, actors: usize) -> bool {
        let mut named = self.deps.iter().chain(self.seen.iter().flatten());
        self.actor < actors && named.all(|i| *i < index)
    }
}

fn change_row(c: &ChangeInfo) -> ChangeRow {
    ChangeRow {
        id: c.id,
        actor: c.actor,
        seq: c.seq,
        start_op: c.start_op,
        ops: c.end_op.saturating_add(1).saturating_sub(c.start_op),
        deps: c.deps.clone(),
        seen: c.seen.clone(),
        hlc: c.hlc.0,
        commit_seq: c.commit_seq,
        standing: c.standing,
        import: c.import,
    }
}

fn change_info(row: ChangeRow) -> ChangeInfo {
    ChangeInfo {
        id: row.id,
        actor: row.actor,
        seq: row.seq,
        start_op: row.start_op,
        end_op: row.start_op.saturating_add(row.ops).saturating_sub(1),
        deps: row.deps,
        seen: row.seen,
        hlc: Timestamp(row.hlc),
        commit_seq: row.commit_seq,
        standing: row.standing,
        import: row.import,
    }
}
