//! Policies as pure functions of a key's operations and of who had seen what.
//!
//! Automerge carries operations; it never decides. Operation Y *covers* X when X was in the version
//! that Y's author had seen and Y is entitled to: its author has authority; where X is a terminal
//! status, Y's is higher (or the pack lets those who saw it reopen); where X was contested there,
//! Y is a reviewer's review that settles it. A reviewer who is no clinician decides what was in
//! question and nothing else: their other reviews count as written without authority. Candidates are the operations that nothing covers.
//! Coverage depends only on what Y's author saw, so it never changes once Y is delivered, and the
//! order of delivery cannot matter.

use crate::model::cell::{Atom, Cell, OpId};
use crate::model::interim;
use crate::model::json::Json;
use crate::model::pack::{Interim, Lattice, PolicyRow, Reopen};
use crate::model::timeline::{Timeline, View};
use crate::planted::{Bug, planted};
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
    /// unconfirmed candidate. Among candidates this knows too whether a review was in place.
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
    /// Whether a person has to look.
    pub const fn is_open(self) -> bool {
        self.since().is_some()
    }

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
    let mut timeline = Timeline::default();
    for operation in operations {
        let later = operation.change;
        let saw = |earlier| causality.saw(later, earlier);
        timeline.push(policy, operation.clone(), &View::Of(&saw));
    }
    timeline.outcome(policy, causality)
}

/// Adds one operation whose author had seen every other operation of the key. The result equals
/// [`decide`] over all of them, without needing them: a property test holds it to that. `None`:
/// the interim has to be found in the key's history.
pub fn extend(policy: &PolicyRow, before: &Outcome, new: Operation) -> Option<Outcome> {
    let contested = matches!(before.accord, Accord::Contested(_));
    let mut y = Side::alone(policy, &new);
    let sides = before.candidates.iter().map(|x| Side::alone(policy, x));
    let mut left: Vec<Side<'_>> = sides.collect();
    let open = before.accord.is_open() && !left.is_empty();
    if !open && out_of_place(&y, &left) {
        y.traits = y.traits.unconfirmed();
    }
    left.retain(|x| !entitled(policy, &y, x, contested));
    // A plain value on top of a contest leaves the common past as it was, and so the interim; but
    // where there is no such past, bound members show what all candidates share.
    let bound = |x: &Side<'_>| interim::is_bound(&x.operation.cell);
    let same_past = contested && left.len() == before.candidates.len() && !left.iter().any(bound);
    let missing = std::cell::Cell::new(false);
    let interim = || {
        missing.set(!same_past);
        before.shown.clone()
    };
    left.push(y);
    let outcome = settle(policy, left, &interim);
    (!missing.get()).then_some(outcome)
}

/// What a policy asks of an operation again and again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traits {
    confirmed: bool,
    /// Whether a value stands after it.
    put: bool,
    /// Rank of its status, and place within the rank.
    place: Option<(usize, usize)>,
    terminal: bool,
}

impl Traits {
    pub(super) fn new(policy: &PolicyRow, operation: &Operation) -> Self {
        let mut this = Self {
            confirmed: operation.confirmed(),
            put: matches!(operation.cell.standing(), Cell::Put { .. }),
            place: None,
            terminal: false,
        };
        if let PolicyRow::Lattice(lattice) = policy
            && let Some(code) = code(&operation.cell)
        {
            this.place = lattice.place(&code);
            this.terminal = lattice.is_terminal(&code);
        }
        this
    }

    /// Those of an operation that took more than its author may.
    pub(super) const fn unconfirmed(self) -> Self {
        Self {
            confirmed: false,
            ..self
        }
    }
}

/// An operation as one side of a question.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    operation: &'a Operation,
    /// Its index among the key's operations.
    at: usize,
    traits: Traits,
}

impl<'a> Side<'a> {
    pub(super) const fn new(operation: &'a Operation, at: usize, traits: Traits) -> Self {
        Self {
            operation,
            at,
            traits,
        }
    }

    fn alone(policy: &PolicyRow, operation: &'a Operation) -> Self {
        Self::new(operation, 0, Traits::new(policy, operation))
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) const fn change(&self) -> usize {
        self.operation.change
    }

    pub(super) const fn confirmed(&self) -> bool {
        self.traits.confirmed
    }

    fn rank(&self) -> Option<usize> {
        self.traits.place.map(|(rank, _)| rank)
    }

    const fn cell(&self) -> &'a Cell {
        &self.operation.cell
    }

    /// The operation as a candidate: without authority if it had none in its place.
    fn candidate(&self) -> Operation {
        let mut candidate = self.operation.clone();
        if !self.confirmed() && candidate.confirmed() {
            candidate.standing = Standing::default();
        }
        candidate
    }

    fn same_value(&self, other: &Self) -> bool {
        self.cell().same_value(other.cell())
    }
}

/// Whether `y`, whose author saw `x`, covers it.
pub(super) fn entitled(policy: &PolicyRow, y: &Side<'_>, x: &Side<'_>, contested: bool) -> bool {
    if !y.confirmed() {
        return false;
    }
    let reviewed = match y.cell() {
        Cell::Review(review) if !review.settles.contains(&x.operation.id) => return false,
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

/// Whether a review of what was not in question takes more than a reviewer may: whoever is no
/// clinician may only say again what stood there, as where a stop stands beside a new dose.
pub(super) fn out_of_place(y: &Side<'_>, there: &[Side<'_>]) -> bool {
    matches!(y.cell(), Cell::Review(_))
        && !y.operation.standing.clinical
        && (there.is_empty() || !trusted(there).iter().all(|x| x.same_value(y)))
}

/// Whether candidates leave a question to people.
pub(super) fn in_question(policy: &PolicyRow, there: &[Side<'_>]) -> bool {
    if there.is_empty() {
        return false;
    }
    match verdict(policy, &trusted(there)) {
        Verdict::Settled(shown) => decides(policy) && doubted(there, shown),
        _ => decides(policy),
    }
}

/// Whether someone without authority says otherwise than what is shown.
fn doubted(candidates: &[Side<'_>], shown: Option<&Cell>) -> bool {
    let differs = |c: &Side<'_>| shown.is_none_or(|shown| !c.cell().same_value(shown));
    candidates.iter().any(|c| !c.confirmed() && differs(c))
}

/// Whether the policy leaves questions to people.
pub(super) const fn decides(policy: &PolicyRow) -> bool {
    !matches!(policy, PolicyRow::Lww | PolicyRow::Counter { .. })
}

/// Whether a terminal status gives way.
fn rises(lattice: &Lattice, y: &Side<'_>, x: &Side<'_>, reviewed: bool) -> bool {
    // Nobody's unauthorised status holds against anything.
    if !x.confirmed() || !x.traits.terminal || lattice.reopen == Reopen::BySeen {
        return true;
    }
    // A review may choose between terminals of one rank; it may not revive.
    y.rank() > x.rank() || (reviewed && y.rank().is_some() && y.rank() == x.rank())
}

/// What a policy makes of candidates.
pub(super) enum Verdict<'a> {
    /// They agree, or the policy settles them.
    Settled(Option<&'a Cell>),
    /// They do not; this is the policy's own choice until a person has decided.
    Contested(Option<&'a Cell>),
    /// They do not, and the pack names the interim.
    Open(&'a [String], &'a str, Interim),
}

impl<'a> Verdict<'a> {
    const fn new(shown: Option<&'a Cell>, contested: bool) -> Self {
        if contested {
            Self::Contested(shown)
        } else {
            Self::Settled(shown)
        }
    }

    pub(super) const fn is_contested(&self) -> bool {
        !matches!(self, Self::Settled(_))
    }
}

/// Judges trusted candidates. Whether they are contested does not depend on their order.
pub(super) fn verdict<'a>(policy: &'a PolicyRow, trusted: &[Side<'a>]) -> Verdict<'a> {
    match policy {
        PolicyRow::Lww | PolicyRow::Counter { .. } => Verdict::Settled(newest(trusted)),
        PolicyRow::Set {
            contest_edits,
            contest_retractions,
        } => item(trusted, *contest_edits, *contest_retractions),
        PolicyRow::Lattice(_) => status(trusted),
        PolicyRow::Escalate { interim, order, by } => match agreed(trusted) {
            Some(cell) => Verdict::Settled(Some(cell)),
            None => Verdict::Open(order, by, *interim),
        },
    }
}

/// Settles candidates, or finds them contested and picks the interim.
pub(super) fn settle(
    policy: &PolicyRow,
    mut candidates: Vec<Side<'_>>,
    last_agreed: &dyn Fn() -> Option<Cell>,
) -> Outcome {
    // Strands may use one id twice.
    candidates.sort_unstable_by_key(|c| (c.operation.hlc, c.operation.id, c.operation.change));
    let trusted = trusted(&candidates);
    let verdict = verdict(policy, &trusted);
    let contested = verdict.is_contested();
    let shown = match verdict {
        Verdict::Settled(cell) | Verdict::Contested(cell) => cell.cloned(),
        Verdict::Open(order, by, interim) => {
            let sides: Vec<&Operation> = trusted.iter().map(|c| c.operation).collect();
            interim::pick(interim, (order, by), &sides, last_agreed)
        }
    };
    let accord = if contested {
        Accord::Contested(diverged(&trusted))
    } else if decides(policy) && doubted(&candidates, shown.as_ref()) {
        Accord::Unconfirmed(diverged(&candidates))
    } else {
        Accord::Settled
    };
    Outcome {
        shown: shown
            .map(|cell| cell.standing().clone())
            .filter(|cell| matches!(cell, Cell::Put { .. })),
        accord,
        candidates: candidates.iter().map(Side::candidate).collect(),
    }
}

/// The candidates that authority stands behind; where there are none, all.
pub(super) fn trusted<'a>(candidates: &[Side<'a>]) -> Vec<Side<'a>> {
    let any = candidates.iter().any(|c| c.confirmed());
    let trust = |c: &&Side<'a>| c.confirmed() || !any;
    candidates.iter().filter(trust).copied().collect()
}

/// When the second differing value was written.
fn diverged(candidates: &[Side<'_>]) -> Timestamp {
    let first = candidates.first();
    candidates
        .iter()
        .find(|c| first.is_some_and(|first| !c.same_value(first)))
        .or(candidates.last())
        .map(|c| c.operation.hlc)
        .unwrap_or_default()
}

fn agreed<'a>(candidates: &[Side<'a>]) -> Option<&'a Cell> {
    let (last, rest) = candidates.split_last()?;
    rest.iter().all(|c| c.same_value(last)).then(|| last.cell())
}

/// Highest (HLC, operation): the operation's id holds the author and replica, and breaks ties.
fn newest<'a>(candidates: &[Side<'a>]) -> Option<&'a Cell> {
    let when = |c: &&Side<'_>| {
        let id = c.operation.id;
        let counter = if planted(Bug::LwwByCounter) {
            id.ctr
        } else {
            0
        };
        (counter, c.operation.hlc, id.actor, id.ctr)
    };
    candidates.iter().max_by_key(when).map(Side::cell)
}

/// An item of a set: edits beside retractions keep the item.
fn item<'a>(candidates: &[Side<'a>], edits: bool, retractions: bool) -> Verdict<'a> {
    let (put, removed): (Vec<Side<'a>>, Vec<Side<'a>>) =
        candidates.iter().partition(|c| c.traits.put);
    if put.is_empty() {
        return Verdict::Settled(newest(&removed));
    }
    let differ = agreed(&put).is_none();
    let contested = (differ && edits) || (!removed.is_empty() && retractions);
    Verdict::new(newest(&put), contested)
}

/// The greatest status; different codes of the top rank are contested and the safest is shown.
fn status<'a>(candidates: &[Side<'a>]) -> Verdict<'a> {
    if let Some(removed) = candidates.iter().find(|c| !c.traits.put)
        && planted(Bug::DeleteWins)
    {
        return Verdict::Settled(Some(removed.cell()));
    }
    let Some(top) = candidates.iter().filter_map(Side::rank).max() else {
        // No code the pack knows: as cautious as an escalating field.
        return match agreed(candidates) {
            Some(cell) => Verdict::Settled(Some(cell)),
            None => Verdict::Contested(newest(candidates)),
        };
    };
    let highest: Vec<Side<'a>> = candidates
        .iter()
        .filter(|c| c.rank() == Some(top))
        .copied()
        .collect();
    // A value that is no code of the pack's may mean anything. Absence stands below every code.
    let unknown = candidates
        .iter()
        .any(|c| c.traits.put && c.traits.place.is_none());
    let shown = highest
        .iter()
        .max_by_key(|c| (c.traits.place, c.operation.hlc, c.operation.id))
        .map(Side::cell);
    Verdict::new(shown, agreed(&highest).is_none() || unknown)
}

/// Whether a terminal status stands beside a change of another field (a dose, a renewal) that its
/// author had not seen and whose author had not seen the stop. Who wrote or saw the same value, or
/// the same status, saw it: two sources that say the same disagree on nothing.
pub fn stands_beside(
    lattice: &Lattice,
    status: &Outcome,
    beside: &Outcome,
    causality: &dyn Causality,
) -> Option<Timestamp> {
    let pairs = stops_and_changes(lattice, status, beside, causality);
    pairs.map(|(stop, change)| stop.hlc.max(change.hlc)).min()
}

/// The terminal statuses and the changes that stand beside each other, in pairs.
pub fn stops_and_changes<'a, 'l>(
    lattice: &'l Lattice,
    status: &'a Outcome,
    beside: &'a Outcome,
    causality: &'l dyn Causality,
) -> impl Iterator<Item = (&'a Operation, &'a Operation)> + use<'a, 'l> {
    let in_view = move |of: &Operation, value: &Operation, all: &[Operation]| {
        all.iter().any(|other| {
            (other.change == of.change || causality.saw(of.change, other.change))
                && other.cell.standing().same_value(value.cell.standing())
        })
    };
    let terminals = status
        .candidates
        .iter()
        .filter(|c| c.confirmed() && is_terminal(lattice, c));
    terminals
        .flat_map(|t| beside.candidates.iter().map(move |d| (t, d)))
        .filter(move |(t, d)| {
            !in_view(t, d, &beside.candidates) && !in_view(d, t, &status.candidates)
        })
}

/// Whether an operation writes a terminal status.
pub fn is_terminal(lattice: &Lattice, operation: &Operation) -> bool {
    code(&operation.cell).is_some_and(|code| lattice.is_terminal(&code))
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
    // Nearly every code is a plain word, and is asked for whenever its field is merged.
    let word = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    if let Some(word) = word.filter(|w| !w.is_empty() && !w.contains(['"', '\\'])) {
        return vec![word.to_owned()];
    }
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
