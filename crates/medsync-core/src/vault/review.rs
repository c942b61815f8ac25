//! Deciding what only a person may decide.

use crate::doc::shown::Why;
use crate::error::{Error, Result};
use crate::ids::CommitId;
use crate::ledger::certificate::Role;
use crate::ledger::commit::Intent;
use crate::model::cell::{Atom, Cell, OpId, Review};
use crate::model::json::Json;
use crate::model::kind::field_of_key;
use crate::model::policy;
use crate::vault::Vault;
use crate::vault::core::load_record;
use crate::vault::draft::instead_of_lowering;
use crate::vault::read::Question;
use crate::vault::write::{RecordEdit, commit_edits};

/// What a reviewer decides.
#[derive(Debug, Clone)]
pub enum Decision {
    /// This candidate stands, counted from 0.
    Keep(usize),
    /// Another value stands. For a field that binds several members: an object of them.
    Replace(Json),
    /// Nothing stands.
    Remove,
}

impl Vault {
    /// Decides an open question as it was read. The decision is a commit like any other: signed,
    /// synced, and questioned again by a candidate that nobody had seen.
    ///
    /// # Errors
    /// [`Error::ReviewOutdated`] if a candidate arrived since, [`Error::Refused`] without the role
    /// reviewer, where the decision would revive a final status, or where a reviewer who is no
    /// clinician would change a status that stands alone.
    pub fn resolve(
        &mut self,
        question: Question,
        decision: Decision,
        because: &str,
    ) -> Result<CommitId> {
        self.require(Role::Reviewer)?;
        if because.trim().is_empty() {
            return Err(Error::Refused {
                what: "a decision needs a reason",
                hint: "say why",
            });
        }
        let because = because.to_owned();
        let clinical = [Role::Clinician, Role::Pharmacist];
        let clinical = clinical.into_iter().any(|role| self.require(role).is_ok());
        self.authored(|work, signer| {
            let loaded = load_record(work, &question.record)?;
            let (state, _) = loaded.ok_or(Error::NotFound("record"))?;
            let key: Box<str> = question.field.clone().into();
            let rules = std::sync::Arc::clone(work.core.rules(&question.record));
            let open = state.contests(&rules).into_iter().find(|c| c.key == key);
            let now = state.keys.get(&key).map(|k| &k.outcome);
            let Some(outcome) = now else {
                return Err(Error::Refused {
                    what: "a sum cannot be decided",
                    hint: "correct the counts it is made of",
                });
            };
            let mut settles: Vec<OpId> = outcome.candidates.iter().map(|c| c.id).collect();
            let seen: Vec<OpId> = question.candidates.iter().map(|c| c.op).collect();
            if open.is_none()
                || settles.iter().any(|op| !seen.contains(op))
                || settles.len() != seen.len()
            {
                return Err(Error::ReviewOutdated);
            }
            let stands = stands_after(decision, outcome, &because)?;
            if policy::without_effect(rules.policy(field_of_key(&key)), outcome, &stands) {
                return Err(Error::Refused {
                    what: "a final status cannot be revived by a decision",
                    hint: instead_of_lowering(&rules, field_of_key(&key), outcome),
                });
            }
            if open.is_some_and(|c| c.why == Why::StoppedBesideChange) && !clinical {
                only_keeps(outcome, &stands)?;
            }
            settles.sort_unstable();
            // Strands may use one id twice; it settles both.
            settles.dedup();
            let cell = Cell::Review(Box::new(Review { settles, stands }));
            let edit = RecordEdit {
                record: question.record.clone(),
                cells: vec![(key, cell)],
                seen: Some(question.version.0.clone()),
                patient: None,
                because: Some(because),
                import: None,
            };
            commit_edits(work, signer, Intent::Review, vec![edit])
        })
    }
}

/// What a decision lets stand.
fn stands_after(decision: Decision, outcome: &policy::Outcome, because: &str) -> Result<Cell> {
    Ok(match decision {
        Decision::Keep(n) => {
            let kept = outcome.candidates.get(n);
            let kept = kept.ok_or(Error::invalid_at("there is no such candidate", n))?;
            kept.cell.standing().clone()
        }
        Decision::Replace(Json::Null) => {
            return Err(Error::Refused {
                what: "null is no value",
                hint: "decide that nothing stands (--remove)",
            });
        }
        Decision::Replace(value) => replacement(outcome, &value)?,
        Decision::Remove => Cell::Removed {
            reason: because.into(),
        },
    })
}

/// Nobody contests the status itself, so a reviewer's say does not reach further.
fn only_keeps(outcome: &policy::Outcome, stands: &Cell) -> Result<()> {
    let keeps = |c: &policy::Operation| c.cell.standing().same_value(stands);
    if outcome.candidates.iter().all(keeps) {
        return Ok(());
    }
    Err(Error::Refused {
        what: "only a clinician or pharmacist changes a status that nobody contests",
        hint: "keep it, or have somebody clinical decide",
    })
}

/// A new value in the shape of the candidates: bound members stay bound, an item keeps its place.
fn replacement(outcome: &policy::Outcome, value: &Json) -> Result<Cell> {
    let puts = outcome
        .candidates
        .iter()
        .filter_map(|c| match c.cell.standing() {
            Cell::Put { atom, order } => Some((atom, order)),
            _ => None,
        });
    let (mut bound, mut place) = (false, None);
    for (atom, order) in puts {
        bound |= matches!(atom, Atom::Members(_));
        place = place.or_else(|| order.clone());
    }
    let atom = if bound {
        Atom::members(value)?
    } else {
        Atom::value(value)
    };
    Ok(Cell::Put { atom, order: place })
}
