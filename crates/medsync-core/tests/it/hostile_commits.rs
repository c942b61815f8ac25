//! What no honest engine writes, commit by commit and batch by batch: refused, or kept as evidence,
//! and never in the way of the rest.

use crate::attacks::scene::*;
use medsync_core::model::cell::OpId;

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It contradicts itself or what it builds on.
    Quarantined,
    /// Something of it is missing, or came damaged.
    Waits,
}

type Made = (Commit, WireCommit);

/// Makes a commit after one that wrote `first`.
type Make = fn(&mut Mallory, first: &FlatChange) -> Made;

fn text(value: &str) -> Cell {
    Cell::put(&Json::string(value))
}

/// A change that follows `first`, changed by `hostile`.
fn next(mallory: &mut Mallory, first: &FlatChange, hostile: fn(&mut FlatChange)) -> Made {
    let mut change = mallory.change(2, &[first], &[("code", text("hostile"))]);
    change.ops[0].pred = vec![first.op_id(0)];
    hostile(&mut change);
    mallory.commit(&[part("a", change)], &[])
}

/// An entry of `first`'s record that names this change, whatever its bytes are.
fn raw(mallory: &mut Mallory, first: &FlatChange, change: Vec<u8>) -> Made {
    let id = medsync_core::doc::change_id(&change).unwrap_or(ChangeId([0; 32]));
    let entry = ChangeEntry {
        record: record("a"),
        patient: None,
        seen: None,
        change: id,
        because: None,
        source: None,
    };
    let entry = entry::Entry::Change(entry).to_bytes().expect("an entry");
    mallory.sealed(first.hlc, &[(entry, change)])
}

/// A chunk of one kind that holds `data`.
fn chunk(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, kind];
    let mut length = data.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(data);
    bytes
}

const ROWS: &[(&str, Fate, Make)] = &[
    (
        "operations that start far ahead",
        Fate::Quarantined,
        |m, f| next(m, f, |c| c.start_op = 100_000_000),
    ),
    (
        "operations at the end of 32 bits",
        Fate::Quarantined,
        |m, f| next(m, f, |c| c.start_op = u64::from(u32::MAX)),
    ),
    (
        "operations that start too early",
        Fate::Quarantined,
        |m, f| {
            next(m, f, |c| {
                (c.start_op, c.seq, c.ops[0].pred) = (1, 1, Vec::new())
            })
        },
    ),
    ("a sequence number used again", Fate::Quarantined, |m, f| {
        next(m, f, |c| c.seq = 1)
    }),
    ("a sequence number skipped", Fate::Quarantined, |m, f| {
        next(m, f, |c| (c.seq, c.start_op) = (3, 3))
    }),
    ("another person's actor", Fate::Quarantined, |m, f| {
        next(m, f, |c| c.actor.0[0] ^= 1)
    }),
    (
        "no predecessor where one stood",
        Fate::Quarantined,
        |m, f| next(m, f, |c| c.ops[0].pred.clear()),
    ),
    (
        "a predecessor that nobody wrote",
        Fate::Quarantined,
        |m, f| {
            next(m, f, |c| {
                c.ops[0].pred = vec![OpId {
                    ctr: 1,
                    actor: medsync_core::ids::ActorId([9; 16]),
                }];
            })
        },
    ),
    ("no operation at all", Fate::Quarantined, |m, f| {
        next(m, f, |c| c.ops.clear())
    }),
    ("a key that is none", Fate::Quarantined, |m, f| {
        next(m, f, |c| c.ops[0].key = "".into())
    }),
    ("causes that nobody has", Fate::Waits, |m, f| {
        next(m, f, |c| c.deps = vec![ChangeId([9; 32])])
    }),
    (
        "more operations than a change may have",
        Fate::Quarantined,
        |m, f| {
            let keys: Vec<String> = (0..30_001).map(|n| format!("f{n:05}")).collect();
            let cells: Vec<(&str, Cell)> = keys.iter().map(|k| (k.as_str(), text("x"))).collect();
            let change = m.change(2, &[f], &cells);
            m.commit(&[part("a", change)], &[])
        },
    ),
    ("one record twice", Fate::Quarantined, |m, _| {
        let one = m.fresh("b", "code", "x");
        m.commit(&[one.clone(), one], &[])
    }),
    (
        "a change at another time than its commit",
        Fate::Quarantined,
        |m, _| {
            let (one, mut two) = (m.fresh("b", "code", "x"), m.fresh("c", "code", "x"));
            two.change.hlc = one.change.hlc.next();
            m.commit(&[one, two], &[])
        },
    ),
    (
        "a document where a change belongs",
        Fate::Quarantined,
        |m, f| raw(m, f, chunk(0, &[0; 64])),
    ),
    ("a deflated change", Fate::Quarantined, |m, f| {
        raw(m, f, chunk(2, &[0; 64]))
    }),
    ("noise where a change belongs", Fate::Quarantined, |m, f| {
        raw(m, f, vec![7; 500])
    }),
    ("an entry that is noise", Fate::Waits, |m, f| {
        m.sealed(f.hlc, &[(vec![0xff; 40], Vec::new())])
    }),
    ("an item that is noise", Fate::Quarantined, |m, _| {
        m.junk_item()
    }),
    ("another change than was committed", Fate::Waits, |m, f| {
        let (commit, mut wire) = next(m, f, |_| {});
        let (other, _) = encode(&m.fresh("a", "code", "y").change);
        let sealed = seal_leaf(&*env(), &commit, 0, KEY, &m.data_key, &other);
        wire.leaves[0] = sealed.expect("seals");
        (commit, wire)
    }),
    ("a leaf salted with another key", Fate::Waits, |m, f| {
        let key = m.data_key;
        m.data_key[0] ^= 1;
        let made = next(m, f, |_| {});
        m.data_key = key;
        made
    }),
];

#[test]
fn each_fault_is_quarantined_and_the_rest_is_taken() {
    for (name, fate, make) in ROWS {
        let mut scene = Scene::new();
        let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
        let first = mallory.fresh("a", "code", "first");
        let before = mallory.commit(std::slice::from_ref(&first), &[]);
        let hostile = make(&mut mallory, &first.change);
        let after = mallory.fresh("z", "code", "last");
        let after = mallory.commit(&[after], &[]);
        let batch = mallory.batch(&scene, vec![before, hostile, after]);
        scene.put_key(&mallory);
        scene.put(1, &[batch]);
        let report = scene.exchange();
        assert_eq!(report.received.commits, 3, "{name}: {report:?}");
        let status = scene.vault.status().expect("a status");
        let found = (status.quarantine, status.pending);
        let expected = match fate {
            Fate::Quarantined => (1, 0),
            Fate::Waits => (0, 1),
        };
        assert_eq!(found, expected, "{name}");
        assert!(
            scene.shows("a").is_some_and(|a| a.contains("first")),
            "{name}"
        );
        assert!(
            scene.shows("b").is_none() && scene.shows("z").is_some(),
            "{name}"
        );
        // Work on the record goes on.
        scene.write("a", "note", "ours");
        scene.assert_sound();
    }
}

/// What a carrier can do to a batch of two commits, and to one of another person.
type Trick = fn(&mut SealedBatch, other: &SealedBatch);

const TRICKS: &[(&str, Trick)] = &[
    ("a commit too few", |b, _| drop(b.commits.pop())),
    ("a commit twice", |b, _| {
        b.commits.push(b.commits[0].clone())
    }),
    ("commits in another order", |b, _| b.commits.reverse()),
    ("another batch's commits", |b, o| {
        b.commits.clone_from(&o.commits)
    }),
    ("another batch's commit beside its own", |b, o| {
        b.commits[1] = o.commits[0].clone();
    }),
    ("another batch's header", |b, o| {
        b.signed.header.clone_from(&o.signed.header)
    }),
    ("another batch's signature", |b, o| {
        b.signed.signature = o.signed.signature
    }),
    ("a bit of the header", |b, _| b.signed.header[40] ^= 1),
    ("a bit of the signature", |b, _| b.signed.signature[5] ^= 1),
    ("a bit of a commit's header", |b, _| {
        b.commits[0].header[60] ^= 1
    }),
    ("a leaf of another commit", |b, _| {
        b.commits[0].leaves = b.commits[1].leaves.clone();
    }),
    ("a leaf too few", |b, _| b.commits[1].leaves.clear()),
    ("a leaf twice", |b, _| {
        let leaf = b.commits[0].leaves[0].clone();
        b.commits[0].leaves.push(leaf);
    }),
];

#[test]
fn a_batch_that_is_not_as_it_was_signed_is_named_and_the_rest_is_taken() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    scene.put_key(&mallory);
    let mut other = mallory.elsewhere(7);
    let (one, two) = (
        mallory.fresh("a", "code", "x"),
        mallory.fresh("b", "code", "x"),
    );
    let commits = vec![mallory.commit(&[one], &[]), mallory.commit(&[two], &[])];
    let batch = mallory.batch(&scene, commits);
    for (no, (name, trick)) in (1u8..).zip(TRICKS) {
        // The other batch is honest, and of the same file.
        let part = other.fresh(&format!("o{no}"), "code", "x");
        let honest = other.one(&scene, &[part]);
        let mut bad = batch.clone();
        trick(&mut bad, &honest);
        scene.put(no, &[bad, honest]);
        let report = scene.exchange();
        let named: Vec<_> = report
            .problems
            .iter()
            .filter(|p| p.file.contains("batches"))
            .collect();
        assert_eq!(named.len(), 1, "{name}: {report:?}");
        assert!(
            scene.shows(&format!("o{no}")).is_some(),
            "{name}: {report:?}"
        );
        assert_eq!((scene.shows("a"), scene.shows("b")), (None, None), "{name}");
        // It is named again and again until it is gone.
        let file = &named[0].file;
        std::fs::remove_file(scene.workspace_dir().join(file)).expect("a file");
    }
    scene.put(200, &[batch]);
    scene.exchange();
    assert!(scene.shows("a").is_some() && scene.shows("b").is_some());
    scene.assert_sound();
}
