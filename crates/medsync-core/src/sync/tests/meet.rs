//! Sessions between honest sides over a good wire.

use super::host::{Host, hosts};
use super::{FAST, Outcome, SLOW, Wire, run};
use crate::model::pack::Lane;
use crate::sync::hello::Tier;
use crate::sync::step::{Ending, Notice};

fn compared(outcome: &Outcome) -> Option<Tier> {
    outcome.notices[1].iter().find_map(|notice| match notice {
        Notice::Compared(tier) => Some(*tier),
        _ => None,
    })
}

pub(super) fn assert_in_sync(outcome: &Outcome, a: &Host, b: &Host) {
    assert_eq!(outcome.endings, [Some(Ending::InSync); 2], "{outcome:?}");
    assert_eq!(a.ids(), b.ids());
}

fn write(host: &mut Host, count: usize, len: usize) {
    for _ in 0..count {
        host.write(Lane::P2, len, &[]);
    }
}

/// Two that have met.
pub(super) fn met() -> [Host; 2] {
    let [mut a, mut b] = hosts();
    write(&mut a, 3, 300);
    write(&mut b, 2, 300);
    let outcome = run(&mut a, &mut b, SLOW);
    assert_in_sync(&outcome, &a, &b);
    [a, b]
}

#[test]
fn two_strangers_of_one_workspace_meet_and_hold_the_same() {
    let [a, b] = met();
    assert_eq!(a.log.len(), 5);
    // Each has the other's receipt for what it sent, and they are those that were given.
    assert_eq!(a.got, b.given);
    assert_eq!(b.got, a.given);
    assert_eq!(a.got[0].terms().receiver, b.device());
    assert_eq!((a.again, b.again), (0, 0));
}

#[test]
fn two_that_hold_the_same_find_out_in_one_round_trip_and_few_bytes() {
    let [mut a, mut b] = met();
    for batches in [0, 2000] {
        write(&mut a, batches, 10);
        let outcome = run(&mut a, &mut b, FAST);
        assert_in_sync(&outcome, &a, &b);
        let outcome = run(&mut a, &mut b, FAST);
        assert_in_sync(&outcome, &a, &b);
        assert_eq!(compared(&outcome), Some(Tier::Equal));
        assert_eq!(outcome.in_sync_after, [Some(2), Some(1)]);
        assert_eq!(outcome.frames, [1, 1]);
        let bytes = outcome.bytes.iter().sum::<usize>();
        println!("{batches} batches: {bytes} bytes");
        assert!(bytes <= 330, "{bytes} bytes");
    }
}

#[test]
fn what_was_written_since_travels_by_cursors_in_two_round_trips() {
    let [mut a, mut b] = met();
    write(&mut a, 12, 1600);
    write(&mut b, 9, 1600);
    let outcome = run(&mut a, &mut b, FAST);
    assert_in_sync(&outcome, &a, &b);
    assert_eq!(compared(&outcome), Some(Tier::Cursors));
    assert!(
        outcome
            .receipted_after
            .iter()
            .all(|t| t.is_some_and(|t| t <= 4))
    );
    let frames = outcome.frames.iter().sum::<usize>();
    assert!(frames <= 20, "{frames} frames");
    let payload = 21 * 1610;
    let more = outcome.bytes.iter().sum::<usize>() - payload;
    println!("{more} bytes beside {payload} of 21 batches, {frames} frames");
    assert!(more <= 2000, "{more} bytes beside the batches");
    assert_eq!((a.again, b.again), (0, 0));
}

#[test]
fn without_a_cursor_few_differences_are_found_in_the_first_message() {
    let [mut a, mut b] = met();
    write(&mut a, 200, 40);
    assert_in_sync(&run(&mut a, &mut b, FAST), &a, &b);
    a.cursors.clear();
    write(&mut a, 9, 100);
    write(&mut b, 9, 100);
    let outcome = run(&mut a, &mut b, FAST);
    assert_in_sync(&outcome, &a, &b);
    assert_eq!(compared(&outcome), Some(Tier::Found));
    assert!(
        outcome
            .receipted_after
            .iter()
            .all(|t| t.is_some_and(|t| t <= 4))
    );
    assert_eq!((a.again, b.again), (0, 0));
}

#[test]
fn without_a_cursor_many_differences_are_found_in_one_and_a_half_round_trips() {
    let [mut a, mut b] = met();
    write(&mut a, 3000, 10);
    assert_in_sync(&run(&mut a, &mut b, FAST), &a, &b);
    a.cursors.clear();
    b.epoch = [77; 16];
    write(&mut a, 250, 10);
    write(&mut b, 250, 10);
    let outcome = run(&mut a, &mut b, FAST);
    assert_in_sync(&outcome, &a, &b);
    assert_eq!(compared(&outcome), Some(Tier::Sketch));
    println!(
        "{:?} bytes, {:?} half trips",
        outcome.bytes, outcome.receipted_after
    );
    assert!(
        outcome
            .receipted_after
            .iter()
            .all(|t| t.is_some_and(|t| t <= 8))
    );
    assert_eq!((a.again, b.again), (0, 0));
}

#[test]
fn an_epoch_that_changed_makes_old_cursors_void() {
    let [mut a, mut b] = met();
    // Put back from a backup: what came last is gone, and it knows no better.
    b.log.truncate(3);
    b.epoch = [9; 16];
    let outcome = run(&mut a, &mut b, SLOW);
    assert_in_sync(&outcome, &a, &b);
    assert_eq!(compared(&outcome), Some(Tier::Sketch));
    let again = run(&mut b, &mut a, SLOW);
    assert_in_sync(&again, &a, &b);
    assert_eq!(compared(&again), Some(Tier::Equal));
}

#[test]
fn an_empty_device_gets_everything_without_a_sketch() {
    let [mut a, mut b] = hosts();
    write(&mut a, 300, 500);
    let outcome = run(&mut b, &mut a, FAST);
    assert_in_sync(&outcome, &a, &b);
    assert_eq!(compared(&outcome), Some(Tier::Cursors));
}

#[test]
fn more_than_the_credit_flows_as_it_is_granted_again() {
    let [mut a, mut b] = met();
    write(&mut a, 40, 30_000);
    let outcome = run(&mut a, &mut b, FAST);
    assert_in_sync(&outcome, &a, &b);
    assert_eq!(b.taken - 3 * 310, 40 * 30_010);
}

#[test]
fn bytes_may_come_in_any_pieces() {
    for piece in [1, 2, 3, 7, 100, 1025] {
        let [mut a, mut b] = hosts();
        write(&mut a, 4, 2500);
        write(&mut b, 2, 700);
        let mut wire = Wire::new(&mut a, &mut b, [SLOW, FAST], usize::MAX);
        wire.piece = piece;
        let outcome = wire.run();
        assert_in_sync(&outcome, &a, &b);
    }
}

#[test]
fn three_that_meet_in_turn_come_to_hold_the_same() {
    let [mut a, mut b, mut c] = hosts();
    for (host, count) in [(&mut a, 5), (&mut b, 50), (&mut c, 500)] {
        write(host, count, 60);
    }
    for _ in 0..2 {
        assert_in_sync(&run(&mut a, &mut b, FAST), &a, &b);
        assert_in_sync(&run(&mut b, &mut c, FAST), &b, &c);
        assert_in_sync(&run(&mut c, &mut a, FAST), &c, &a);
        write(&mut a, 3, 60);
        write(&mut c, 2, 60);
    }
    assert_in_sync(&run(&mut a, &mut b, FAST), &a, &b);
}

#[test]
fn a_peer_that_forgot_whose_key_it_is_asks() {
    let [mut a, mut b] = met();
    b.known.clear();
    write(&mut a, 1, 100);
    let outcome = run(&mut a, &mut b, SLOW);
    assert_in_sync(&outcome, &a, &b);
    assert!(b.known.contains_key(&a.static_public()));
}

#[test]
fn receipts_of_one_receiver_are_chained() {
    let [mut a, mut b] = met();
    for _ in 0..3 {
        write(&mut a, 2, 100);
        assert_in_sync(&run(&mut a, &mut b, SLOW), &a, &b);
    }
    assert!(b.given.len() >= 4);
    for pair in b.given.windows(2) {
        assert_eq!(pair[1].terms().previous, pair[0].hash());
    }
}
