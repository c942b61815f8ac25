use super::*;
use crate::error::Error;
use crate::ids::DataKeyId;
use crate::ledger::batch::seal;
use crate::ledger::entry::{self, Entry};
use crate::ledger::wire::{SealedBatch, WireCommit, WireLeaf, seal_leaf};
use proptest::prelude::*;

const KEY: DataKeyId = DataKeyId([5; 16]);
const CHANGE: &[u8] = b"the change's bytes";

fn wire(commit: &Commit) -> WireCommit {
    let sealed = seal_leaf(&FixedEnv(3), commit, 0, KEY, &DATA_KEY, CHANGE).unwrap();
    let leaves = vec![
        sealed,
        WireLeaf::Withheld(commit.entries[1].leaf),
        WireLeaf::Item(commit.entries[2].bytes.clone()),
    ];
    WireCommit {
        header: commit.header.bytes().to_vec(),
        leaves,
    }
}

fn batch() -> SealedBatch {
    let run = commits(chain(1, 2), Tip::START, 3, 7);
    let signed = seal(&key(1), workspace(), &headers(&run)).unwrap();
    SealedBatch {
        signed,
        commits: run.iter().map(wire).collect(),
    }
}

#[test]
fn a_sealed_batch_travels_and_opens() {
    let bytes = batch().to_bytes().unwrap();
    let parsed = SealedBatch::parse(&bytes).unwrap();
    assert_eq!(parsed, batch());
    let verified = parsed.verify().unwrap();
    let opened = verified.open(2, 0, &DATA_KEY).unwrap();
    assert_eq!(opened.entry, Entry::Change(change(7)));
    assert_eq!(opened.change, CHANGE);
    let pack = Entry::Item {
        kind: ItemKind::PACK,
        bytes: b"pack".to_vec(),
    };
    assert_eq!(verified.item(1, 2), Ok(Some(pack)));
    assert_eq!(verified.item(1, 1), Ok(None));
    assert!(matches!(
        verified.open(1, 1, &DATA_KEY),
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        verified.open(3, 0, &DATA_KEY),
        Err(Error::NotFound(_))
    ));
    assert!(matches!(verified.item(0, 3), Err(Error::NotFound(_))));
    assert!(matches!(
        verified.open(0, 0, &[1; 32]),
        Err(Error::Integrity { .. })
    ));
}

#[test]
fn a_commit_withheld_altogether_still_verifies() {
    let mut batch = batch();
    for leaf in &mut batch.commits[1].leaves {
        *leaf = WireLeaf::Withheld(leaf.hash());
    }
    assert_eq!(batch.verify().unwrap().commits().count(), 3);
}

#[test]
fn changed_leaves_are_refused() {
    let refused = |change: &dyn Fn(&mut Vec<WireLeaf>)| {
        let mut batch = batch();
        change(&mut batch.commits[1].leaves);
        assert!(matches!(batch.verify(), Err(Error::Integrity { .. })));
    };
    refused(&|leaves| leaves[1] = WireLeaf::Withheld([0; 32]));
    refused(&|leaves| leaves[2] = WireLeaf::Item(vec![0x83, 1, 2, 0x40]));
    refused(&|leaves| leaves.swap(0, 1));
    refused(&|leaves| drop(leaves.pop()));
    refused(&|leaves| leaves.push(WireLeaf::Withheld([0; 32])));
    refused(&|leaves| {
        if let WireLeaf::Sealed { leaf, .. } = &mut leaves[0] {
            leaf[0] ^= 1;
        }
    });
}

#[test]
fn a_broken_seal_and_a_seal_moved_elsewhere_do_not_open() {
    let refused = |change: &dyn Fn(&mut SealedBatch)| {
        let mut batch = batch();
        change(&mut batch);
        let opened = batch.verify().unwrap().open(1, 0, &DATA_KEY);
        assert!(matches!(opened, Err(Error::Integrity { .. })), "{opened:?}");
    };
    let parts = |leaf: &mut WireLeaf, change: &dyn Fn(&mut [u8; 24], &mut Vec<u8>)| {
        if let WireLeaf::Sealed { nonce, body, .. } = leaf {
            change(nonce, body);
        }
    };
    refused(&|b| parts(&mut b.commits[1].leaves[0], &|nonce, _| nonce[0] ^= 1));
    for at in 0..60 {
        refused(&|b| parts(&mut b.commits[1].leaves[0], &|_, body| body[at] ^= 1));
    }
    refused(&|b| {
        parts(&mut b.commits[1].leaves[0], &|_, body| {
            body.truncate(body.len() - 1)
        })
    });
    refused(&|b| parts(&mut b.commits[1].leaves[0], &|_, body| body.clear()));
    refused(&|b| {
        let WireLeaf::Sealed { body: moved, .. } = b.commits[0].leaves[0].clone() else {
            return;
        };
        parts(&mut b.commits[1].leaves[0], &|_, body| {
            body.clone_from(&moved)
        });
    });
}

#[test]
fn what_was_sealed_instead_of_what_was_committed_does_not_open() {
    // Who holds the data key seals another entry into an honest commit.
    let run = commits(chain(1, 2), Tip::START, 1, 7);
    let other = commits(chain(1, 2), Tip::START, 1, 9);
    let mut forged = wire(&run[0]);
    let honest = forged.leaves[0].hash();
    forged.leaves[0] = seal_leaf(&FixedEnv(3), &other[0], 0, KEY, &DATA_KEY, CHANGE).unwrap();
    if let WireLeaf::Sealed { leaf, .. } = &mut forged.leaves[0] {
        *leaf = honest;
    }
    let signed = seal(&key(1), workspace(), &headers(&run)).unwrap();
    let verified = SealedBatch {
        signed,
        commits: vec![forged],
    }
    .verify()
    .unwrap();
    let what = verified.open(0, 0, &DATA_KEY).unwrap_err().to_string();
    assert!(what.contains("not what was committed"), "{what}");
}

#[test]
fn a_change_in_clear_is_refused() {
    // A commit whose author salted a change with nothing.
    let mut builder =
        CommitBuilder::new(chain(1, 2), Tip::START, at(1), Lane::P0, Intent::Edit).unwrap();
    builder.item(ItemKind::PACK, b"").unwrap();
    let bytes = Entry::Change(change(1)).to_bytes().unwrap();
    let honest = builder.build().unwrap();
    let root = entry::leaf(&entry::NO_SALT, &bytes);
    let mut header = honest.header.bytes().to_vec();
    let from = header.len() - 32;
    header[from..].copy_from_slice(&root);
    let header = Header::parse(&header).unwrap();
    let signed = seal(&key(1), workspace(), std::slice::from_ref(&header)).unwrap();
    let commit = WireCommit {
        header: header.bytes().to_vec(),
        leaves: vec![WireLeaf::Item(bytes)],
    };
    let verified = SealedBatch {
        signed,
        commits: vec![commit],
    }
    .verify()
    .unwrap();
    assert!(matches!(verified.item(0, 0), Err(Error::Integrity { .. })));
}

#[test]
fn sealing_checks_entry_key_and_length() {
    let commit = commit(chain(1, 2), Tip::START, 7);
    let refused = |index, key: &[u8; 32], change: &[u8]| {
        let sealed = seal_leaf(&FixedEnv(3), &commit, index, KEY, key, change);
        assert!(matches!(sealed, Err(Error::Invalid { .. })));
    };
    refused(3, &DATA_KEY, CHANGE);
    refused(0, &[1; 32], CHANGE);
    refused(2, &DATA_KEY, CHANGE);
    refused(0, &DATA_KEY, &vec![0; 1024 * 1024 + 1]);
}

#[test]
fn nothing_clinical_shows_in_bytes_or_debug() {
    let bytes = batch().to_bytes().unwrap();
    let found = bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes());
    assert!(!found);
    let verified = batch().verify().unwrap();
    let opened = verified.open(0, 0, &DATA_KEY).unwrap();
    let text = format!("{:?} {verified:?} {opened:?}", batch());
    assert!(!text.contains("canary"), "{text}");
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(SealedBatch::parse(&bytes).is_err());
    }

    #[test]
    fn mutated_batches_never_panic_and_never_open_as_something_else(
        at in 0usize..4000, byte: u8, cut in 0usize..4000, insert: bool,
    ) {
        let mut bytes = batch().to_bytes().unwrap();
        let place = at % bytes.len();
        if insert { bytes.insert(place, byte) } else { bytes[place] = byte }
        if let Ok(verified) = SealedBatch::parse(&bytes).and_then(SealedBatch::verify) {
            for n in 0..3 {
                if let Ok(opened) = verified.open(n, 0, &DATA_KEY) {
                    prop_assert_eq!(opened.entry, Entry::Change(change(7)));
                    prop_assert_eq!(opened.change, CHANGE);
                }
            }
        }
        bytes.truncate(cut % bytes.len());
        prop_assert!(SealedBatch::parse(&bytes).is_err());
    }
}
