//! The state of a record: what a replica needs to merge, edit and show it without opening its
//! Automerge document.
//!
//! It is a pure function of the delivered set of changes. [`RecordState::replay`] says what it is;
//! [`RecordState::apply`] gets there one change at a time where it can do so without history.
//!
//! Two different changes of one actor may bear one number, where its chain forked: then the record
//! has [strands], and its state unites them.

use crate::doc::causality::{Bits, Seen};
use crate::doc::{FlatChange, FlatOp, strands};
use crate::ids::{ActorId, ChangeId, CommitId, RecordId};
use crate::model::cell::OpId;
use crate::model::kind::{KindRules, field_of_key};
use crate::model::policy::{self, Operation, Outcome, Standing};
use crate::time::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// What is known of where an imported change came from: the source and the imported content.
pub type ImportedFrom = (u64, [u8; 16]);

/// A change with what its commit says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The change.
    pub change: FlatChange,
    /// Its hash.
    pub id: ChangeId,
    /// The version its author had in view; `None`: its dependencies.
    pub seen: Option<Vec<ChangeId>>,
    /// The patient the record belongs to, as the commit that creates it says.
    pub patient: Option<RecordId>,
    /// The vault's number of the commit's chain.
    pub chain: u32,
    /// The commit's place in that chain.
    pub commit_seq: u64,
    /// The commit; zeros while it is being made. Decides where one change stands in two.
    pub commit: CommitId,
    /// What the author's certificates allow there.
    pub standing: Standing,
    /// Set on imported changes.
    pub import: Option<ImportedFrom>,
}

/// What the state keeps of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeInfo {
    /// Its hash.
    pub id: ChangeId,
    /// Who wrote it, as an index into [`RecordState::actors`].
    pub actor: usize,
    /// The actor's changes of this record, from 1.
    pub seq: u64,
    /// First operation.
    pub start_op: u64,
    /// Last operation.
    pub end_op: u64,
    /// Indexes of the changes it builds on.
    pub deps: Vec<usize>,
    /// Indexes of the version its author had in view, where that differs from `deps`.
    pub seen: Option<Vec<usize>>,
    /// When.
    pub hlc: Timestamp,
    /// The commit's place in its chain.
    pub commit_seq: u64,
    /// With what authority.
    pub standing: Standing,
    /// Set on imported changes.
    pub import: Option<ImportedFrom>,
}

/// An actor of a record on one chain number. A chain that forked has several, and so has its actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActorInfo {
    /// Automerge's actor.
    pub actor: ActorId,
    /// The vault's number of its chain.
    pub chain: u32,
}

/// One key of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyState {
    /// The operations that Automerge shows: what the next operation names as predecessors.
    pub visible: Vec<OpId>,
    /// What the policy makes of all operations.
    pub outcome: Outcome,
}

/// A record as a replica holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordState {
    /// The patient it belongs to.
    pub patient: Option<RecordId>,
    /// Its actors, in the order of their first change.
    pub actors: Vec<ActorInfo>,
    /// Its changes by (first operation, hash), but after what they build on and what their authors
    /// had in view: on every replica the same.
    pub changes: Vec<ChangeInfo>,
    /// Its keys.
    pub keys: BTreeMap<Box<str>, KeyState>,
    /// Where changes stand once more: index of the change, chain number, place.
    pub again: Vec<(usize, u32, u64)>,
}

/// A contradiction in a change that no honest engine makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CausalFault {
    /// An actor's sequence number stands twice among its causes or does not follow them.
    #[error("the actor's sequence number is used twice or skips one")]
    Sequence,
    /// The first operation does not follow the dependencies, or there is none.
    #[error("the change's first operation does not follow its dependencies, or there is none")]
    StartOp,
    /// An operation replaces others than those that stood there.
    #[error("an operation names predecessors that did not stand there")]
    Predecessors,
    /// The change's actor is not its author's.
    #[error("the change's actor is not that of its commit's chain")]
    Actor,
}

/// Whether a change can be applied now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// It is here already, in this commit or another.
    Duplicate,
    /// A cause is missing, or what its author had in view: it waits for this change.
    Waits(ChangeId),
}

impl RecordState {
    /// The version: changes that no other builds on, ascending.
    pub fn heads(&self) -> Vec<ChangeId> {
        let covered = self.covered();
        let mut heads: Vec<ChangeId> = self.heads_of(&covered).collect();
        heads.sort_unstable();
        heads
    }

    /// Whether each change is built upon.
    fn covered(&self) -> Vec<bool> {
        let mut covered = vec![false; self.changes.len()];
        for dep in self.changes.iter().flat_map(|change| &change.deps) {
            if let Some(covered) = covered.get_mut(*dep) {
                *covered = true;
            }
        }
        covered
    }

    fn heads_of<'a>(&'a self, covered: &'a [bool]) -> impl Iterator<Item = ChangeId> + 'a {
        let all = self.changes.iter().zip(covered);
        all.filter(|(_, covered)| !**covered).map(|(c, _)| c.id)
    }

    /// The index of a change.
    pub fn position(&self, id: &ChangeId) -> Option<usize> {
        self.changes.iter().rposition(|c| c.id == *id)
    }

    /// The highest operation counter.
    pub fn max_op(&self) -> u64 {
        self.changes.iter().map(|c| c.end_op).max().unwrap_or(0)
    }

    /// The actor's last change; of several with one number the last in order.
    pub fn last_of(&self, actor: &ActorId) -> Option<&ChangeInfo> {
        self.changes
            .iter()
            .filter(|c| self.is_by(c, actor))
            .max_by_key(|c| c.seq)
    }

    fn is_by(&self, change: &ChangeInfo, actor: &ActorId) -> bool {
        let by = self.actors.get(change.actor);
        by.is_some_and(|a| a.actor == *actor)
    }

    /// The last change imported from a source.
    pub fn last_import(&self, source: u64) -> Option<&ChangeInfo> {
        self.changes
            .iter()
            .rev()
            .find(|c| c.import.is_some_and(|(from, _)| from == source))
    }

    /// Who had seen what.
    pub fn causality(&self) -> Seen {
        Seen::new(&self.changes)
    }

    /// Whether the version names every head, so that its author had seen everything.
    pub fn is_current(&self, version: &[ChangeId]) -> bool {
        // Whoever names fewer than there are is soon found out: nothing is sorted for it.
        let covered = self.covered();
        self.heads_of(&covered).all(|head| version.contains(&head))
    }

    /// Whether all changes of a version are here.
    pub fn knows(&self, version: &[ChangeId]) -> bool {
        version.iter().all(|id| self.position(id).is_some())
    }

    /// Builds the change that writes cells on top of the current state. Keys come in order.
    pub fn make(
        &self,
        actor: ActorId,
        hlc: Timestamp,
        cells: Vec<(Box<str>, crate::model::cell::Cell)>,
    ) -> FlatChange {
        let last = self.last_of(&actor);
        let mut deps = self.heads();
        // Automerge adds the actor's own last change even where a head covers it.
        if let Some(last) = last.filter(|last| !deps.contains(&last.id)) {
            deps.push(last.id);
            deps.sort_unstable();
        }
        let ops = cells.into_iter().map(|(key, cell)| {
            let pred = self
                .keys
                .get(&key)
                .map_or_else(Vec::new, |k| k.visible.clone());
            FlatOp { key, cell, pred }
        });
        FlatChange {
            actor,
            seq: last.map_or(0, |c| c.seq).saturating_add(1),
            start_op: self.max_op().saturating_add(1),
            hlc,
            deps,
            ops: ops.collect(),
        }
    }

    /// Whether a change fits what it builds on, or needs changes that are missing. What else is here
    /// is not asked: so the answer does not depend on the order of arrival.
    ///
    /// # Errors
    /// [`CausalFault`] says what contradicts its causes.
    pub fn check(&self, incoming: &Incoming) -> Result<Readiness, CausalFault> {
        let change = &incoming.change;
        let seen = incoming.seen.as_deref().unwrap_or_default();
        let mut named = change.deps.iter().chain(seen);
        if let Some(missing) = named.find(|id| self.position(id).is_none()) {
            return Ok(Readiness::Waits(*missing));
        }
        if self.position(&incoming.id).is_some() {
            return Ok(Readiness::Duplicate);
        }
        let deps: Vec<usize> = change
            .deps
            .iter()
            .filter_map(|d| self.position(d))
            .collect();
        let max_op = deps
            .iter()
            .map(|d| self.changes[*d].end_op)
            .max()
            .unwrap_or(0);
        // Without operations it would not come after its causes in the order of changes.
        if change.start_op != max_op.saturating_add(1) || change.ops.is_empty() {
            return Err(CausalFault::StartOp);
        }
        let clashes = self.clashes();
        let causes = Bits::closure(&self.changes, &deps);
        let own = |(i, c): &(usize, &ChangeInfo)| causes.has(*i) && self.is_by(c, &change.actor);
        let own = self.changes.iter().enumerate().filter(own);
        let before = own.map(|(_, c)| c.seq).max().unwrap_or(0);
        let whole = !clashes || self.is_one_strand(&causes);
        if change.seq != before.saturating_add(1) || !whole {
            return Err(CausalFault::Sequence);
        }
        let current = !clashes && self.is_current(&change.deps);
        let stands = |op: &FlatOp| {
            let visible = self.keys.get(&op.key).map_or(&[][..], |k| &k.visible);
            // On an older version the exact set needs the history; `replay` looks again.
            if current {
                op.pred == visible
            } else {
                op.pred.iter().all(|p| p.ctr < change.start_op)
            }
        };
        if change.ops.iter().all(stands) {
            Ok(Readiness::Ready)
        } else {
            Err(CausalFault::Predecessors)
        }
    }

    /// Applies a ready change whose author had seen everything. `false`, and nothing done: the
    /// change is concurrent with others, and [`RecordState::replay`] has to be used.
    pub fn apply(&mut self, incoming: &Incoming, rules: &KindRules) -> bool {
        let seen = incoming.seen.as_ref().unwrap_or(&incoming.change.deps);
        if !self.is_current(&incoming.change.deps) || !self.is_current(seen) || self.clashes() {
            return false;
        }
        let index = self.changes.len();
        let mut outcomes = Vec::with_capacity(incoming.change.ops.len());
        for (i, op) in incoming.change.ops.iter().enumerate() {
            let operation = incoming.operation(i, index);
            let policy = rules.policy(field_of_key(&op.key));
            let empty = Outcome::default();
            let before = self.keys.get(&op.key).map_or(&empty, |k| &k.outcome);
            let Some(outcome) = policy::extend(policy, before, operation) else {
                return false;
            };
            outcomes.push(outcome);
        }
        for (i, (op, outcome)) in incoming.change.ops.iter().zip(outcomes).enumerate() {
            let visible = vec![incoming.change.op_id(i)];
            self.keys
                .insert(op.key.clone(), KeyState { visible, outcome });
        }
        if index == 0 {
            self.patient.clone_from(&incoming.patient);
        }
        let actor = self.actor_index(incoming.change.actor, incoming.chain);
        let info = incoming.info(actor, |id| self.position(id));
        self.changes.push(info);
        true
    }

    pub(super) fn actor_index(&mut self, actor: ActorId, chain: u32) -> usize {
        self.actors
            .iter()
            .position(|a| (a.actor, a.chain) == (actor, chain))
            .unwrap_or_else(|| {
                self.actors.push(ActorInfo { actor, chain });
                self.actors.len() - 1
            })
    }

    /// What a delivered set of changes amounts to. Changes whose causes are not in the set are
    /// left out.
    ///
    /// # Errors
    /// [`CausalFault::Predecessors`] names nothing more than that one of them replaced what did
    /// not stand there.
    pub fn replay(all: Vec<Incoming>, rules: &KindRules) -> Result<Self, CausalFault> {
        let (all, again) = strands::each_once(all);
        let mut state = Self::default();
        let mut kept: Vec<Incoming> = Vec::with_capacity(all.len());
        let mut places: HashMap<ChangeId, usize> = HashMap::with_capacity(all.len());
        for incoming in strands::in_order(all) {
            let change = &incoming.change;
            if state.patient.is_none() && change.deps.is_empty() {
                state.patient.clone_from(&incoming.patient);
            }
            let actor = state.actor_index(change.actor, incoming.chain);
            let info = incoming.info(actor, |id| places.get(id).copied());
            places.insert(incoming.id, kept.len());
            state.changes.push(info);
            kept.push(incoming);
        }
        let again = again
            .into_iter()
            .filter_map(|(id, chain, seq)| Some((*places.get(&id)?, chain, seq)));
        state.again = again.collect();
        state.again.sort_unstable();
        let causality = state.causality();
        let mut by_key: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
        for (index, incoming) in kept.iter().enumerate() {
            for (i, op) in incoming.change.ops.iter().enumerate() {
                by_key.entry(&op.key).or_default().push((index, i));
            }
        }
        for (key, places) in by_key {
            let visible = visible(&places, &kept, &causality)?;
            let operations: Vec<Operation> = places
                .iter()
                .map(|(c, i)| kept[*c].operation(*i, *c))
                .collect();
            let policy = rules.policy(field_of_key(key));
            let outcome = policy::decide(policy, &operations, &causality);
            state.keys.insert(key.into(), KeyState { visible, outcome });
        }
        Ok(state)
    }
}

/// The operations that Automerge shows at a key, each change's predecessors checked on the way.
fn visible(
    places: &[(usize, usize)],
    changes: &[Incoming],
    causality: &Seen,
) -> Result<Vec<OpId>, CausalFault> {
    let id = |(c, i): &(usize, usize)| changes[*c].change.op_id(*i);
    // Strands may use one id twice: which is meant, the causes tell.
    let mut ids: HashMap<OpId, Vec<usize>> = HashMap::with_capacity(places.len());
    for (at, place) in places.iter().enumerate() {
        ids.entry(id(place)).or_default().push(at);
    }
    let mut hidden_by: Vec<Vec<usize>> = vec![Vec::new(); places.len()];
    let left = |hidden_by: &[Vec<usize>], within: &dyn Fn(usize) -> bool| -> Vec<OpId> {
        let stands = |p: &usize| within(*p) && !hidden_by[*p].iter().any(|q| within(*q));
        let mut left: Vec<OpId> = (0..places.len())
            .filter(stands)
            .map(|p| id(&places[p]))
            .collect();
        left.sort_unstable();
        left.dedup();
        left
    };
    for (at, place) in places.iter().enumerate() {
        let pred = &changes[place.0].change.ops[place.1].pred;
        let before = |p: usize| p < at && causality.builds_on(place.0, places[p].0);
        if *pred != left(&hidden_by, &before) {
            return Err(CausalFault::Predecessors);
        }
        let named = pred.iter().filter_map(|id| ids.get(id)).flatten();
        for p in named.filter(|p| before(**p)) {
            hidden_by[*p].push(at);
        }
    }
    Ok(left(&hidden_by, &|_| true))
}

impl Incoming {
    pub(super) fn operation(&self, op: usize, change: usize) -> Operation {
        Operation {
            id: self.change.op_id(op),
            change,
            cell: self.change.ops[op].cell.clone(),
            hlc: self.change.hlc,
            standing: self.standing,
        }
    }

    pub(super) fn info(
        &self,
        actor: usize,
        position: impl Fn(&ChangeId) -> Option<usize>,
    ) -> ChangeInfo {
        let places = |ids: &[ChangeId]| -> Vec<usize> {
            let mut places: Vec<usize> = ids.iter().filter_map(&position).collect();
            places.sort_unstable();
            places
        };
        let deps = places(&self.change.deps);
        let seen = self.seen.as_deref().map(places);
        ChangeInfo {
            id: self.id,
            actor,
            seq: self.change.seq,
            start_op: self.change.start_op,
            end_op: self.change.end_op(),
            deps,
            seen,
            hlc: self.change.hlc,
            commit_seq: self.commit_seq,
            standing: self.standing,
            import: self.import,
        }
    }
}
