//! One change at a time comes to the same as the whole history at once.

use crate::doc::merging::{Merging, append, put_in_order};
use crate::doc::state::{CausalFault, Incoming, Readiness, RecordState};
use crate::model::cell::OpId;
use crate::testing::history::{Numbers, Replica, rules, scripts};
use proptest::prelude::*;

/// The record after `first` changes the usual way and the others one by one.
fn one_by_one(changes: &[Incoming], first: usize) -> RecordState {
    let rules = rules();
    let mut replica = Replica::default();
    let (before, after) = changes.split_at(first);
    before.iter().for_each(|i| replica.receive(i, &rules));
    let (mut state, mut history) = (replica.state, replica.held);
    history.sort_by_key(|i| (i.change.start_op, i.id));
    let mut waiting: Vec<&Incoming> = replica.waiting.iter().chain(after).collect();
    let mut merging = Merging::new(&history, &rules).expect("honest changes");
    while let Some(at) = waiting
        .iter()
        .position(|i| merging.check(i) == Ok(Readiness::Ready))
    {
        let incoming = waiting.remove(at);
        assert!(merging.stays_plain(incoming));
        let placed = merging.place(incoming).expect("an honest change");
        merging.push(incoming, placed, &rules);
        append(&mut state, incoming, &mut merging);
    }
    merging.settle(&mut state, &rules);
    put_in_order(&mut state);
    state
}

proptest! {
    #[test]
    fn changes_one_by_one_come_to_what_the_history_comes_to(
        script in scripts(2..=4, 40),
        shuffle in any::<u64>(),
        first in any::<prop::sample::Index>(),
    ) {
        let mut changes = script.run().all;
        Numbers(shuffle).shuffle(&mut changes);
        let whole = RecordState::replay(changes.clone(), &rules()).expect("honest changes");
        let first = first.index(changes.len() + 1);
        prop_assert_eq!(one_by_one(&changes, first), whole);
    }

    #[test]
    fn what_replaces_what_did_not_stand_there_is_found(
        script in scripts(2..=4, 30),
        which in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
    ) {
        let (mut changes, rules) = (script.run().all, rules());
        prop_assume!(!changes.is_empty());
        let ids: Vec<OpId> = changes
            .iter()
            .flat_map(|i| (0..i.change.ops.len()).map(|op| i.change.op_id(op)))
            .collect();
        // One operation names one more predecessor than it has, or one less.
        let at = which.index(changes.len());
        let id = ids[other.index(ids.len())];
        let before = &changes[..at];
        let merging = Merging::new(before, &rules).expect("honest changes");
        let pred = &mut changes[at].change.ops[0].pred;
        match pred.binary_search(&id) {
            Ok(found) => drop(pred.remove(found)),
            Err(place) => pred.insert(place, id),
        }
        let found = merging.place(&changes[at]).map(|_| ());
        prop_assert_eq!(found, Err(CausalFault::Predecessors));
        let all = changes[..=at].to_vec();
        prop_assert_eq!(RecordState::replay(all, &rules).map(|_| ()), found);
    }
}
