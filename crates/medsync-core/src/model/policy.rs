//! Policies as pure functions of a key's operations and of who had seen what.
//!
//! Automerge carries operations; it never decides. Operation Y *covers* X when X was in the version
//! that Y's author had seen and Y is entitled to: its author has authority; where X is a terminal
//! status, Y's is higher (or the pack lets those who saw it reopen); where X was contested there,
//! Y is a reviewer's review that settles it. Candidates are the operations that nothing covers.
//! Coverage depends only on what Y's author saw, so it never changes once Y is delivered, and the
//! order of delivery cannot matter.

use crate::model::cell::{Atom, Cell, OpId};
use crate::model::json::Json;
use crate::model::pack::{Interim, Lattice, PolicyRow, Reopen};
use crate::time::Timestamp;

/// What an author's certificates say about one commit.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Standing {
    /// May author clinical records.
    pub clinical: bool,
    /// May decide escalations.
    pub reviewer: bool,
}

/// One operation on a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its Automerge id.
    pub id: OpId,
    /// The index of its change, in an order in which causes come first.
    pub change: usize,
    /// Its value.
    pub cell: Cell,
    /// When, by its author's clock.
    pub hlc: Timestamp,
    /// With what authority.
    pub standing: Standing,
}

impl Operation {
    /// Whether its author had the authority for it. If not it covers nothing and is shown as an
    /// unconfirmed candidate.
    pub const fn confirmed(&self) -> bool {
        match self.cell {
            Cell::Review(_) => self.standing.reviewer,
            _ => self.standing.clinical,
        }
    }
}

/// Who had seen what, by index of change.
pub trait Causality {
    /// Whether the author of change `later` had change `earlier` in view.
    fn saw(&self, later: usize, earlier: usize) -> bool;
}

/// Whether the candidates of a key agree.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub enum Accord {
    /// They do, or the policy settles them.
    #[default]
    Settled,
    /// Those with authority agree; someone without it says otherwise, since then.
    Unconfirmed(Timestamp),
    /// People with authority disagree, since then.
    Contested(Timestamp),
}

impl Accord {
    /// Since when a person has to look.
    pub const fn since(self) -> Option<Timestamp> {
        match self {
            Self::Settled => None,
            Self::Unconfirmed(since) | Self::Contested(since) => Some(since),
        }
    }
}

/// What a key shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The operations that nothing covers, oldest first.
    pub candidates: Vec<Operation>,
    /// The value to show: settled, or the safe interim. `None`: nothing is to be shown.
    pub shown: Option<Cell>,
    /// Whether the candidates agree.
    pub accord: Accord,
}

/// Decides one key from all its operations, in an order in which causes come first.
pub fn decide(policy: &PolicyRow, operations: &[Operation], causality: &dyn Causality) -> Outcome {
    let history = History::new(policy, operations, causality);
    let all: Vec<usize> = (0..operations.len()).collect();
    settle(policy, &history.candidates(&all), &|| {
        history.last_agreed(&all)
    })
}

/// Adds one operation whose author had seen every other operation of the key. The result equals
/// [`decide`] over all of them, without needing them: a property test holds it to that. `None`:
/// the interim has to be found in the key's history.
pub fn extend(policy: &PolicyRow, before: &Outcome, new: Operation) -> Option<Outcome> {
    let contested = matches!(before.accord, Accord::Contested(_));
    let keep = |x: &&Operation| !entitled(policy, &new, x, contested);
    let mut candidates: Vec<Operation> = before.candidates.iter().filter(keep).cloned().collect();
    // A plain value on top of a contest leaves the common past as it was, and so the interim.
    let same_past = contested && candidates.len() == before.candidates.len();
    let missing = std::cell::Cell::new(false);
    let interim = || {
        missing.set(!same_past);
        before.shown.clone()
    };
    candidates.push(new);
    sort(&mut candidates);
    let outcome = settle(policy, &candidates.iter().collect::<Vec<_>>(), &interim);
    (!missing.get()).then_some(outcome)
}

fn sort(candidates: &mut [Operation]) {
    candidates.sort_by_key(|c| (c.hlc, c.id));
}

/// Whether `y`, whose author saw `x`, covers it.
fn entitled(policy: &PolicyRow, y: &Operation, x: &Operation, contested: bool) -> bool {
    if !y.confirmed() {
        return false;
    }
    let reviewed = match &y.cell {
        Cell::Review(review) if !review.settles.contains(&x.id) => return false,
        Cell::Review(_) => true,
        _ => false,
    };
    // What is in question, for a disagreement or for want of authority, only a review settles.
    if !reviewed && decides(policy) && (contested || !x.confirmed()) {
        return false;
    }
    match policy {
        PolicyRow::Lattice(lattice) => rises(lattice, y, x, reviewed),
        _ => true,
    }
}

/// Whether the policy leaves questions to people.
const fn decides(policy: &PolicyRow) -> bool {
    !matches!(policy, PolicyRow::Lww | PolicyRow::Counter { .. })
}

/// Whether a terminal status gives way.
fn rises(lattice: &Lattice, y: &Operation, x: &Operation, reviewed: bool) -> bool {
    // Nobody's unauthorised status holds against anything.
    if !x.confirmed() {
        return true;
    }
    let Some(x_code) = code(&x.cell).filter(|c| lattice.is_terminal(c)) else {
        return true;
    };
    if lattice.reopen == Reopen::BySeen {
        return true;
    }
    let rank = |code: &str| lattice.rank(code);
    let Some(y_rank) = code(&y.cell).as_deref().and_then(rank) else {
        return false;
    };
    let x_rank = rank(&x_code);
    // A review may choose between terminals of one rank; it may not revive.
    Some(y_rank) > x_rank || (reviewed && Some(y_rank) == x_rank)
}

/// The operations of a key with what each covers, worked out causes first.
struct History<'a> {
    policy: &'a PolicyRow,
    operations: &'a [Operation],
    causality: &'a dyn Causality,
    covers: Vec<Vec<usize>>,
}

impl<'a> History<'a> {
    fn new(
        policy: &'a PolicyRow,
        operations: &'a [Operation],
        causality: &'a dyn Causality,
    ) -> Self {
        let mut this = Self {
            policy,
            operations,
            causality,
            covers: Vec::new(),
        };
        for y in 0..operations.len() {
            let seen = this.seen_by(y);
            let there = this.candidates(&seen);
            let contested = matches!(
                settle(policy, &there, &|| None).accord,
                Accord::Contested(_)
            );
            let covered = there
                .iter()
                .filter(|x| entitled(policy, &operations[y], x, contested))
                .filter_map(|x| operations.iter().position(|o| o.id == x.id))
                .collect();
            this.covers.push(covered);
        }
        this
    }

    /// Operations that the author of `y` had in view.
    fn seen_by(&self, y: usize) -> Vec<usize> {
        let later = self.operations[y].change;
        (0..y)
            .filter(|x| self.causality.saw(later, self.operations[*x].change))
            .collect()
    }

    /// Of a causally closed set of operations, those that none of the set covers.
    fn candidates(&self, set: &[usize]) -> Vec<&'a Operation> {
        let mut covered = vec![false; self.operations.len()];
        for y in set {
            for x in &self.covers[*y] {
                covered[*x] = true;
            }
        }
        let mut left: Vec<&Operation> = set
            .iter()
            .filter(|i| !covered[**i])
            .map(|i| &self.operations[*i])
            .collect();
        left.sort_by_key(|c| (c.hlc, c.id));
        left
    }

    /// What was shown in the version that the authors of all trusted candidates had in view. Where
    /// that was contested itself, what its sides had in common, and so on: a loop and no recursion,
    /// because people who go on disagreeing set the depth.
    fn last_agreed(&self, set: &[usize]) -> Option<Cell> {
        let mut set = set.to_vec();
        loop {
            let candidates = self.candidates(&set);
            let sides = trusted(&candidates);
            let common: Vec<usize> = set
                .iter()
                .copied()
                .filter(|x| {
                    let change = self.operations[*x].change;
                    sides.iter().all(|s| self.causality.saw(s.change, change))
                })
                .collect();
            if common.len() >= set.len() {
                return None;
            }
            let before = self.candidates(&common);
            // What nobody with authority wrote was never agreed among those who have it.
            if sides.iter().any(|s| s.confirmed()) && !before.iter().any(|c| c.confirmed()) {
                return None;
            }
            let further = std::cell::Cell::new(false);
            let outcome = settle(self.policy, &before, &|| {
                further.set(true);
                None
            });
            if !further.get() {
                return outcome.shown;
            }
            set = common;
        }
    }
}

/// Settles candidates, oldest first, or finds them contested and picks the interim.
fn settle(
    policy: &PolicyRow,
    candidates: &[&Operation],
    last_agreed: &dyn Fn() -> Option<Cell>,
) -> Outcome {
    let trusted = &trusted(candidates)[..];
    let (shown, contested) = match policy {
        PolicyRow::Lww | PolicyRow::Counter { .. } => (newest(trusted), false),
        PolicyRow::Set {
            contest_edits,
            contest_retractions,
        } => settle_item(trusted, *contest_edits, *contest_retractions),
        PolicyRow::Lattice(lattice) => settle_status(lattice, trusted),
        PolicyRow::Escalate { interim, order, by } => match agreed(trusted) {
            Some(cell) => (Some(cell), false),
            None => (
                pick_interim(*interim, &Scale { order, by }, trusted, last_agreed),
                true,
            ),
        },
    };
    let differs = |c: &&Operation| shown.as_ref().is_none_or(|shown| !c.cell.same_value(shown));
    let accord = if contested {
        Accord::Contested(diverged(trusted))
    } else if decides(policy) && candidates.iter().any(|c| !c.confirmed() && differs(c)) {
        Accord::Unconfirmed(diverged(candidates))
    } else {
        Accord::Settled
    };
    Outcome {
        shown: shown
            .map(|cell| cell.standing().clone())
            .filter(|cell| matches!(cell, Cell::Put { .. })),
        accord,
        candidates: candidates.iter().map(|c| (*c).clone()).collect(),
    }
}

/// The candidates that authority stands behind; where there are none, all.
fn trusted<'a>(candidates: &[&'a Operation]) -> Vec<&'a Operation> {
    let confirmed: Vec<_> = candidates
        .iter()
        .copied()
        .filter(|c| c.confirmed())
        .collect();
    if confirmed.is_empty() {
        candidates.to_vec()
    } else {
        confirmed
    }
}

/// When the second differing value was written.
fn diverged(candidates: &[&Operation]) -> Timestamp {
    let first = candidates.first();
    candidates
        .iter()
        .find(|c| first.is_some_and(|first| !c.cell.same_value(&first.cell)))
        .or(candidates.last())
        .map(|c| c.hlc)
        .unwrap_or_default()
}

fn agreed(candidates: &[&Operation]) -> Option<Cell> {
    let (last, rest) = candidates.split_last()?;
    rest.iter()
        .all(|c| c.cell.same_value(&last.cell))
        .then(|| last.cell.clone())
}

/// Highest (HLC, operation): the operation's id holds the author and replica, and breaks ties.
fn newest(candidates: &[&Operation]) -> Option<Cell> {
    candidates
        .iter()
        .max_by_key(|c| (c.hlc, c.id.actor, c.id.ctr))
        .map(|c| c.cell.clone())
}

/// An item of a set: edits beside retractions keep the item.
fn settle_item(candidates: &[&Operation], edits: bool, retractions: bool) -> (Option<Cell>, bool) {
    let (put, removed): (Vec<&Operation>, Vec<&Operation>) = candidates
        .iter()
        .copied()
        .partition(|c| matches!(c.cell.standing(), Cell::Put { .. }));
    if put.is_empty() {
        return (newest(&removed), false);
    }
    let differ = agreed(&put).is_none();
    let contested = (differ && edits) || (!removed.is_empty() && retractions);
    (newest(&put), contested)
}

/// The greatest status; different codes of the top rank are contested and the safest is shown.
fn settle_status(lattice: &Lattice, candidates: &[&Operation]) -> (Option<Cell>, bool) {
    let rank = |c: &&Operation| code(&c.cell).and_then(|code| lattice.rank(&code));
    let place = |c: &&Operation| {
        let code = code(&c.cell)?;
        let rank = lattice.rank(&code)?;
        Some((rank, lattice.ranks[rank].iter().position(|c| *c == code)))
    };
    let top = candidates.iter().filter_map(rank).max();
    let Some(top) = top else {
        // No code the pack knows: as cautious as an escalating field.
        return match agreed(candidates) {
            Some(cell) => (Some(cell), false),
            None => (newest(candidates), true),
        };
    };
    let highest: Vec<&Operation> = candidates
        .iter()
        .copied()
        .filter(|c| rank(c) == Some(top))
        .collect();
    let unknown = candidates
        .iter()
        .any(|c| rank(c).is_none() && code(&c.cell).is_some());
    let shown = highest
        .iter()
        .max_by_key(|c| (place(c), c.hlc, c.id))
        .map(|c| c.cell.clone());
    (shown, agreed(&highest).is_none() || unknown)
}

/// Whether a terminal status stands beside a change of another field (a dose, a renewal) that its
/// author had not seen and whose author had not seen the stop.
pub fn stands_beside(
    lattice: &Lattice,
    status: &Outcome,
    beside: &Outcome,
    causality: &dyn Causality,
) -> Option<Timestamp> {
    let terminals = status
        .candidates
        .iter()
        .filter(|c| c.confirmed() && code(&c.cell).is_some_and(|code| lattice.is_terminal(&code)));
    terminals
        .flat_map(|t| beside.candidates.iter().map(move |d| (t, d)))
        .filter(|(t, d)| {
            t.change != d.change
                && !causality.saw(t.change, d.change)
                && !causality.saw(d.change, t.change)
        })
        .map(|(t, d)| t.hlc.max(d.hlc))
        .min()
}

/// Whether an operation could never take effect on what is there: the reason to refuse a local
/// edit and to raise a finding for an imported one.
pub fn without_effect(policy: &PolicyRow, now: &Outcome, new: &Cell) -> bool {
    let PolicyRow::Lattice(lattice) = policy else {
        return false;
    };
    if lattice.reopen == Reopen::BySeen {
        return false;
    }
    let rank = code(new).and_then(|code| lattice.rank(&code));
    now.candidates
        .iter()
        .filter(|c| c.confirmed())
        .filter_map(|c| code(&c.cell))
        .filter(|code| lattice.is_terminal(code))
        .any(|held| lattice.rank(&held) > rank)
}

/// An order of codes, least first, and where in a value the code stands.
struct Scale<'a> {
    order: &'a [String],
    by: &'a str,
}

impl Scale<'_> {
    /// Absence stands lowest; a code that nobody foresaw above all.
    fn place(&self, cell: &Cell) -> usize {
        let codes = if self.by.is_empty() {
            codes(cell)
        } else {
            self.codes_at_path(cell)
        };
        let place = |code: &String| {
            self.order
                .iter()
                .position(|o| o == code)
                .map_or(self.order.len() + 1, |i| i + 1)
        };
        codes.iter().map(place).max().unwrap_or(0)
    }

    fn codes_at_path(&self, cell: &Cell) -> Vec<String> {
        let Cell::Put { atom, .. } = cell.standing() else {
            return vec![];
        };
        let Ok(value) = Json::parse(atom.text().as_bytes()) else {
            return vec![];
        };
        let mut at = vec![&value];
        for step in self.by.split('.') {
            let named = |name: &str| match step.strip_suffix("[x]") {
                Some(prefix) => name.starts_with(prefix),
                None => name == step,
            };
            at = at
                .into_iter()
                .flat_map(|v| {
                    if v.items().is_empty() {
                        std::slice::from_ref(v)
                    } else {
                        v.items()
                    }
                })
                .flat_map(|v| v.members().iter().filter(|(n, _)| named(n)).map(|(_, v)| v))
                .collect();
        }
        at.into_iter().filter_map(scalar).collect()
    }
}

/// The text of a string or boolean.
fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.to_string()),
        Json::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

fn pick_interim(
    interim: Interim,
    scale: &Scale<'_>,
    candidates: &[&Operation],
    last_agreed: &dyn Fn() -> Option<Cell>,
) -> Option<Cell> {
    match interim {
        Interim::Unknown => None,
        Interim::LastAgreed => last_agreed(),
        Interim::Union => Some(union(candidates)),
        Interim::Highest | Interim::MostRestrictive => candidates
            .iter()
            .max_by_key(|c| (scale.place(&c.cell), c.hlc, c.id))
            .map(|c| c.cell.clone()),
    }
}

/// All candidates' items, each once, in the order of their appearance.
fn union(candidates: &[&Operation]) -> Cell {
    let mut items: Vec<Json> = Vec::new();
    for candidate in candidates {
        let Cell::Put {
            atom: Atom::Value(text),
            ..
        } = candidate.cell.standing()
        else {
            continue;
        };
        let Ok(value) = Json::parse(text.as_bytes()) else {
            continue;
        };
        let all = if let Json::Array(all) = value {
            all
        } else {
            vec![value]
        };
        for item in all {
            if !items.contains(&item) {
                items.push(item);
            }
        }
    }
    Cell::Put {
        atom: Atom::Value(Json::Array(items).text().into()),
        order: None,
    }
}

/// The code of a status: a string, or the first coding of a concept.
pub fn code(cell: &Cell) -> Option<String> {
    codes(cell.standing()).into_iter().next()
}

/// All codes of a value: a string or boolean itself, a concept's codings, a coding's code.
fn codes(cell: &Cell) -> Vec<String> {
    let Cell::Put { atom, .. } = cell else {
        return vec![];
    };
    let text = match atom {
        Atom::Value(text) => text,
        Atom::Members(members) => match members.iter().find(|(name, _)| !name.starts_with('_')) {
            Some((_, text)) => text,
            None => return vec![],
        },
    };
    match Json::parse(text.as_bytes()) {
        Ok(Json::String(code)) => vec![code.into()],
        Ok(Json::Bool(b)) => vec![b.to_string()],
        Ok(value) => {
            let codings = value
                .get("coding")
                .map_or(std::slice::from_ref(&value), Json::items);
            let code = |c: &Json| c.get("code").and_then(Json::as_str).map(str::to_owned);
            codings.iter().filter_map(code).collect()
        }
        Err(_) => vec![],
    }
}
