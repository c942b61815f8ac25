use super::*;
use crate::ledger::batch::{VerifiedRun, seal};
use crate::ledger::equivocation::Equivocation;
use proptest::prelude::*;

fn run(author: u8, headers: &[Header]) -> VerifiedRun {
    seal(&key(author), workspace(), headers)
        .unwrap()
        .verify(headers.to_vec())
        .unwrap()
}

/// A chain of `common` commits that goes on as two.
fn fork(common: usize, left: usize, right: usize) -> (Vec<Header>, Vec<Header>) {
    let trunk = commits(chain(1, 2), Tip::START, common, 7);
    let tip = trunk.last().map_or(Tip::START, |c| c.header.tip());
    let side = |n, mark| {
        let mut all = headers(&trunk);
        all.extend(headers(&commits(chain(1, 2), tip, n, mark)));
        all
    };
    (side(left, 20), side(right, 30))
}

#[test]
fn a_fork_is_proved_to_strangers_in_four_hundred_bytes() {
    let (a, b) = fork(3, 1, 1);
    let proof = Equivocation::between(&run(1, &a), &run(1, &b)).unwrap();
    assert_eq!((proof.seq(), *proof.chain()), (4, chain(1, 2)));
    let mut ids = [a[3].id(), b[3].id()];
    ids.sort_unstable();
    assert_eq!(*proof.commits(), ids);
    assert_eq!(Equivocation::parse(proof.bytes()), Ok(proof.clone()));
    assert!(proof.bytes().len() <= 400, "{}", proof.bytes().len());
}

#[test]
fn the_proof_is_the_same_whoever_finds_it() {
    let (a, b) = fork(1, 4, 2);
    let (a, b) = (run(1, &a), run(1, &b));
    assert_eq!(Equivocation::between(&a, &b), Equivocation::between(&b, &a));
}

#[test]
fn a_run_that_goes_on_from_another_commit_is_a_fork_too() {
    let (a, b) = fork(2, 2, 4);
    let proof = Equivocation::between(&run(1, &a), &run(1, &b[4..])).unwrap();
    assert_eq!(proof.seq(), 4);
    assert!(Equivocation::parse(proof.bytes()).is_ok());
}

#[test]
fn honest_runs_and_runs_apart_prove_nothing() {
    let (a, b) = fork(2, 4, 4);
    let none = |x: &VerifiedRun, y: &VerifiedRun| assert_eq!(Equivocation::between(x, y), None);
    none(&run(1, &a), &run(1, &a));
    none(&run(1, &a[..3]), &run(1, &a[1..]));
    none(&run(1, &a[..2]), &run(1, &a[2..]));
    // A gap between them: nothing is known.
    none(&run(1, &a[..2]), &run(1, &b[4..]));
    let other = headers(&commits(chain(1, 3), Tip::START, 6, 7));
    none(&run(1, &a), &run(1, &other));
}

#[test]
fn every_flipped_byte_and_every_cut_of_a_proof_is_refused() {
    let (a, b) = fork(1, 3, 1);
    let proof = Equivocation::between(&run(1, &a), &run(1, &b)).unwrap();
    for at in 0..proof.bytes().len() {
        let mut bad = proof.bytes().to_vec();
        bad[at] ^= 1;
        assert!(Equivocation::parse(&bad).is_err(), "byte {at}");
        assert!(
            Equivocation::parse(&proof.bytes()[..at]).is_err(),
            "cut {at}"
        );
    }
}

proptest! {
    #[test]
    fn any_overlap_of_two_branches_is_found(common in 0usize..4, left in 1usize..5, right in 1usize..5, from_a in 0usize..4, from_b in 0usize..4) {
        let (a, b) = fork(common, left, right);
        let (x, y) = (run(1, &a[from_a.min(a.len() - 1)..]), run(1, &b[from_b.min(b.len() - 1)..]));
        let seq = x.batch().last.min(y.batch().last);
        let touch = x.batch().first <= seq + 1 && y.batch().first <= seq + 1;
        let proof = Equivocation::between(&x, &y);
        prop_assert_eq!(proof.is_some(), touch);
        if let Some(proof) = proof {
            prop_assert_eq!(Equivocation::parse(proof.bytes()), Ok(proof.clone()));
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Equivocation::parse(&bytes).is_err());
    }
}
