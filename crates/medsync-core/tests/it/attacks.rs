//! Whoever can put a file on the stick, member or stranger, and what that must not do.

mod by_hand;
mod carrier;
mod forks;
mod member;
mod newer;
mod own;
mod poison;
pub(crate) mod scene;
mod steps;

use scene::*;

/// Whether a vault's device is one that Mallory's batches can be read with at all.
#[test]
fn what_an_honest_member_leaves_by_hand_is_read() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    let parts = [
        mallory.fresh("a", "code", "x"),
        mallory.fresh("b", "code", "y"),
    ];
    let batch = mallory.one(&scene, &parts);
    scene.put(1, &[batch]);
    scene.put_key(&mallory);
    let report = scene.exchange();
    assert_eq!(
        (report.received.commits, report.received.pending),
        (1, 0),
        "{report:?}"
    );
    assert!(scene.shows("a").is_some() && scene.shows("b").is_some());
    scene.assert_sound();
}
