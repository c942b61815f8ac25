//! The laws of merging, over random histories.

use crate::seed::config;
use medsync_core::doc::shown::Why;
use medsync_core::doc::state::{Incoming, RecordState};
use medsync_core::ids::ChangeId;
use medsync_core::model::cell::{Atom, Cell, OpId};
use medsync_core::model::json::Json;
use medsync_core::model::kind::field_of_key;
use medsync_core::model::pack::{Interim, PolicyRow, Reopen};
use medsync_core::model::policy::{self, Accord, Causality, Operation, Standing};
use medsync_core::testing::history::{
    Numbers, PEOPLE, Replica, World, record, rules, scripts, value_of,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn replay(changes: &[Incoming]) -> RecordState {
    RecordState::replay(changes.to_vec(), &rules()).expect("honest changes")
}

fn deliver(changes: &[Incoming]) -> Replica {
    let (mut replica, rules) = (Replica::default(), rules());
    for incoming in changes {
        replica.receive(incoming, &rules);
    }
    replica
}

/// All operations of a record by key, causes first, with who saw what.
fn operations(world: &World, state: &RecordState) -> BTreeMap<Box<str>, Vec<Operation>> {
    let mut all: BTreeMap<Box<str>, Vec<Operation>> = BTreeMap::new();
    for (index, info) in state.changes.iter().enumerate() {
        let incoming = world.all.iter().find(|i| i.id == info.id).expect("known");
        for (i, op) in incoming.change.ops.iter().enumerate() {
            all.entry(op.key.clone()).or_default().push(Operation {
                id: incoming.change.op_id(i),
                change: index,
                cell: op.cell.clone(),
                hlc: incoming.change.hlc,
                standing: incoming.standing,
            });
        }
    }
    all
}

/// Who had what in view, straight from what the changes say.
struct Views(Vec<BTreeSet<usize>>);

impl Views {
    fn new(world: &World, state: &RecordState) -> Self {
        let at = |id: &ChangeId| state.changes.iter().position(|c| c.id == *id);
        let mut causes: Vec<BTreeSet<usize>> = Vec::new();
        let mut views = Vec::new();
        for info in &state.changes {
            let incoming = world.all.iter().find(|i| i.id == info.id).expect("known");
            let closure = |version: &[ChangeId]| -> BTreeSet<usize> {
                let named = version.iter().map(|id| at(id).expect("causes come first"));
                named
                    .flat_map(|i| causes[i].iter().copied().chain([i]))
                    .collect()
            };
            let deps = closure(&incoming.change.deps);
            views.push(closure(
                incoming.seen.as_ref().unwrap_or(&incoming.change.deps),
            ));
            causes.push(deps);
        }
        Self(views)
    }
}

impl Causality for Views {
    fn saw(&self, later: usize, earlier: usize) -> bool {
        self.0[later].contains(&earlier)
    }
}

fn rank(lattice: &medsync_core::model::pack::Lattice, cell: &Cell) -> Option<usize> {
    policy::code(cell).and_then(|code| lattice.rank(&code))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn order_grouping_and_repetition_of_delivery_change_nothing(
        script in scripts(2..=5, 24), seed in any::<u64>()
    ) {
        let mut world = script.run();
        let whole = replay(&world.all);
        let view = whole.render(&record(), &world.rules);
        let mut numbers = Numbers(seed);
        let mut shuffled = world.all.clone();
        numbers.shuffle(&mut shuffled);
        shuffled.extend(shuffled.clone().into_iter().take(3));
        prop_assert_eq!(&deliver(&shuffled).state, &whole);
        prop_assert_eq!(&replay(&shuffled), &whole);
        world.meet(seed);
        for replica in &world.replicas {
            prop_assert!(replica.waiting.is_empty());
            prop_assert_eq!(&replica.state, &whole);
            prop_assert_eq!(&replica.state.render(&record(), &world.rules), &view);
        }
    }

    #[test]
    fn applying_one_change_is_replaying_all(script in scripts(1..=3, 24)) {
        let world = script.run();
        for replica in &world.replicas {
            for (n, state) in replica.past.iter().enumerate() {
                prop_assert_eq!(state, &replay(&replica.held[..n]));
            }
        }
    }

    #[test]
    fn a_row_and_its_view_hold_the_whole_state(script in scripts(1..=4, 24)) {
        let world = script.run();
        for replica in &world.replicas {
            for state in &replica.past {
                let view = state.render(&record(), &world.rules);
                let row = state.to_row(&world.rules);
                let back = RecordState::from_row(&row, &view).expect("own row");
                prop_assert_eq!(&back, state);
                prop_assert_eq!(back.to_row(&world.rules), row);
            }
        }
    }

    #[test]
    fn a_view_is_canonical_json(script in scripts(1..=3, 24)) {
        let world = script.run();
        for replica in &world.replicas {
            let view = replica.state.render(&record(), &world.rules);
            prop_assert_eq!(Json::parse(view.as_bytes()).expect("JSON").text(), view);
        }
    }

    #[test]
    fn automerge_has_the_same_heads_and_shows_the_same_operations(script in scripts(1..=4, 20)) {
        let world = script.run();
        let bytes: Vec<Vec<u8>> = world.all.iter()
            .map(|i| medsync_core::doc::encode(&i.change).0).collect();
        let opened = medsync_core::doc::oracle::open(bytes.iter().map(|b| &b[..])).expect("opens");
        let state = replay(&world.all);
        prop_assert_eq!(opened.heads, state.heads());
        prop_assert_eq!(opened.max_op, state.max_op());
        let visible: BTreeMap<Box<str>, Vec<OpId>> =
            state.keys.iter().map(|(k, s)| (k.clone(), s.visible.clone())).collect();
        prop_assert_eq!(opened.visible, visible);
    }

    #[test]
    fn no_edit_is_lost(script in scripts(2..=5, 28)) {
        let world = script.run();
        let state = replay(&world.all);
        let causality = Views::new(&world, &state);
        for (key, all) in operations(&world, &state) {
            let policy = world.rules.policy(field_of_key(&key));
            let outcome = &state.keys[&key].outcome;
            for x in &all {
                if outcome.candidates.iter().any(|c| c.id == x.id) {
                    continue;
                }
                let covered = all.iter().any(|y| {
                    let allowed = match &y.cell {
                        Cell::Review(r) => y.standing.reviewer && r.settles.contains(&x.id),
                        _ => y.standing.clinical,
                    };
                    let held = match policy {
                        PolicyRow::Lattice(l) if l.reopen == Reopen::Never && x.confirmed() =>
                            policy::code(&x.cell).is_some_and(|c| l.is_terminal(&c))
                                && rank(l, &y.cell) < rank(l, &x.cell),
                        _ => false,
                    };
                    causality.saw(y.change, x.change) && allowed && !held
                });
                prop_assert!(covered, "{} lost {}", key, x.id);
            }
        }
    }

    #[test]
    fn atoms_never_mix(script in scripts(2..=5, 28)) {
        let world = script.run();
        let state = replay(&world.all);
        for (key, all) in operations(&world, &state) {
            let outcome = &state.keys[&key].outcome;
            let union = matches!(
                world.rules.policy(field_of_key(&key)),
                PolicyRow::Escalate { interim: Interim::Union, .. }
            );
            let Some(shown) = &outcome.shown else { continue };
            let written = all.iter().any(|o| o.cell.standing() == shown);
            let contested = matches!(outcome.accord, Accord::Contested(_));
            prop_assert!(written || (union && contested), "{}", key);
        }
        let view = Json::parse(state.render(&record(), &world.rules).as_bytes()).expect("JSON");
        if let (Some(a), Some(b)) = (view.get("dosage"), view.get("medicationReference")) {
            let number = |v: &Json| v.as_str().map(|s| s.bytes().last());
            prop_assert_eq!(number(a), number(b), "a dose beside another medicine");
        }
    }

    #[test]
    fn what_was_stopped_is_never_shown_active_again(mut script in scripts(2..=5, 40)) {
        script.focus = 0;
        let world = script.run();
        let lattice = world.rules.lattice("status").expect("a lattice");
        for replica in &world.replicas {
            let mut stopped = false;
            for (n, state) in replica.past.iter().enumerate().skip(1) {
                let new = &replica.held[n - 1];
                let at = |state: &RecordState| state.position(&new.id).expect("delivered");
                for op in &new.change.ops {
                    let terminal = policy::code(&op.cell).is_some_and(|c| lattice.is_terminal(&c));
                    // What was delivered last is a candidate, with the authority it had there.
                    let may = state.keys.get(&op.key).is_some_and(|k| {
                        k.outcome.candidates.iter().any(|c| c.change == at(state) && c.confirmed())
                    });
                    stopped |= &*op.key == "status" && terminal && may;
                }
                let shown = state.keys.get("status").and_then(|k| k.outcome.shown.as_ref());
                if stopped {
                    let code = shown.and_then(policy::code).unwrap_or_default();
                    let ended = ["completed", "stopped", "cancelled", "entered-in-error"];
                    prop_assert!(ended.contains(&code.as_str()), "shows {}", code);
                }
            }
        }
    }

    #[test]
    fn a_stale_form_covers_nothing_that_came_after_it(script in scripts(1..=3, 24)) {
        let world = script.run();
        let state = replay(&world.all);
        let causality = Views::new(&world, &state);
        for (key, all) in operations(&world, &state) {
            // The last word of a key is a candidate unless someone who saw it wrote again.
            for x in &all {
                if !all.iter().any(|y| causality.saw(y.change, x.change)) {
                    let kept = state.keys[&key].outcome.candidates.iter().any(|c| c.id == x.id);
                    prop_assert!(kept, "{} lost {}", key, x.id);
                }
            }
        }
    }

    #[test]
    fn without_authority_nothing_is_covered_and_nothing_else_is_shown(
        script in scripts(2..=5, 28)
    ) {
        let world = script.run();
        let state = replay(&world.all);
        let causality = Views::new(&world, &state);
        for (key, all) in operations(&world, &state) {
            let policy = world.rules.policy(field_of_key(&key));
            let outcome = &state.keys[&key].outcome;
            if !outcome.candidates.iter().any(Operation::confirmed) {
                continue;
            }
            // Whoever may only decide may decide between these two kinds of candidates as well.
            if all.iter().any(|o| o.standing.reviewer && !o.standing.clinical) {
                continue;
            }
            let sure: Vec<Operation> = all.iter().filter(|o| o.confirmed()).cloned().collect();
            let alone = policy::decide(policy, &sure, &causality);
            prop_assert_eq!(&alone.shown, &outcome.shown, "{}", key);
            let left = |o: &[Operation]| -> Vec<OpId> {
                o.iter().filter(|c| c.confirmed()).map(|c| c.id).collect()
            };
            prop_assert_eq!(left(&alone.candidates), left(&outcome.candidates));
        }
    }

    #[test]
    fn a_reviewer_who_is_no_clinician_changes_nothing_but_what_was_in_question(
        script in scripts(2..=4, 28)
    ) {
        let world = script.run();
        let state = replay(&world.all);
        let causality = Views::new(&world, &state);
        for (key, all) in operations(&world, &state) {
            let policy = world.rules.policy(field_of_key(&key));
            for y in all.iter().filter(|o| o.standing.reviewer && !o.standing.clinical) {
                let mut seen: Vec<Operation> = all.iter()
                    .filter(|x| causality.saw(y.change, x.change)).cloned().collect();
                let before = policy::decide(policy, &seen, &causality);
                seen.push(y.clone());
                let after = policy::decide(policy, &seen, &causality);
                let review = matches!(y.cell, Cell::Review(_));
                if before.accord != Accord::Settled && review {
                    continue;
                }
                if before.candidates.iter().any(Operation::confirmed) {
                    let same = match (&before.shown, &after.shown) {
                        (Some(a), Some(b)) => a.same_value(b),
                        (a, b) => a == b,
                    };
                    prop_assert!(same, "{}", key);
                }
                // Nothing with authority gives way to it but what says the same.
                let gone = |x: &&Operation| x.confirmed() && !after.candidates.iter().any(|c| c.id == x.id);
                let same = |x: &Operation| x.cell.same_value(&y.cell);
                prop_assert!(before.candidates.iter().filter(gone).all(same), "{}", key);
            }
        }
    }

    #[test]
    fn the_interim_is_what_all_sides_had_in_common(script in scripts(2..=5, 32)) {
        let world = script.run();
        let state = replay(&world.all);
        let causality = Views::new(&world, &state);
        for (key, all) in operations(&world, &state) {
            let policy = world.rules.policy(field_of_key(&key));
            let outcome = &state.keys[&key].outcome;
            let last_agreed =
                matches!(policy, PolicyRow::Escalate { interim: Interim::LastAgreed, .. });
            if !last_agreed || !matches!(outcome.accord, Accord::Contested(_)) {
                continue;
            }
            let sure = outcome.candidates.iter().any(Operation::confirmed);
            let sides: Vec<&Operation> =
                outcome.candidates.iter().filter(|c| c.confirmed() || !sure).collect();
            let common: Vec<Operation> = all.iter()
                .filter(|x| !sure || x.confirmed())
                .filter(|x| sides.iter().all(|s| causality.saw(s.change, x.change)))
                .cloned().collect();
            let before = policy::decide(policy, &common, &causality);
            prop_assert_eq!(&outcome.shown, &before.shown, "{}", key);
        }
    }

    #[test]
    fn authority_that_is_known_late_gives_the_same_result(
        script in scripts(2..=4, 24), seed in any::<u64>()
    ) {
        let world = script.run();
        let mut late = world.all.clone();
        for incoming in &mut late {
            incoming.standing = Standing::default();
        }
        let mut replica = deliver(&late);
        // Certificates arrive in some order; each makes the record be worked out anew.
        let mut order: Vec<usize> = (0..late.len()).collect();
        Numbers(seed).shuffle(&mut order);
        for i in order {
            let id = late[i].id;
            let known = world.all[i].standing;
            replica.held.iter_mut().filter(|h| h.id == id).for_each(|h| h.standing = known);
        }
        prop_assert_eq!(&replay(&replica.held), &deliver(&world.all).state);
    }

    #[test]
    fn contested_until_reviewed_and_reviewed_until_a_new_candidate(
        values in prop::collection::vec(0_u8..4, 1..6), years in -10_i8..=10
    ) {
        let mut world = World { rules: rules(), replicas: vec![Replica::default(); 3], all: vec![], clones: 0 };
        let now = |n: i64| 1_700_000_000_000 + n * 1000;
        let gender = |n: u8| vec![("gender".into(), value_of("gender", n))];
        world.write(0, 0, 0, now(0), gender(3));
        let base = world.all[0].clone();
        let rules = world.rules.clone();
        world.replicas.iter_mut().for_each(|r| r.receive(&base, &rules));
        world.write(0, 0, 0, now(1), gender(0));
        world.write(1, 2, 0, now(2 + i64::from(years) * 30_000_000), gender(1));
        world.meet(0);
        let accord = |w: &World, at: usize| w.replicas[at].state.keys["gender"].outcome.accord;
        let shown = |w: &World, at: usize| w.replicas[at].state.keys["gender"].outcome.shown.clone();
        prop_assert!(matches!(accord(&world, 0), Accord::Contested(_)));
        prop_assert_eq!(shown(&world, 0), Some(value_of("gender", 3)));
        for (n, value) in values.iter().enumerate() {
            world.write(0, 0, 0, now(10 + n as i64), gender(*value));
            prop_assert!(matches!(accord(&world, 0), Accord::Contested(_)));
        }
        let outcome = world.replicas[0].state.keys["gender"].outcome.clone();
        let mut settles: Vec<OpId> = outcome.candidates.iter().map(|c| c.id).collect();
        settles.sort_unstable();
        let review = |person: u8, w: &mut World| {
            let review = medsync_core::model::cell::Review {
                settles: settles.clone(),
                stands: value_of("gender", 2),
            };
            let cell = Cell::Review(Box::new(review));
            w.write(0, person, 0, now(100), vec![("gender".into(), cell)]);
        };
        // Someone without the authority decides nothing.
        review(0, &mut world);
        prop_assert!(matches!(accord(&world, 0), Accord::Contested(_)));
        review(1, &mut world);
        prop_assert_eq!(shown(&world, 0), Some(value_of("gender", 2)));
        // The unauthorised decision agrees with what stands, so nothing is open.
        prop_assert_eq!(accord(&world, 0), Accord::Settled);
        world.write(1, 2, 0, now(200), gender(1));
        world.meet(1);
        prop_assert!(matches!(accord(&world, 2), Accord::Contested(_)));
    }

    #[test]
    fn a_counter_shows_the_sum_of_its_parts(mut script in scripts(2..=4, 24)) {
        script.focus = 11;
        let world = script.run();
        let state = replay(&world.all);
        let parts = || state.keys.iter().filter(|(k, _)| field_of_key(k) == "stock")
            .map(|(_, k)| &k.outcome);
        let sure = |o: &&policy::Outcome| o.candidates.iter().any(Operation::confirmed);
        let any = parts().any(|o| sure(&o));
        let sum: i64 = parts().filter(|o| sure(o) || !any)
            .filter_map(|o| match &o.shown {
                Some(Cell::Put { atom: Atom::Value(text), .. }) => text.parse::<i64>().ok(),
                _ => None,
            }).sum();
        let view = Json::parse(state.render(&record(), &world.rules).as_bytes()).expect("JSON");
        if let Some(shown) = view.get("stock") {
            prop_assert_eq!(shown.text(), sum.to_string());
            let contests = state.contests(&world.rules);
            let why = contests.iter().find(|c| &*c.key == "stock").map(|c| c.why);
            let doubted = any && parts().any(|o| !sure(&o));
            let expected = if sum < 0 { Some(Why::BelowFloor) } else {
                doubted.then_some(Why::Unconfirmed)
            };
            prop_assert_eq!(why, expected);
        }
    }
}

#[test]
fn the_people_of_the_histories_differ_in_authority() {
    assert!(PEOPLE.iter().any(|p| !p.clinical && !p.reviewer));
    assert!(PEOPLE.iter().any(|p| p.clinical && !p.reviewer));
    assert!(PEOPLE.iter().any(|p| p.reviewer));
}
