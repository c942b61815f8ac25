//! A carrier of honest batches who changes what no signature covers.

use super::{Mallory, Scene, WireLeaf};
use medsync_core::ids::DataKeyId;
use medsync_core::ledger::certificate::Role;
use medsync_core::ledger::wire::SealedBatch;

/// What a carrier can do to a leaf.
const TRICKS: &[fn(&mut WireLeaf)] = &[
    |leaf| *leaf = WireLeaf::Withheld(leaf.hash()),
    |leaf| {
        if let WireLeaf::Sealed { body, .. } = leaf {
            body[0] ^= 1;
        }
    },
    |leaf| {
        if let WireLeaf::Sealed { key, .. } = leaf {
            *key = DataKeyId([1; 16]);
        }
    },
];

fn tampered(batch: &SealedBatch, leaf: usize, trick: fn(&mut WireLeaf)) -> SealedBatch {
    let mut batch = batch.clone();
    trick(&mut batch.commits[0].leaves[leaf]);
    batch
}

#[test]
fn a_damaged_copy_does_not_keep_the_true_one_out() {
    for (no, trick) in TRICKS.iter().enumerate() {
        for key_first in [true, false] {
            let mut scene = Scene::new();
            let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
            let parts = [
                mallory.fresh("a", "code", "x"),
                mallory.fresh("b", "code", "y"),
            ];
            let batch = mallory.one(&scene, &parts);
            if key_first {
                scene.put_key(&mallory);
            }
            scene.put(1, &[tampered(&batch, 1, *trick)]);
            scene.exchange();
            // All or nothing, and nobody is blamed for it.
            assert_eq!((scene.shows("a"), scene.shows("b")), (None, None));
            let status = scene.vault.status().expect("a status");
            assert_eq!((status.pending, status.quarantine), (1, 0), "trick {no}");
            if !key_first {
                scene.put_key(&mallory);
            }
            scene.put(2, &[batch]);
            scene.exchange();
            let report = scene.exchange();
            assert!(scene.shows("a").is_some(), "trick {no}: {report:?}");
            assert!(scene.shows("b").is_some(), "trick {no}: {report:?}");
            assert_eq!(scene.pending(), 0);
            scene.assert_sound();
        }
    }
}

#[test]
fn a_member_who_passes_on_another_body_blames_nobody() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    let part = mallory.fresh("a", "code", "x");
    let (commit, mut wire) = mallory.commit(std::slice::from_ref(&part), &[]);
    let true_one = mallory.batch(&scene, vec![(commit.clone(), wire.clone())]);
    // Under the right key and with the right entry, but beside it another change.
    let other = mallory.change(
        1,
        &[],
        &[("code", super::Cell::put(&super::Json::string("z")))],
    );
    let (bytes, _) = super::encode(&other);
    let sealed = super::seal_leaf(
        &*super::env(),
        &commit,
        0,
        super::KEY,
        &mallory.data_key,
        &bytes,
    );
    wire.leaves[0] = sealed.expect("seals");
    let forged = mallory.batch(&scene, vec![(commit, wire)]);
    scene.put_key(&mallory);
    scene.put(1, &[forged]);
    scene.exchange();
    assert_eq!(scene.shows("a"), None);
    scene.put(2, &[true_one]);
    scene.exchange();
    assert!(scene.shows("a").is_some());
    scene.assert_sound();
}
