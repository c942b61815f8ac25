//! Inputs of at most 1 MiB that a member, or whoever can write to the stick, could hand over, each
//! with what was handed over before it.

use crate::scene::*;
use crate::{files, members};

/// A part of a message or file that a peer hands over at once, in bytes.
pub(crate) const PART: usize = 1 << 20;

/// What is handed over.
pub(crate) enum Make {
    /// Batches, part by part; the last part is the one that is measured.
    Batches(fn(&mut Scene, &mut Mallory) -> Vec<Vec<SealedBatch>>),
    /// Files that it puts there itself; it says how long what they hold is.
    File(fn(&mut Scene, &mut Mallory) -> usize),
}

/// One attack.
pub(crate) struct Bomb {
    pub(crate) name: &'static str,
    /// As what a member hands it over; a stranger does too.
    pub(crate) roles: &'static [Role],
    pub(crate) make: Make,
}

/// Every attack.
pub(crate) const BOMBS: &[Bomb] = &[
    bomb("many small records", small_records),
    bomb("one commit of many records", wide_commit),
    bomb("a long chain on one record", chain),
    bomb("a chain that never saw itself", blind_chain),
    bomb("many heads at one field", heads),
    bomb("many heads at many fields", scattered_heads),
    bomb("many heads that contest a field", contest),
    bomb("one record of many fields", wide_record),
    bomb("many records of many fields", wide_records),
    bomb("many predecessors", predecessors),
    bomb("large values side by side", large_values),
    bomb("commits that wait", waiting),
    bomb("commits of unknown items", unknown_items),
    bomb("withheld leaves", withheld),
    bomb("a wide commit, all of it changed again", wide_again),
    bomb("forks of one chain", forks),
    bomb("values and reviews nested deep", nested),
    admins("certificates", members::certificates),
    admins("certificates one by one", members::lone_certificates),
    admins("revocations", members::revocations),
    admins(
        "a revocation of who wrote much",
        members::revocation_of_much,
    ),
    admins("packs of many kinds", members::packs),
    admins("packs that are none", members::junk_packs),
    file("a file of empty batches", files::empty_batches),
    file("a file of noise", files::noise),
    file("marks of many chains", files::chains),
    file("marks of many ranges", files::ranges),
    file("marks of many files", files::listed_files),
    file("data keys", files::keys),
    file("heads of audit logs", files::heads),
];

type Batches = fn(&mut Scene, &mut Mallory) -> Vec<Vec<SealedBatch>>;

const fn bomb(name: &'static str, make: Batches) -> Bomb {
    Bomb {
        name,
        roles: &[Role::Clinician],
        make: Make::Batches(make),
    }
}

const fn admins(name: &'static str, make: Batches) -> Bomb {
    Bomb {
        name,
        roles: &[Role::Admin],
        make: Make::Batches(make),
    }
}

const fn file(name: &'static str, make: fn(&mut Scene, &mut Mallory) -> usize) -> Bomb {
    Bomb {
        name,
        roles: &[Role::Clinician],
        make: Make::File(make),
    }
}

fn text(value: &str) -> Cell {
    Cell::put(&Json::string(value))
}

/// As many commits of one chain as fit a part, in one batch.
pub(crate) fn fill(
    scene: &Scene,
    mallory: &mut Mallory,
    mut next: impl FnMut(&mut Mallory, usize) -> Option<Vec<Part>>,
) -> SealedBatch {
    let (mut commits, mut size) = (Vec::new(), 300);
    while commits.len() < 4096 {
        let tip = mallory.tip;
        let Some(parts) = next(mallory, commits.len()) else {
            break;
        };
        let commit = mallory.commit(&parts, &[]);
        size += weight(&commit.1);
        if size > PART {
            mallory.tip = tip;
            break;
        }
        commits.push(commit);
    }
    mallory.batch(scene, commits)
}

fn weight(commit: &WireCommit) -> usize {
    let leaf = |leaf: &WireLeaf| match leaf {
        WireLeaf::Withheld(_) => 36,
        WireLeaf::Item(bytes) => bytes.len() + 8,
        WireLeaf::Sealed { body, .. } => body.len() + 90,
    };
    commit.header.len() + 8 + commit.leaves.iter().map(leaf).sum::<usize>()
}

/// Batches of one commit each, by another replica each, as many as fit a part.
fn crowd(
    scene: &Scene,
    mallory: &Mallory,
    first: u64,
    mut make: impl FnMut(&Mallory, u64) -> Part,
) -> Vec<SealedBatch> {
    let (mut batches, mut size) = (Vec::new(), 0);
    for no in first.. {
        let mut other = mallory.elsewhere(no);
        let part = make(&other, no);
        let commit = other.commit(&[part], &[]);
        size += weight(&commit.1) + 230;
        if size > PART {
            break;
        }
        batches.push(other.batch(scene, vec![commit]));
    }
    batches
}

fn small_records(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let one = |m: &mut Mallory, n: usize| Some(vec![m.fresh(&format!("r{n}"), "code", "x")]);
    vec![vec![fill(scene, mallory, one)]]
}

fn wide_commit(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let parts: Vec<Part> = (0..3000)
        .map(|n| mallory.fresh(&format!("r{n}"), "code", "x"))
        .collect();
    let commit = mallory.commit(&parts, &[]);
    vec![vec![mallory.batch(scene, vec![commit])]]
}

fn chain(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let first = mallory.fresh("a", "code", "x");
    let mut last = first.change.clone();
    let batch = fill(scene, mallory, |m, n| {
        if n > 0 {
            let mut next = m.change(n as u64 + 1, &[&last], &[("code", text(&n.to_string()))]);
            next.ops[0].pred = vec![last.op_id(0)];
            last = next;
        }
        Some(vec![part("a", last.clone())])
    });
    vec![vec![batch]]
}

fn blind_chain(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let first = mallory.fresh("a", "code", "x");
    let mut last = first.change.clone();
    let batch = fill(scene, mallory, |m, n| {
        if n > 0 {
            let mut next = m.change(n as u64 + 1, &[&last], &[("code", text(&n.to_string()))]);
            next.ops[0].pred = vec![last.op_id(0)];
            last = next;
        }
        let seen = (n > 0).then(Vec::new);
        Some(vec![Part {
            seen,
            ..part("a", last.clone())
        }])
    });
    vec![vec![batch]]
}

fn heads(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let make = |m: &Mallory, no: u64| m.fresh("a", "note", &no.to_string());
    vec![
        crowd(scene, mallory, 0, make),
        crowd(scene, mallory, 100_000, make),
    ]
}

fn scattered_heads(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let make = |m: &Mallory, no: u64| m.fresh("a", &format!("f{no}"), "x");
    vec![
        crowd(scene, mallory, 0, make),
        crowd(scene, mallory, 100_000, make),
    ]
}

fn contest(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let make = |m: &Mallory, no: u64| m.fresh("a", "code", &no.to_string());
    vec![
        crowd(scene, mallory, 0, make),
        crowd(scene, mallory, 100_000, make),
    ]
}

fn cells(prefix: &str, count: usize) -> Vec<(String, Cell)> {
    (0..count)
        .map(|n| (format!("{prefix}{n:05}"), text("x")))
        .collect()
}

fn wide(mallory: &Mallory, id: &str, count: usize) -> Part {
    let cells = cells("f", count);
    let cells: Vec<(&str, Cell)> = cells.iter().map(|(k, c)| (k.as_str(), c.clone())).collect();
    part(id, mallory.change(1, &[], &cells))
}

fn wide_record(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let part = wide(mallory, "a", 29_900);
    vec![vec![mallory.one(scene, &[part])]]
}

fn wide_records(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let one = |m: &mut Mallory, n: usize| Some(vec![wide(m, &format!("r{n}"), 500)]);
    vec![vec![fill(scene, mallory, one)]]
}

/// Changes whose predecessors cost two bytes together and say 200 times 500 of them.
fn predecessors(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let first = wide(mallory, "a", 200).change;
    let one = |m: &mut Mallory, n: usize| {
        let cells = cells("g", 500);
        let cells: Vec<(&str, Cell)> = cells.iter().map(|(k, c)| (k.as_str(), c.clone())).collect();
        let mut change = m.change(n as u64 + 2, &[&first], &cells);
        change.start_op = 100_000;
        for op in &mut change.ops {
            op.pred = (0..200).map(|i| first.op_id(i)).collect();
        }
        Some(vec![part("a", change)])
    };
    vec![vec![fill(scene, mallory, one)]]
}

fn large_values(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let long = "y".repeat(200_000);
    let part_of = |from: u64| {
        let batch = |no| {
            let mut other = mallory.elsewhere(no);
            let part = other.fresh("a", "note", &format!("{no} {long}"));
            other.one(scene, &[part])
        };
        (from..from + 5).map(batch).collect::<Vec<_>>()
    };
    (0..4).map(|no| part_of(no * 10)).collect()
}

fn waiting(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let make = |m: &Mallory, no: u64| {
        let absent = m.fresh(&format!("w{no}"), "code", "x").change;
        let next = m.change(2, &[&absent], &[("code", text("y"))]);
        part(&format!("w{no}"), next)
    };
    vec![
        crowd(scene, mallory, 0, make),
        crowd(scene, mallory, 100_000, make),
    ]
}

fn unknown_items(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let item = |n: u32| vec![(ItemKind(9), n.to_be_bytes().to_vec())];
    let commits = (0..4096).map(|n| mallory.commit(&[], &item(n))).collect();
    vec![vec![mallory.batch(scene, commits)]]
}

fn withheld(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let mut commits = Vec::new();
    for n in 0..29 {
        let items: Vec<_> = (0..990u32)
            .map(|i| (ItemKind(9), vec![n, i as u8]))
            .collect();
        let (commit, mut wire) = mallory.commit(&[], &items);
        for leaf in &mut wire.leaves {
            *leaf = WireLeaf::Withheld(leaf.hash());
        }
        commits.push((commit, wire));
    }
    vec![vec![mallory.batch(scene, commits)]]
}

/// Each record of one commit is changed again, beside what stands there.
fn wide_again(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let id = |n: usize| format!("r{n}");
    let parts: Vec<Part> = (0..2000)
        .map(|n| mallory.fresh(&id(n), "code", "x"))
        .collect();
    let commit = mallory.commit(&parts, &[]);
    let first = mallory.batch(scene, vec![commit]);
    let mut other = mallory.elsewhere(1);
    let one = |m: &mut Mallory, n: usize| (n < 2000).then(|| vec![m.fresh(&id(n), "note", "y")]);
    let second = fill(scene, &mut other, one);
    vec![vec![first], vec![second]]
}

/// One place of a chain, signed again and again.
fn forks(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let (mut batches, mut size) = (Vec::new(), 0);
    for no in 0u64.. {
        let mut other = mallory.elsewhere(7);
        let part = other.fresh("a", "note", &no.to_string());
        let commit = other.commit(&[part], &[]);
        size += weight(&commit.1) + 230;
        if size > PART {
            break;
        }
        batches.push(other.batch(scene, vec![commit]));
    }
    vec![batches]
}

/// Values nested a hundred thousand deep, and reviews of reviews of reviews.
fn nested(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let mut commits = Vec::new();
    for (n, (cell, poison)) in poisons().into_iter().enumerate() {
        commits.push(mallory.written_over(&format!("r{n}"), cell, &poison));
    }
    vec![vec![mallory.batch(scene, commits)]]
}
