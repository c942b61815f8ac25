//! What a record shows: settled values, safe interims, and the questions that are open.

use crate::doc::state::RecordState;
use crate::ids::RecordId;
use crate::model::cell::{Atom, Cell};
use crate::model::kind::{KindRules, field_of_key};
use crate::model::order::Order;
use crate::model::pack::PolicyRow;
use crate::model::policy::{self, Accord};
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
        for (field, sum, floor, since) in self.counters(rules) {
            if floor.is_some_and(|floor| sum < i128::from(floor)) {
                let contest = Contest {
                    key: field.into(),
                    since,
                    why: Why::BelowFloor,
                };
                out.insert(field.into(), contest);
            }
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

    /// Counter fields: name, sum, floor, time of the last part.
    fn counters<'a>(
        &'a self,
        rules: &'a KindRules,
    ) -> impl Iterator<Item = (&'a str, i128, Option<i64>, Timestamp)> {
        let mut sums: BTreeMap<&str, (i128, Option<i64>, Timestamp)> = BTreeMap::new();
        for (key, state) in &self.keys {
            let field = field_of_key(key);
            let PolicyRow::Counter { floor } = rules.policy(field) else {
                continue;
            };
            let entry = sums
                .entry(field)
                .or_insert((0, *floor, Timestamp::default()));
            entry.0 = entry.0.saturating_add(part(state.outcome.shown.as_ref()));
            let last = state.outcome.candidates.iter().map(|c| c.hlc).max();
            entry.2 = entry.2.max(last.unwrap_or_default());
        }
        sums.into_iter()
            .map(|(field, (sum, floor, since))| (field, sum, floor, since))
    }

    /// The record as canonical JSON: settled values and safe interims.
    pub fn render(&self, record: &RecordId, rules: &KindRules) -> String {
        let sums: Vec<(&str, Atom)> = self
            .counters(rules)
            .map(|(field, sum, _, _)| (field, Atom::Value(sum.to_string().into())))
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
