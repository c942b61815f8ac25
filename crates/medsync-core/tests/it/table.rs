//! Operations on one key as a table, and what a policy has to make of them.

use medsync_core::ids::ActorId;
use medsync_core::model::cell::{Cell, OpId, Review};
use medsync_core::model::json::Json;
use medsync_core::model::pack::{Interim, Lattice, PolicyRow, Reopen};
use medsync_core::model::policy::{
    Accord, Causality, Operation, Outcome, Standing, decide, extend,
};
use medsync_core::time::Timestamp;

/// One operation: who, when, what, and which earlier operations its author had seen.
pub(crate) struct Op(
    pub(crate) Who,
    pub(crate) i64,
    pub(crate) What,
    pub(crate) &'static [usize],
);

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Who {
    Clinician,
    Reviewer,
    /// A reviewer who is no clinician.
    Decider,
    Nobody,
}

pub(crate) enum What {
    Put(&'static str),
    Gone,
    Decide(&'static [usize], &'static str),
}

pub(crate) use What::{Decide, Gone, Put};
pub(crate) use Who::{Clinician, Decider, Nobody, Reviewer};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Is {
    Settled,
    Unconfirmed,
    Contested,
}

pub(crate) struct View(pub(crate) Vec<Vec<usize>>);

impl Causality for View {
    fn saw(&self, later: usize, earlier: usize) -> bool {
        self.0[later].contains(&earlier)
    }
}

pub(crate) fn put(text: &str) -> Cell {
    Cell::put(&Json::parse(text.as_bytes()).unwrap_or_else(|_| Json::string(text)))
}

pub(crate) fn id(n: usize) -> OpId {
    OpId {
        ctr: n as u64 + 1,
        actor: ActorId([n as u8; 16]),
    }
}

pub(crate) fn operations(ops: &[Op]) -> (Vec<Operation>, View) {
    let mut seen: Vec<Vec<usize>> = Vec::new();
    for Op(.., saw) in ops {
        let mut all: Vec<usize> = saw.to_vec();
        all.extend(saw.iter().flat_map(|s| seen[*s].clone()));
        seen.push(all);
    }
    let cell = |what: &What| match what {
        Put(text) => put(text),
        Gone => Cell::Removed {
            reason: "gone".into(),
        },
        Decide(settles, text) => Cell::Review(Box::new(Review {
            settles: settles.iter().map(|n| id(*n)).collect(),
            stands: put(text),
        })),
    };
    let operation = |(n, Op(who, hlc, what, _)): (usize, &Op)| Operation {
        id: id(n),
        change: n,
        cell: cell(what),
        hlc: Timestamp(*hlc),
        standing: Standing {
            clinical: matches!(who, Clinician | Reviewer),
            reviewer: matches!(who, Reviewer | Decider),
        },
    };
    (ops.iter().enumerate().map(operation).collect(), View(seen))
}

pub(crate) fn outcome(policy: &PolicyRow, ops: &[Op]) -> Outcome {
    let (operations, view) = operations(ops);
    let whole = decide(policy, &operations, &view);
    // Wherever the last author had seen everything, one step from before is the same.
    if let Some((last, before)) = operations.split_last()
        && (0..before.len()).all(|x| view.saw(before.len(), x))
        && let Some(step) = extend(policy, &decide(policy, before, &view), last.clone())
    {
        assert_eq!(step, whole);
    }
    whole
}

pub(crate) fn is(outcome: &Outcome) -> Is {
    match outcome.accord {
        Accord::Settled => Is::Settled,
        Accord::Unconfirmed(_) => Is::Unconfirmed,
        Accord::Contested(_) => Is::Contested,
    }
}

#[track_caller]
pub(crate) fn shows(policy: &PolicyRow, ops: &[Op], shown: Option<&str>, accord: Is) -> Outcome {
    let outcome = outcome(policy, ops);
    assert_eq!(outcome.shown, shown.map(put), "what is shown");
    if let (Some(Cell::Put { atom: a, .. }), Some(text)) = (&outcome.shown, shown) {
        let Cell::Put { atom: b, .. } = put(text) else {
            unreachable!()
        };
        assert_eq!(a.text(), b.text());
    }
    assert_eq!(is(&outcome), accord);
    outcome
}

pub(crate) fn ranks(ranks: &[&[&str]]) -> Vec<Vec<String>> {
    let owned = |rank: &&[&str]| rank.iter().map(|c| (*c).to_owned()).collect();
    ranks.iter().map(owned).collect()
}

pub(crate) fn lattice(reopen: Reopen) -> PolicyRow {
    PolicyRow::Lattice(Lattice {
        ranks: ranks(&[
            &["unknown", "draft"],
            &["active", "on-hold"],
            &["completed", "stopped", "cancelled"],
            &["entered-in-error"],
        ]),
        terminal: ["completed", "stopped", "cancelled"]
            .map(String::from)
            .to_vec(),
        reopen,
        beside: vec!["dose".into()],
    })
}

pub(crate) fn escalate(interim: Interim, order: &[&str]) -> PolicyRow {
    PolicyRow::Escalate {
        interim,
        order: order.iter().map(|c| (*c).to_owned()).collect(),
        by: String::new(),
    }
}

pub(crate) const fn set(contest_edits: bool, contest_retractions: bool) -> PolicyRow {
    PolicyRow::Set {
        contest_edits,
        contest_retractions,
    }
}
