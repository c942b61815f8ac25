//! What a record shows: settled values, safe interims, and the questions that are open.

use crate::doc::state::RecordState;
use crate::ids::RecordId;
use crate::model::cell::{Atom, Cell};
use crate::model::kind::{KindRules, field_of_key};
use crate::model::order::Order;
use crate::model::pack::PolicyRow;
use crate::model::policy::{self, Accord, Causality as _, Operation, Outcome};
use crate::model::shape;
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// Why a field is contested.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Why {
    /// People with authority wrote different values without having seen each other's.
    Disagreement,
    /// Someone without the authority wrote a different value.
    Unconfirmed,
    /// A terminal status stands beside a change that its author had not seen.
    StoppedBesideChange,
    /// A counter fell below its floor.
    BelowFloor,
}

/// How different values came to stand beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apart {
    /// No author had seen another's value.
    Unseen,
    /// Final statuses: whoever wrote the later one had seen the other, which does not give way.
    Finals,
    /// Some author had seen another's value, and what was in question then only a decision settles.
    InSight,
}

/// An open question on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contest {
    /// The key: `field` or `field/element`.
    pub key: Box<str>,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub why: Why,
}

/// A counter field.
struct Counter<'a> {
    field: &'a str,
    sum: i128,
    floor: Option<i64>,
    /// The time of the last part.
    since: Timestamp,
    /// Whether parts were left out for want of authority.
    doubted: bool,
}

impl RecordState {
    /// The open questions, by key.
    pub fn contests(&self, rules: &KindRules) -> Vec<Contest> {
        let mut out: BTreeMap<Box<str>, Contest> = BTreeMap::new();
        for (key, state) in &self.keys {
            let why = match state.outcome.accord {
                Accord::Settled => continue,
                Accord::Unconfirmed(_) => Why::Unconfirmed,
                Accord::Contested(_) => Why::Disagreement,
            };
            let since = state.outcome.accord.since().unwrap_or_default();
            out.insert(
                key.clone(),
                Contest {
                    key: key.clone(),
                    since,
                    why,
                },
            );
        }
        if self.changes.len() > 1 {
            self.stops_beside_changes(rules, &mut out);
        }
        for counter in self.counters(rules) {
            let below = |floor: i64| counter.sum < i128::from(floor);
            let why = if counter.floor.is_some_and(below) {
                Why::BelowFloor
            } else if counter.doubted {
                Why::Unconfirmed
            } else {
                continue;
            };
            let contest = Contest {
                key: counter.field.into(),
                since: counter.since,
                why,
            };
            out.insert(counter.field.into(), contest);
        }
        out.into_values().collect()
    }

    fn stops_beside_changes(&self, rules: &KindRules, out: &mut BTreeMap<Box<str>, Contest>) {
        let mut causality = None;
        for (field, lattice) in rules.lattices() {
            let Some(status) = self.keys.get(field) else {
                continue;
            };
            let terminal = status
                .outcome
                .candidates
                .iter()
                .any(|c| policy::code(&c.cell).is_some_and(|code| lattice.is_terminal(&code)));
            if !terminal || lattice.beside.is_empty() {
                continue;
            }
            let causality = causality.get_or_insert_with(|| self.causality());
            let beside = |key: &str| lattice.beside.iter().any(|f| f == field_of_key(key));
            let since = self
                .keys
                .iter()
                .filter(|(key, _)| beside(key))
                .filter_map(|(_, k)| {
                    policy::stands_beside(lattice, &status.outcome, &k.outcome, causality)
                })
                .min();
            if let Some(since) = since {
                out.entry(field.into()).or_insert_with(|| Contest {
                    key: field.into(),
                    since,
                    why: Why::StoppedBesideChange,
                });
            }
        }
    }

    /// The changes that stand beside a field's terminal status, by key.
    pub(crate) fn changes_beside<'a>(
        &'a self,
        rules: &KindRules,
        field: &str,
    ) -> Vec<(&'a str, &'a Operation)> {
        let mut found: Vec<(&'a str, &'a Operation)> = Vec::new();
        let (Some(status), PolicyRow::Lattice(lattice)) =
            (self.keys.get(field), rules.policy(field))
        else {
            return found;
        };
        let causality = self.causality();
        for (key, state) in &self.keys {
            if !lattice.beside.iter().any(|f| f == field_of_key(key)) {
                continue;
            }
            let pairs =
                policy::stops_and_changes(lattice, &status.outcome, &state.outcome, &causality);
            for (_, change) in pairs {
                if !found.contains(&(key, change)) {
                    found.push((key, change));
                }
            }
        }
        found
    }

    /// How a key's candidates came to stand beside each other.
    pub(crate) fn apart(&self, rules: &KindRules, key: &str) -> Apart {
        let Some(state) = self.keys.get(key) else {
            return Apart::Unseen;
        };
        let (all, causality) = (&state.outcome.candidates, self.causality());
        let pairs = all.iter().flat_map(|y| all.iter().map(move |x| (y, x)));
        let mut in_sight = pairs
            .filter(|(y, x)| y.change != x.change && !y.cell.same_value(&x.cell))
            .filter(|(y, x)| causality.saw(y.change, x.change))
            .peekable();
        if in_sight.peek().is_none() {
            return Apart::Unseen;
        }
        let PolicyRow::Lattice(lattice) = rules.policy(field_of_key(key)) else {
            return Apart::InSight;
        };
        let terminal = |c: &Operation| policy::is_terminal(lattice, c);
        match in_sight.any(|(y, x)| terminal(y) && terminal(x)) {
            true => Apart::Finals,
            false => Apart::InSight,
        }
    }

    /// Fields on which someone with authority wrote a status that a final one keeps from taking
    /// effect: the operation is kept, and a person should know.
    pub fn without_effect(&self, rules: &KindRules) -> Vec<Box<str>> {
        let idle = |field: &&str| {
            let Some(status) = self.keys.get(*field) else {
                return false;
            };
            let outcome = &status.outcome;
            outcome.candidates.iter().any(|c| {
                c.confirmed() && policy::without_effect(rules.policy(field), outcome, &c.cell)
            })
        };
        rules
            .lattices()
            .map(|(field, _)| field)
            .filter(idle)
            .map(Into::into)
            .collect()
    }

    /// Counter fields. Parts without authority do not count beside parts that have it.
    fn counters<'a>(&'a self, rules: &'a KindRules) -> Vec<Counter<'a>> {
        let mut fields: BTreeMap<&str, (Option<i64>, Vec<&Outcome>)> = BTreeMap::new();
        for (key, state) in &self.keys {
            let field = field_of_key(key);
            if let PolicyRow::Counter { floor } = rules.policy(field) {
                let parts = &mut fields.entry(field).or_insert((*floor, vec![])).1;
                parts.push(&state.outcome);
            }
        }
        let sure = |part: &&Outcome| part.candidates.iter().any(Operation::confirmed);
        let counter = |(field, (floor, mut parts)): (&'a str, (Option<i64>, Vec<&Outcome>))| {
            let all = parts.len();
            if parts.iter().any(sure) {
                parts.retain(sure);
            }
            let candidates = parts.iter().flat_map(|p| &p.candidates);
            Counter {
                field,
                sum: parts.iter().map(|p| part(p.shown.as_ref())).sum(),
                floor,
                since: candidates.map(|c| c.hlc).max().unwrap_or_default(),
                doubted: parts.len() < all,
            }
        };
        fields.into_iter().map(counter).collect()
    }

    /// The record as canonical JSON: settled values and safe interims.
    pub fn render(&self, record: &RecordId, rules: &KindRules) -> String {
        let sums: Vec<(&str, Atom)> = self
            .counters(rules)
            .into_iter()
            .map(|c| (c.field, Atom::Value(c.sum.to_string().into())))
            .collect();
        let counted = |key: &str| sums.iter().any(|(field, _)| *field == field_of_key(key));
        let plain = self
            .keys
            .iter()
            .filter(|(key, _)| !counted(key))
            .filter_map(|(key, state)| {
                let (atom, order) = put(state.outcome.shown.as_ref())?;
                Some((&**key, atom, order))
            });
        let summed = sums.iter().map(|(field, atom)| (*field, atom, None));
        shape::render(record, plain.chain(summed))
    }
}

/// A replica's part of a counter.
pub(crate) fn part(cell: Option<&Cell>) -> i128 {
    match put(cell) {
        Some((Atom::Value(text), _)) => text.parse::<i64>().map_or(0, i128::from),
        _ => 0,
    }
}

fn put(cell: Option<&Cell>) -> Option<(&Atom, Option<&Order>)> {
    match cell {
        Some(Cell::Put { atom, order }) => Some((atom, order.as_ref())),
        _ => None,
    }
}
