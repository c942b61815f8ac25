//! Escalating fields: who settles them, and what is shown meanwhile.

use crate::table::{
    Clinician, Decide, Gone, Is, Nobody, Op, Put, Reviewer, What, escalate, operations, put, set,
    shows,
};
use medsync_core::ids::ActorId;
use medsync_core::model::cell::{Atom, Cell, OpId, Review};
use medsync_core::model::pack::{Interim, PolicyRow};
use medsync_core::model::policy::{Causality, Operation, decide};
use medsync_core::time::Timestamp;

#[test]
fn escalate_settles_what_all_agree_on_and_leaves_the_rest_to_people() {
    let p = &escalate(Interim::LastAgreed, &[]);
    let base = || Op(Clinician, 1, Put("base"), &[]);
    let edit = |hlc, text, saw| Op(Clinician, hlc, Put(text), saw);
    shows(p, &[base(), edit(2, "b", &[0])], Some("b"), Is::Settled);
    shows(
        p,
        &[base(), edit(2, "b", &[0]), edit(3, "b", &[0])],
        Some("b"),
        Is::Settled,
    );
    shows(
        p,
        &[base(), edit(2, "b", &[0]), edit(3, "c", &[0])],
        Some("base"),
        Is::Contested,
    );
    shows(
        p,
        &[edit(2, "b", &[]), edit(3, "c", &[])],
        None,
        Is::Contested,
    );
    let gone = Op(Clinician, 3, Gone, &[0]);
    shows(
        p,
        &[base(), edit(2, "b", &[0]), gone],
        Some("base"),
        Is::Contested,
    );
    // An edit on top is one more candidate; without authority it changes nothing.
    let open = |last| [base(), edit(2, "b", &[0]), edit(3, "c", &[0]), last];
    shows(p, &open(edit(4, "b", &[1, 2])), Some("base"), Is::Contested);
    shows(
        p,
        &open(Op(Nobody, 4, Put("d"), &[1, 2])),
        Some("base"),
        Is::Contested,
    );
    let decided = shows(
        p,
        &open(Op(Reviewer, 4, Decide(&[1, 2], "c"), &[1, 2])),
        Some("c"),
        Is::Settled,
    );
    assert_eq!(decided.candidates.len(), 1);
    shows(
        p,
        &open(Op(Clinician, 4, Decide(&[1, 2], "c"), &[1, 2])),
        Some("base"),
        Is::Contested,
    );
    // A review of one of them leaves the other open.
    shows(
        p,
        &open(Op(Reviewer, 4, Decide(&[1], "d"), &[1, 2])),
        Some("base"),
        Is::Contested,
    );
}

#[test]
fn a_decision_is_open_again_when_someone_else_had_not_seen_it() {
    let p = &escalate(Interim::LastAgreed, &[]);
    let ops = |a: What, b: Op| {
        [
            Op(Clinician, 1, Put("base"), &[]),
            Op(Clinician, 2, Put("b"), &[0]),
            Op(Clinician, 3, Put("c"), &[0]),
            Op(Reviewer, 4, a, &[1, 2]),
            b,
        ]
    };
    let late = Op(Clinician, 5, Put("d"), &[0]);
    shows(
        p,
        &ops(Decide(&[1, 2], "b"), late),
        Some("base"),
        Is::Contested,
    );
    let other = Op(Reviewer, 5, Decide(&[1, 2], "c"), &[1, 2]);
    shows(
        p,
        &ops(Decide(&[1, 2], "b"), other),
        Some("base"),
        Is::Contested,
    );
    let same = Op(Reviewer, 5, Decide(&[1, 2], "b"), &[1, 2]);
    shows(p, &ops(Decide(&[1, 2], "b"), same), Some("b"), Is::Settled);
    let after = Op(Clinician, 5, Put("e"), &[3]);
    shows(p, &ops(Decide(&[1, 2], "b"), after), Some("e"), Is::Settled);
}

#[test]
fn each_interim_shows_what_is_safe() {
    let two = |a, b| [Op(Clinician, 9, Put(a), &[]), Op(Clinician, 2, Put(b), &[])];
    let order = &["low", "unable", "high"];
    for interim in [Interim::Highest, Interim::MostRestrictive] {
        let p = &escalate(interim, order);
        shows(p, &two("low", "high"), Some("high"), Is::Contested);
        shows(p, &two("high", "low"), Some("high"), Is::Contested);
        shows(p, &two("high", "odd"), Some("odd"), Is::Contested);
        let gone = [
            Op(Clinician, 1, Put("low"), &[]),
            Op(Clinician, 2, Gone, &[]),
        ];
        shows(p, &gone, Some("low"), Is::Contested);
        let coded = r#"{"coding":[{"code":"high"},{"code":"x"}]}"#;
        shows(p, &two(coded, "unable"), Some(coded), Is::Contested);
    }
    shows(
        &escalate(Interim::Unknown, &[]),
        &two("a", "b"),
        None,
        Is::Contested,
    );
    let union = &escalate(Interim::Union, &[]);
    shows(
        union,
        &two("[1,2]", "[2,3]"),
        Some("[2,3,1]"),
        Is::Contested,
    );
    shows(union, &two("a", "b"), Some(r#"["b","a"]"#), Is::Contested);
    let gone = [Op(Clinician, 1, Put("a"), &[]), Op(Clinician, 2, Gone, &[])];
    shows(union, &gone, Some("a"), Is::Contested);
}

#[test]
fn an_order_reads_its_code_where_the_pack_says_and_strangers_stand_highest() {
    let p = PolicyRow::Escalate {
        interim: Interim::Highest,
        order: vec!["low".into(), "high".into()],
        by: "coding.code".into(),
    };
    let two = |a, b| [Op(Clinician, 9, Put(a), &[]), Op(Clinician, 2, Put(b), &[])];
    let high = r#"{"coding":[{"code":"high"}]}"#;
    let low = r#"{"coding":[{"code":"low"}]}"#;
    let free = r#"{"text":"free"}"#;
    shows(&p, &two(low, high), Some(high), Is::Contested);
    shows(&p, &two(high, free), Some(free), Is::Contested);
}

#[test]
fn bound_members_in_a_union_show_what_was_agreed_and_not_an_empty_list() {
    let p = &escalate(Interim::Union, &[]);
    let (mut all, view) = operations(&[
        Op(Clinician, 1, Put("a"), &[]),
        Op(Clinician, 2, Put("b"), &[0]),
        Op(Clinician, 3, Put("c"), &[0]),
    ]);
    for operation in &mut all {
        let Cell::Put { atom, .. } = &mut operation.cell else {
            unreachable!()
        };
        *atom = Atom::Members([("dose".into(), atom.text().into())].into());
    }
    let outcome = decide(p, &all, &view);
    assert_eq!(outcome.shown.as_ref(), Some(&all[0].cell));
}

#[test]
fn bound_members_that_were_never_agreed_show_what_all_candidates_share() {
    let p = &escalate(Interim::LastAgreed, &[]);
    let (mut all, view) = operations(&[
        Op(Clinician, 1, Put("1 mg"), &[]),
        Op(Clinician, 2, Put("2 mg"), &[]),
        Op(Clinician, 3, Put("2 mg"), &[1]),
    ]);
    let order = |dose: Option<&str>| {
        let drug = (Box::from("drug"), Box::from("\"Warfarin\""));
        let dose = dose.map(|dose| (Box::from("dose"), Box::from(dose)));
        Atom::Members(dose.into_iter().chain([drug]).collect())
    };
    for operation in &mut all {
        let Cell::Put { atom, .. } = &mut operation.cell else {
            unreachable!()
        };
        *atom = order(Some(atom.text().as_ref()));
    }
    let outcome = decide(p, &all, &view);
    let shown = Cell::Put {
        atom: order(None),
        order: None,
    };
    assert_eq!(outcome.shown, Some(shown));
    // One beside a removal shows nothing that only one of them says.
    all.truncate(2);
    let Some(last) = all.last_mut() else {
        unreachable!()
    };
    last.cell = Cell::Removed { reason: "".into() };
    assert_eq!(decide(p, &all, &view).shown, None);
}

#[test]
fn those_without_authority_are_shown_only_where_nobody_has_it() {
    for p in [&escalate(Interim::LastAgreed, &[]), &set(true, true)] {
        shows(p, &[Op(Nobody, 1, Put("a"), &[])], Some("a"), Is::Settled);
        let sure = [
            Op(Nobody, 1, Put("a"), &[]),
            Op(Clinician, 2, Put("b"), &[0]),
        ];
        shows(p, &sure, Some("b"), Is::Unconfirmed);
        let same = [
            Op(Nobody, 1, Put("a"), &[]),
            Op(Clinician, 2, Put("a"), &[0]),
        ];
        shows(p, &same, Some("a"), Is::Settled);
    }
    // What nobody with authority wrote is no common ground.
    let contest = [
        Op(Nobody, 1, Put("a"), &[]),
        Op(Clinician, 2, Put("b"), &[0]),
        Op(Clinician, 3, Put("c"), &[0]),
    ];
    shows(
        &escalate(Interim::LastAgreed, &[]),
        &contest,
        None,
        Is::Contested,
    );
}

#[test]
fn reviewers_who_disagree_for_ever_use_up_no_stack() {
    let p = &escalate(Interim::LastAgreed, &[]);
    let n = 4_001;
    let (mut all, _) = operations(&[Op(Reviewer, 0, Put("base"), &[])]);
    let base = all.remove(0);
    // Two reviewers decide each other's last decisions, both against each other, again and again.
    struct Rounds;
    impl Causality for Rounds {
        fn saw(&self, later: usize, earlier: usize) -> bool {
            later.div_ceil(2) > earlier.div_ceil(2)
        }
    }
    let long = |i: usize| OpId {
        ctr: i as u64 + 1,
        actor: ActorId([(i % 2) as u8; 16]),
    };
    let operation = |i: usize| Operation {
        id: long(i),
        change: i,
        hlc: Timestamp(i as i64),
        cell: match i {
            0 => put("base"),
            _ => Cell::Review(Box::new(Review {
                settles: (1..i).rev().take(3).map(long).chain([long(0)]).collect(),
                stands: put(if i.is_multiple_of(2) { "b" } else { "c" }),
            })),
        },
        ..base.clone()
    };
    let all: Vec<Operation> = (0..n).map(operation).collect();
    let outcome = decide(p, &all, &Rounds);
    assert_eq!(outcome.shown, Some(put("base")));
    assert_eq!(outcome.candidates.len(), 2);
}
