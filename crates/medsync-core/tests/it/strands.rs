//! Records of chains that forked: clones and restored backups write under one name.

use crate::seed::config;
use medsync_core::doc::state::{Incoming, Readiness, RecordState};
use medsync_core::doc::{encode, oracle};
use medsync_core::ids::{CommitId, RecordId};
use medsync_core::model::cell::Cell;
use medsync_core::model::json::Json;
use medsync_core::model::policy::Standing;
use medsync_core::testing::history::{
    Numbers, Replica, Script, Step, World, forked_scripts, record, rules,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn replay(all: &[Incoming]) -> RecordState {
    RecordState::replay(all.to_vec(), &rules()).expect("a history")
}

fn deliver(all: &[Incoming]) -> Replica {
    let mut replica = Replica::default();
    let rules = rules();
    for incoming in all {
        replica.receive(incoming, &rules);
    }
    replica
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_forked_history_reads_the_same_in_every_order(
        script in forked_scripts(2..=6, 24), seed in any::<u64>()
    ) {
        let mut world = script.run();
        let whole = replay(&world.all);
        prop_assert_eq!(whole.changes.len(), world.all.len(), "nothing is dropped");
        let mut numbers = Numbers(seed);
        for _ in 0..3 {
            let mut shuffled = world.all.clone();
            numbers.shuffle(&mut shuffled);
            shuffled.extend(shuffled.clone().into_iter().take(3));
            let replica = deliver(&shuffled);
            prop_assert!(replica.waiting.is_empty());
            prop_assert_eq!(&replica.state, &whole);
            prop_assert_eq!(&replay(&shuffled), &whole);
        }
        world.meet(seed);
        for replica in &world.replicas {
            prop_assert_eq!(&replica.state, &whole);
        }
    }

    #[test]
    fn each_step_of_a_delivery_is_the_replay_of_what_came(script in forked_scripts(2..=5, 20)) {
        let world = script.run();
        for replica in &world.replicas {
            for (n, state) in replica.past.iter().enumerate() {
                prop_assert_eq!(state, &replay(&replica.held[..n]));
                let view = state.render(&record(), &world.rules);
                let row = state.to_row(&world.rules);
                let back = RecordState::from_row(&row, &view).expect("own row");
                prop_assert_eq!(&back, state);
            }
        }
    }

    #[test]
    fn each_strand_opens_in_automerge_and_together_they_are_all(
        script in forked_scripts(2..=6, 24)
    ) {
        let world = script.run();
        let whole = replay(&world.all);
        let strands = whole.strands();
        prop_assert_eq!(strands.len() > 1, whole.clashes());
        let mut covered = BTreeSet::new();
        for strand in &strands {
            let within = |i: &&Incoming| whole.position(&i.id).is_some_and(|i| strand.has(i));
            let part: Vec<Incoming> = world.all.iter().filter(within).cloned().collect();
            covered.extend(part.iter().map(|i| i.id));
            let state = replay(&part);
            prop_assert!(!state.clashes());
            let raw: Vec<Vec<u8>> = part.iter().map(|i| encode(&i.change).0).collect();
            let opened = oracle::open(raw.iter().map(Vec::as_slice)).expect("opens");
            prop_assert_eq!(opened.heads, state.heads());
            prop_assert_eq!(opened.max_op, state.max_op());
            for (key, visible) in opened.visible {
                prop_assert_eq!(&state.keys[&key].visible, &visible);
            }
        }
        prop_assert_eq!(covered.len(), whole.changes.len());
    }
}

/// A device and its clone both write a field, from the same beginning.
fn two() -> World {
    let edit = |replica, key, value| Step::Edit {
        replica,
        person: 0,
        pin: 0,
        years: 0,
        cells: vec![(key, value)],
    };
    let send = |from, to| Step::Send {
        from,
        to,
        which: u32::MAX,
        shuffle: 0,
    };
    let script = Script {
        replicas: 2,
        clones: 1,
        // `gender`: escalates.
        focus: 2,
        steps: vec![
            edit(0, 0, 1),
            send(0, 1),
            edit(0, 0, 2),
            edit(1, 0, 3),
            send(0, 1),
            send(1, 0),
        ],
    };
    script.run()
}

#[test]
fn both_branches_are_candidates_and_an_edit_goes_on_over_both() {
    let mut world = two();
    for replica in &world.replicas {
        let state = &replica.state;
        assert!(state.clashes());
        assert_eq!(state.strands().len(), 2);
        let outcome = &state.keys["gender"].outcome;
        assert_eq!(outcome.candidates.len(), 2, "{outcome:?}");
        let [a, b] = &outcome.candidates[..] else {
            panic!("two candidates");
        };
        assert_eq!(a.id, b.id, "one id, two values");
        assert!(outcome.accord.since().is_some());
    }
    // A reviewer who saw both settles both, by the one id they share.
    let state = &world.replicas[1].state;
    let settles = vec![state.keys["gender"].outcome.candidates[0].id];
    let stands = Cell::put(&Json::string("decided"));
    let review = medsync_core::model::cell::Review { settles, stands };
    let cell = Cell::Review(Box::new(review));
    world.write(1, 1, 0, 1_800_000_000_000, vec![("gender".into(), cell)]);
    world.meet(1);
    for replica in &world.replicas {
        let outcome = &replica.state.keys["gender"].outcome;
        assert_eq!(outcome.candidates.len(), 1, "{outcome:?}");
        assert!(outcome.accord.since().is_none());
    }
}

#[test]
fn what_builds_on_two_strands_is_a_fault_wherever_it_arrives() {
    let world = two();
    let heads = world.replicas[0].state.heads();
    assert_eq!(heads.len(), 2);
    let mut both = world.all.last().expect("a change").clone();
    both.change.deps.clone_from(&heads);
    both.change.seq = 3;
    both.change.start_op = 3;
    both.id = encode(&both.change).1;
    for replica in &world.replicas {
        assert!(replica.state.check(&both).is_err());
    }
    // Naming both as seen is what an honest engine does.
    let mut seen = world.all.last().expect("a change").clone();
    seen.seen = Some(heads);
    assert_eq!(
        world.replicas[0].state.check(&seen),
        Ok(Readiness::Duplicate)
    );
}

#[test]
fn a_change_in_two_commits_counts_once_and_the_same_in_every_order() {
    let world = two();
    let rules = rules();
    let mut again = world.all[1].clone();
    again.seen = Some(Vec::new());
    again.chain = 77;
    again.commit = CommitId([0xFF; 32]);
    let mut unable = world.all[1].clone();
    unable.commit = CommitId([0; 32]);
    unable.commit_seq = 1;
    unable.chain = 78;
    unable.standing = Standing::default();
    let all = [world.all.clone(), vec![again, unable]].concat();
    let whole = replay(&all);
    // The first with authority counts; the others are known for what they are.
    assert_eq!(whole.again.len(), 2);
    let counted = RecordState {
        again: Vec::new(),
        ..whole.clone()
    };
    assert_eq!(counted, replay(&world.all));
    let mut numbers = Numbers(5);
    for _ in 0..20 {
        let mut shuffled = all.clone();
        numbers.shuffle(&mut shuffled);
        assert_eq!(replay(&shuffled), whole);
    }
    let view = whole.render(&RecordId::new("Chart", "1").expect("a name"), &rules);
    let back = RecordState::from_row(&whole.to_row(&rules), &view).expect("own row");
    assert_eq!(back, whole);
}

#[test]
fn views_of_each_other_end_and_come_out_the_same() {
    let world = two();
    let mut all = world.all.clone();
    let ids: Vec<_> = all.iter().map(|i| i.id).collect();
    // Only a forger has seen what is written later in sight of it.
    all[1].seen = Some(vec![ids[2]]);
    all[2].seen = Some(vec![ids[1]]);
    let whole = replay(&all);
    assert_eq!(whole.changes.len(), 3);
    all.reverse();
    assert_eq!(replay(&all), whole);
}
