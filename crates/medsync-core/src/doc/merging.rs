//! A record with its whole history at hand, to which concurrent changes are added one by one.
//!
//! [`RecordState::apply`] needs no history, and can do nothing without one where somebody had not
//! seen everything; [`RecordState::replay`] begins again. This is what stands between: the history
//! is read once, and each further change costs what its own keys hold.

use crate::doc::closures::Closures;
use crate::doc::state::{ActorInfo, CausalFault, Incoming, KeyState, Readiness, RecordState};
use crate::ids::{ActorId, ChangeId, RecordId};
use crate::model::bitset::BitSet;
use crate::model::cell::OpId;
use crate::model::kind::{KindRules, field_of_key};
use crate::model::timeline::{Timeline, View};
use std::collections::{BTreeSet, HashMap};

/// A change whose predecessors were found to be those that stood there.
#[derive(Debug)]
pub(crate) struct Placed {
    deps: Vec<usize>,
    seen: Option<Vec<usize>>,
    causes: BitSet,
    view: Option<BitSet>,
}

/// All operations of one key.
#[derive(Debug, Default)]
struct Key {
    timeline: Timeline,
    /// Id and change of each operation.
    operations: Vec<(OpId, usize)>,
    places: HashMap<OpId, usize>,
    hidden_by: Vec<BitSet>,
    /// The operations that no other hides.
    visible: Vec<usize>,
}

/// A record's changes in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Merging {
    closures: Closures,
    places: HashMap<ChangeId, usize>,
    /// Last operation of each change.
    end_ops: Vec<u64>,
    /// Number and index of each change of an actor.
    by_actor: HashMap<ActorId, Vec<(u64, usize)>>,
    /// The state's index of an actor on a chain number.
    actors: HashMap<(ActorId, u32), usize>,
    keys: HashMap<Box<str>, Key>,
    /// Keys whose outcome is not in the state yet.
    open: BTreeSet<Box<str>>,
    /// The patient that the first change says, and that change.
    patient: Option<(ChangeId, RecordId)>,
}

impl Merging {
    /// From a history, causes first.
    ///
    /// # Errors
    /// [`CausalFault::Predecessors`] for one that no gate passed.
    pub(crate) fn new(history: &[Incoming], rules: &KindRules) -> Result<Self, CausalFault> {
        let mut this = Self::default();
        for incoming in history {
            let placed = this.place(incoming)?;
            this.push(incoming, placed, rules);
        }
        // The state that the history belongs to has these outcomes.
        this.open.clear();
        Ok(this)
    }

    /// As [`RecordState::check`] where no changes clash, at the cost of what the change names. Its
    /// predecessors are left to [`Merging::place`].
    ///
    /// # Errors
    /// As [`RecordState::check`].
    pub(crate) fn check(&self, incoming: &Incoming) -> Result<Readiness, CausalFault> {
        let change = &incoming.change;
        let seen = incoming.seen.as_deref().unwrap_or_default();
        let mut named = change.deps.iter().chain(seen);
        if let Some(missing) = named.find(|id| !self.places.contains_key(*id)) {
            return Ok(Readiness::Waits(*missing));
        }
        if self.places.contains_key(&incoming.id) {
            return Ok(Readiness::Duplicate);
        }
        let deps = self.indexes(&change.deps);
        let ends = deps.iter().filter_map(|d| self.end_ops.get(*d).copied());
        let max_op = ends.max().unwrap_or(0);
        if change.start_op != max_op.saturating_add(1) || change.ops.is_empty() {
            return Err(CausalFault::StartOp);
        }
        let causes = self.closures.of(&deps);
        let own = self.by_actor.get(&change.actor).into_iter().flatten();
        let own = own.filter(|(_, at)| causes.has(*at)).map(|(seq, _)| *seq);
        if change.seq != own.max().unwrap_or(0).saturating_add(1) {
            return Err(CausalFault::Sequence);
        }
        Ok(Readiness::Ready)
    }

    /// Whether a ready change has a number of its own, and its author saw no more than it builds on.
    pub(crate) fn stays_plain(&self, incoming: &Incoming) -> bool {
        let own = self.by_actor.get(&incoming.change.actor);
        let last = own.into_iter().flatten().map(|(seq, _)| *seq).max();
        let seen = self.indexes(incoming.seen.as_deref().unwrap_or_default());
        last.is_none_or(|last| last < incoming.change.seq) && {
            let deps = self.indexes(&incoming.change.deps);
            seen.is_empty() || {
                let causes = self.closures.of(&deps);
                seen.iter().all(|at| causes.has(*at))
            }
        }
    }

    fn indexes(&self, ids: &[ChangeId]) -> Vec<usize> {
        let known = ids.iter().filter_map(|id| self.places.get(id));
        known.copied().collect()
    }

    /// Finds whether a change whose causes are there replaces what stood there.
    pub(crate) fn place(&self, incoming: &Incoming) -> Result<Placed, CausalFault> {
        let change = &incoming.change;
        let places = |ids: &[ChangeId]| -> Option<Vec<usize>> {
            ids.iter().map(|id| self.places.get(id).copied()).collect()
        };
        let deps = places(&change.deps).ok_or(CausalFault::Predecessors)?;
        let seen = incoming.seen.as_deref().map(places);
        let seen = seen
            .map(|s| s.ok_or(CausalFault::Predecessors))
            .transpose()?;
        let causes = self.closures.of(&deps);
        for op in &change.ops {
            let stood = self.keys.get(&op.key).map(|key| key.visible_in(&causes));
            if op.pred != stood.unwrap_or_default() {
                return Err(CausalFault::Predecessors);
            }
        }
        let view = seen.as_ref().map(|seen| self.closures.of(seen));
        Ok(Placed {
            deps,
            seen,
            causes,
            view,
        })
    }

    /// Adds a change that was placed among those that are here.
    pub(crate) fn push(&mut self, incoming: &Incoming, placed: Placed, rules: &KindRules) {
        let index = self.closures.len();
        let view = placed.view.as_ref().unwrap_or(&placed.causes);
        for (i, op) in incoming.change.ops.iter().enumerate() {
            let key = self.keys.entry(op.key.clone()).or_default();
            let all = key.visible.iter().all(|p| key.is_within(*p, view));
            let saw = |earlier| view.has(earlier);
            let view = if all { View::All } else { View::Of(&saw) };
            let policy = rules.policy(field_of_key(&op.key));
            let operation = incoming.operation(i, index);
            key.timeline.push(policy, operation, &view);
            key.add(incoming.change.op_id(i), index, &op.pred);
            self.open.insert(op.key.clone());
        }
        if incoming.change.deps.is_empty()
            && let Some(patient) = &incoming.patient
            && self
                .patient
                .as_ref()
                .is_none_or(|(id, _)| incoming.id < *id)
        {
            self.patient = Some((incoming.id, patient.clone()));
        }
        self.places.insert(incoming.id, index);
        self.end_ops.push(incoming.change.end_op());
        let own = self.by_actor.entry(incoming.change.actor).or_default();
        own.push((incoming.change.seq, index));
        self.closures.push(placed.deps, placed.seen, placed.causes);
    }

    /// Puts into the state what has become of the keys, and its patient.
    pub(crate) fn settle(&mut self, state: &mut RecordState, rules: &KindRules) {
        for key in std::mem::take(&mut self.open) {
            let policy = rules.policy(field_of_key(&key));
            if let Some(all) = self.keys.get(&key) {
                let known = state.keys.entry(key).or_default();
                known.outcome = all.timeline.outcome(policy, &self.closures);
                known.visible = all.visible();
            }
        }
        state.patient = self.patient.as_ref().map(|(_, patient)| patient.clone());
    }
}

impl Key {
    fn is_within(&self, operation: usize, set: &BitSet) -> bool {
        let change = self.operations.get(operation).map(|(_, change)| *change);
        change.is_some_and(|change| set.has(change))
    }

    fn visible(&self) -> Vec<OpId> {
        self.ids(self.visible.iter().copied())
    }

    fn ids(&self, operations: impl Iterator<Item = usize>) -> Vec<OpId> {
        let id = |p: usize| self.operations.get(p).map(|(id, _)| *id);
        let mut ids: Vec<OpId> = operations.filter_map(id).collect();
        ids.sort_unstable();
        ids
    }

    /// What Automerge shows of a causally closed set of changes.
    fn visible_in(&self, set: &BitSet) -> Vec<OpId> {
        // Whoever knows all that is visible knows all that it replaced.
        if self.visible.iter().all(|p| self.is_within(*p, set)) {
            return self.visible();
        }
        let there = (0..self.operations.len()).filter(|p| self.is_within(*p, set));
        let there: BitSet = there.collect();
        let stands = |p: &usize| self.hidden_by.get(*p).is_some_and(|by| !by.meets(&there));
        self.ids(there.iter().filter(stands))
    }

    fn add(&mut self, id: OpId, change: usize, pred: &[OpId]) {
        let at = self.operations.len();
        for p in pred.iter().filter_map(|id| self.places.get(id)) {
            if let Some(by) = self.hidden_by.get_mut(*p) {
                by.insert(at);
            }
        }
        let hidden_by = &self.hidden_by;
        self.visible
            .retain(|p| hidden_by.get(*p).is_some_and(BitSet::is_empty));
        self.visible.push(at);
        self.hidden_by.push(BitSet::default());
        self.operations.push((id, change));
        self.places.insert(id, at);
    }
}

/// Brings changes that were added as they came into the one order of all replicas.
pub(crate) fn put_in_order(state: &mut RecordState) {
    if state.changes.is_sorted_by_key(|c| (c.start_op, c.id)) {
        return;
    }
    let mut order: Vec<usize> = (0..state.changes.len()).collect();
    order.sort_unstable_by_key(|i| state.changes.get(*i).map(|c| (c.start_op, c.id)));
    let mut places = vec![0; order.len()];
    for (new, old) in order.iter().enumerate() {
        if let Some(place) = places.get_mut(*old) {
            *place = new;
        }
    }
    let moved = |i: &mut usize| *i = places.get(*i).copied().unwrap_or(*i);
    let all = |places: &mut Vec<usize>| {
        places.iter_mut().for_each(moved);
        places.sort_unstable();
    };
    let mut changes = Vec::with_capacity(order.len());
    let mut actors: Vec<ActorInfo> = Vec::new();
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    for old in &order {
        let Some(mut change) = state.changes.get(*old).cloned() else {
            continue;
        };
        all(&mut change.deps);
        change.seen.iter_mut().for_each(all);
        change.actor = *numbers.entry(change.actor).or_insert_with(|| {
            actors.extend(state.actors.get(change.actor).copied());
            actors.len() - 1
        });
        changes.push(change);
    }
    (state.changes, state.actors) = (changes, actors);
    let outcomes = state.keys.values_mut().map(|key| &mut key.outcome);
    for candidate in outcomes.flat_map(|outcome| &mut outcome.candidates) {
        moved(&mut candidate.change);
    }
}

/// Adds to a state, at its end, what is known of a change whose operations `merging` has taken.
/// What the policies make of them is added when it settles.
pub(crate) fn append(state: &mut RecordState, incoming: &Incoming, merging: &mut Merging) {
    let by = (incoming.change.actor, incoming.chain);
    let actor = *merging
        .actors
        .entry(by)
        .or_insert_with(|| state.actor_index(by.0, by.1));
    let info = incoming.info(actor, |id| merging.places.get(id).copied());
    state.changes.push(info);
    for op in &incoming.change.ops {
        if !state.keys.contains_key(&op.key) {
            state.keys.insert(op.key.clone(), KeyState::default());
        }
    }
}
