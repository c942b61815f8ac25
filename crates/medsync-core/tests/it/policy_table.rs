//! The policy table of the design and the paragraphs on status lattices, row by row.

use crate::table::{
    Clinician, Decide, Decider, Gone, Is, Nobody, Op, Put, Reviewer, View, What, escalate, id, is,
    lattice, operations, outcome, put, set, shows,
};
use medsync_core::model::cell::Cell;
use medsync_core::model::pack::{Interim, PolicyRow, Reopen};
use medsync_core::model::policy::{Accord, Outcome, stands_beside, without_effect};
use medsync_core::time::Timestamp;

const TEN_YEARS: i64 = 315_360_000_000 << 16;

#[test]
fn lww_shows_the_highest_clock_of_those_that_nobody_overwrote() {
    let p = &PolicyRow::Lww;
    let first = || Op(Clinician, TEN_YEARS, Put("a"), &[]);
    // One who saw it overwrites it, though by the clocks it was ten years earlier.
    let o = shows(
        p,
        &[first(), Op(Clinician, 5, Put("b"), &[0])],
        Some("b"),
        Is::Settled,
    );
    assert_eq!(o.candidates.len(), 1);
    let o = shows(
        p,
        &[first(), Op(Clinician, 5, Put("b"), &[])],
        Some("a"),
        Is::Settled,
    );
    assert_eq!(o.candidates.len(), 2);
    shows(
        p,
        &[first(), Op(Clinician, TEN_YEARS + 1, Gone, &[])],
        None,
        Is::Settled,
    );
    shows(
        p,
        &[first(), Op(Nobody, TEN_YEARS + 1, Put("b"), &[0])],
        Some("a"),
        Is::Settled,
    );
    // Equal clocks: the operation's actor decides, the same everywhere.
    shows(
        p,
        &[first(), Op(Clinician, TEN_YEARS, Put("b"), &[])],
        Some("b"),
        Is::Settled,
    );
}

#[test]
fn set_keeps_an_item_and_is_contested_where_the_pack_says_so() {
    let base = || Op(Clinician, 1, Put("a"), &[]);
    let edit = |text| Op(Clinician, 2, Put(text), &[0]);
    let gone = || Op(Clinician, 3, Gone, &[0]);
    for (edits, retractions) in [(false, false), (true, false), (false, true), (true, true)] {
        let p = &set(edits, retractions);
        let when = |contested| {
            if contested {
                Is::Contested
            } else {
                Is::Settled
            }
        };
        shows(p, &[base(), gone()], None, Is::Settled);
        shows(
            p,
            &[base(), edit("b"), gone()],
            Some("b"),
            when(retractions),
        );
        shows(p, &[base(), edit("b"), edit("c")], Some("c"), when(edits));
        shows(p, &[base(), edit("b"), edit("b")], Some("b"), Is::Settled);
        shows(p, &[base(), gone(), gone()], None, Is::Settled);
        // Retracting without authority takes nothing away, and is asked about.
        shows(
            p,
            &[base(), Op(Nobody, 9, Gone, &[0])],
            Some("a"),
            Is::Unconfirmed,
        );
    }
}

#[test]
fn lattice_shows_the_greatest_status() {
    for p in [&lattice(Reopen::Never), &lattice(Reopen::BySeen)] {
        let active = || Op(Clinician, 1, Put("active"), &[]);
        let then = |text, saw| Op(Clinician, 2, Put(text), saw);
        shows(
            p,
            &[active(), then("on-hold", &[0])],
            Some("on-hold"),
            Is::Settled,
        );
        shows(
            p,
            &[active(), then("draft", &[0])],
            Some("draft"),
            Is::Settled,
        );
        shows(
            p,
            &[active(), then("draft", &[])],
            Some("active"),
            Is::Settled,
        );
        // active beside on-hold: on-hold and contested, whichever is later.
        let hold = |hlc| Op(Clinician, hlc, Put("on-hold"), &[]);
        shows(p, &[active(), hold(0)], Some("on-hold"), Is::Contested);
        shows(
            p,
            &[active(), hold(TEN_YEARS)],
            Some("on-hold"),
            Is::Contested,
        );
    }
}

#[test]
fn a_terminal_status_holds_against_anything_lower_whatever_the_clocks() {
    for p in [&lattice(Reopen::Never), &lattice(Reopen::BySeen)] {
        let active = || Op(Clinician, 1, Put("active"), &[]);
        let then = |text, saw| Op(Clinician, 2, Put(text), saw);
        // stopped beside anything lower, whatever the clocks.
        let stop = || Op(Clinician, -TEN_YEARS, Put("stopped"), &[0]);
        shows(
            p,
            &[active(), stop(), then("active", &[0])],
            Some("stopped"),
            Is::Settled,
        );
        shows(
            p,
            &[active(), stop(), then("on-hold", &[0])],
            Some("stopped"),
            Is::Settled,
        );
        // completed beside stopped: contested, both kept, the safer shown.
        let o = shows(
            p,
            &[active(), stop(), then("completed", &[0])],
            Some("stopped"),
            Is::Contested,
        );
        assert_eq!(o.candidates.len(), 2);
        shows(
            p,
            &[active(), stop(), then("stopped", &[0])],
            Some("stopped"),
            Is::Settled,
        );
        shows(
            p,
            &[active(), stop(), then("entered-in-error", &[0])],
            Some("entered-in-error"),
            Is::Settled,
        );
        shows(
            p,
            &[active(), stop(), then("entered-in-error", &[1])],
            Some("entered-in-error"),
            Is::Settled,
        );
    }
}

#[test]
fn a_status_that_is_unknown_or_unauthorised_is_for_people_to_read() {
    for p in [&lattice(Reopen::Never), &lattice(Reopen::BySeen)] {
        let active = || Op(Clinician, 1, Put("active"), &[]);
        let then = |text, saw| Op(Clinician, 2, Put(text), saw);
        // A code or a value that the pack does not know is for people to read.
        shows(
            p,
            &[active(), then("odd", &[])],
            Some("active"),
            Is::Contested,
        );
        shows(
            p,
            &[active(), then("17", &[])],
            Some("active"),
            Is::Contested,
        );
        shows(
            p,
            &[active(), Op(Clinician, 3, Gone, &[])],
            Some("active"),
            Is::Settled,
        );
        // Without authority nothing is stopped, and it is asked about.
        shows(
            p,
            &[active(), Op(Nobody, 3, Put("stopped"), &[0])],
            Some("active"),
            Is::Unconfirmed,
        );
    }
}

#[test]
fn what_is_final_stays_and_what_is_not_is_reopened_by_those_who_saw_it() {
    let ops = |last: What, who| {
        [
            Op(Clinician, 1, Put("active"), &[]),
            Op(Clinician, 2, Put("stopped"), &[0]),
            Op(who, 3, last, &[1]),
        ]
    };
    let never = &lattice(Reopen::Never);
    let by_seen = &lattice(Reopen::BySeen);
    shows(
        never,
        &ops(Put("active"), Clinician),
        Some("stopped"),
        Is::Settled,
    );
    shows(
        by_seen,
        &ops(Put("active"), Clinician),
        Some("active"),
        Is::Settled,
    );
    shows(
        by_seen,
        &ops(Put("active"), Nobody),
        Some("stopped"),
        Is::Unconfirmed,
    );
    shows(never, &ops(Gone, Clinician), Some("stopped"), Is::Settled);
    // Not even by review; between terminals of one rank a reviewer may choose.
    shows(
        never,
        &ops(Decide(&[1], "active"), Reviewer),
        Some("stopped"),
        Is::Settled,
    );
    shows(
        never,
        &ops(Decide(&[1], "completed"), Reviewer),
        Some("completed"),
        Is::Settled,
    );
    shows(
        never,
        &ops(Put("completed"), Clinician),
        Some("stopped"),
        Is::Contested,
    );
    shows(
        by_seen,
        &ops(Put("completed"), Clinician),
        Some("completed"),
        Is::Settled,
    );
    // By way of entered-in-error nothing comes back either.
    let error = [
        Op(Clinician, 1, Put("stopped"), &[]),
        Op(Clinician, 2, Put("entered-in-error"), &[0]),
        Op(Clinician, 3, Put("active"), &[1]),
    ];
    shows(never, &error, Some("entered-in-error"), Is::Settled);
    shows(by_seen, &error, Some("active"), Is::Settled);
}

#[test]
fn a_reviewer_who_is_no_clinician_decides_only_what_was_in_question() {
    let p = &escalate(Interim::Unknown, &[]);
    let agreed = || Op(Clinician, 1, Put("a"), &[]);
    let o = shows(
        p,
        &[agreed(), Op(Decider, 2, Decide(&[0], "b"), &[0])],
        Some("a"),
        Is::Unconfirmed,
    );
    assert!(o.candidates[0].confirmed() && !o.candidates[1].confirmed());
    // Somebody clinical settles it after all.
    let settled = [
        agreed(),
        Op(Decider, 2, Decide(&[0], "b"), &[0]),
        Op(Reviewer, 3, Decide(&[0, 1], "b"), &[0, 1]),
    ];
    shows(p, &settled, Some("b"), Is::Settled);
    // What people contest, or somebody without authority says, is theirs to decide.
    for (who, interim) in [(Clinician, Is::Contested), (Nobody, Is::Unconfirmed)] {
        let open = || vec![agreed(), Op(who, 2, Put("b"), &[])];
        assert_eq!(is(&outcome(p, &open())), interim);
        let mut decided = open();
        decided.push(Op(Decider, 3, Decide(&[0, 1], "b"), &[0, 1]));
        shows(p, &decided, Some("b"), Is::Settled);
    }
    // To say again what stands changes nothing, and is allowed.
    let o = shows(
        p,
        &[agreed(), Op(Decider, 2, Decide(&[0], "a"), &[0])],
        Some("a"),
        Is::Settled,
    );
    assert_eq!(o.candidates.len(), 1);
    // Out of nothing comes nothing, and a plain value of theirs stands for itself.
    let alone = shows(
        p,
        &[Op(Decider, 1, Decide(&[], "b"), &[])],
        Some("b"),
        Is::Settled,
    );
    assert!(!alone.candidates[0].confirmed());
    for p in [
        p,
        &lattice(Reopen::BySeen),
        &PolicyRow::Lww,
        &set(true, true),
    ] {
        let plain = Op(Decider, 9, Put("stopped"), &[0]);
        let o = outcome(p, &[Op(Clinician, 1, Put("active"), &[]), plain]);
        assert_eq!(o.shown, Some(put("active")));
        let review = Op(Decider, 9, Decide(&[0], "stopped"), &[0]);
        let o = outcome(p, &[Op(Clinician, 1, Put("active"), &[]), review]);
        assert_eq!(o.shown, Some(put("active")));
    }
}

#[test]
fn a_stop_beside_a_change_of_dose_holds_and_is_asked_about() {
    let PolicyRow::Lattice(l) = lattice(Reopen::Never) else {
        unreachable!()
    };
    let p = &lattice(Reopen::Never);
    let one = |n: usize, text: &str| {
        let (mut all, _) = operations(&[Op(Clinician, n as i64, Put("x"), &[])]);
        let mut operation = all.remove(0);
        (operation.change, operation.id, operation.cell) = (n, id(n), put(text));
        Outcome {
            shown: Some(operation.cell.clone()),
            candidates: vec![operation],
            accord: Accord::Settled,
        }
    };
    let (stop, active, dose) = (one(1, "stopped"), one(1, "active"), one(2, "dose"));
    let view = |second_saw: &[usize]| View(vec![vec![], vec![0], second_saw.to_vec()]);
    assert_eq!(
        stands_beside(&l, &stop, &dose, &view(&[0])),
        Some(Timestamp(2))
    );
    assert_eq!(stands_beside(&l, &stop, &dose, &view(&[0, 1])), None);
    assert_eq!(stands_beside(&l, &active, &dose, &view(&[0])), None);
    let own = one(1, "dose");
    assert_eq!(stands_beside(&l, &stop, &own, &view(&[0])), None);
    // Two sources tell one story: each stop has its dose beside it, and they are the same.
    let two = |first: &Outcome, second: &Outcome| Outcome {
        candidates: [&first.candidates[..], &second.candidates].concat(),
        ..first.clone()
    };
    let stops = two(&stop, &one(2, "stopped"));
    assert_eq!(
        stands_beside(&l, &stops, &two(&own, &dose), &view(&[0])),
        None
    );
    // Another dose by somebody who knew of no stop is still asked about.
    let other = two(&own, &one(2, "another dose"));
    assert_eq!(
        stands_beside(&l, &stop, &other, &view(&[0])),
        Some(Timestamp(2))
    );
    assert!(without_effect(p, &stop, &put("active")));
    assert!(without_effect(
        p,
        &stop,
        &Cell::Removed { reason: "".into() }
    ));
    assert!(!without_effect(p, &stop, &put("entered-in-error")));
    assert!(!without_effect(p, &stop, &put("completed")));
    assert!(!without_effect(p, &active, &put("draft")));
    assert!(!without_effect(
        &lattice(Reopen::BySeen),
        &stop,
        &put("active")
    ));
}
