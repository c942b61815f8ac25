//! Hostile and honest changes at the gate.

use crate::doc::{Fault, FlatChange, FlatOp, MAX_CHANGE, decode, encode, oracle};
use crate::ids::{ActorId, ChangeId};
use crate::model::cell::{Cell, MAX_ATOM, OpId};
use crate::model::cell_value::tests::cell;
use crate::model::json::Json;
use crate::time::Timestamp;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn unsigned(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn signed(mut n: i64, out: &mut Vec<u8>) {
    while !(-64..64).contains(&n) {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push((n & 0x7f) as u8);
}

/// `times` times one value.
fn run(times: i64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    signed(times, &mut out);
    out.extend(value);
    out
}

fn chunk(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut hashed = vec![kind];
    unsigned(data.len() as u64, &mut hashed);
    hashed.extend(data);
    let mut out = vec![0x85, 0x6f, 0x4a, 0x83];
    out.extend(&Sha256::digest(&hashed)[..4]);
    out.extend(hashed);
    out
}

/// A change with any header and columns, and the right checksum.
#[derive(Clone)]
struct Raw {
    deps: Vec<[u8; 32]>,
    actor: Vec<u8>,
    seq: u64,
    start_op: u64,
    note: &'static str,
    others: Vec<Vec<u8>>,
    columns: Vec<(u64, Vec<u8>)>,
    extra: &'static [u8],
}

impl Raw {
    fn new(columns: Vec<(u64, Vec<u8>)>) -> Self {
        Self {
            deps: vec![],
            actor: vec![7; 16],
            seq: 1,
            start_op: 1,
            note: "",
            others: vec![],
            columns,
            extra: b"",
        }
    }

    /// `ops` null operations on one key.
    fn flat(keys: Vec<u8>, ops: i64, meta: &[u8], value: &[u8]) -> Self {
        let mut insert = Vec::new();
        unsigned(ops as u64, &mut insert);
        Self::new(vec![
            (0x15, keys),
            (0x34, insert),
            (0x42, run(ops, &[1])),
            (0x56, run(ops, meta)),
            (0x57, value.to_vec()),
            (0x70, run(ops, &[0])),
        ])
    }

    /// One string at one key: what everything else is a mutation of.
    fn honest() -> Self {
        let mut raw = Self::flat(run(-1, b"\x01a"), -1, &[0x16], b"y");
        raw.set(0x34, vec![1]);
        raw
    }

    fn set(&mut self, spec: u64, column: Vec<u8>) -> &mut Self {
        self.columns.retain(|(s, _)| *s != spec);
        self.columns.push((spec, column));
        self.columns.sort_by_key(|(s, _)| *s);
        self
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut raw = self.clone();
        change(&mut raw);
        raw.bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut data = Vec::new();
        unsigned(self.deps.len() as u64, &mut data);
        self.deps.iter().for_each(|dep| data.extend(dep));
        unsigned(self.actor.len() as u64, &mut data);
        data.extend(&self.actor);
        unsigned(self.seq, &mut data);
        unsigned(self.start_op, &mut data);
        signed(0, &mut data);
        unsigned(self.note.len() as u64, &mut data);
        data.extend(self.note.as_bytes());
        unsigned(self.others.len() as u64, &mut data);
        for other in &self.others {
            unsigned(other.len() as u64, &mut data);
            data.extend(other);
        }
        unsigned(self.columns.len() as u64, &mut data);
        for (spec, column) in &self.columns {
            unsigned(*spec, &mut data);
            unsigned(column.len() as u64, &mut data);
        }
        self.columns.iter().for_each(|(_, c)| data.extend(c));
        data.extend(self.extra);
        chunk(1, &data)
    }

    /// A list and `n` nulls inserted into it, all by run lengths.
    fn list_bomb(n: i64) -> Vec<u8> {
        let mut insert = vec![1];
        unsigned(n as u64, &mut insert);
        let nulls_then = |value: &[u8]| [&[0, 1][..], &run(n, value)].concat();
        Self::new(vec![
            (0x01, nulls_then(&[0])),
            (0x02, nulls_then(&[1])),
            (0x11, [&[0, 2][..], &run(n - 1, &[0])].concat()),
            (
                0x13,
                [&[0, 1][..], &run(-2, &[0, 2]), &run(n - 2, &[1])].concat(),
            ),
            (0x15, [&run(-1, b"\x01t")[..], &[0, n as u8]].concat()),
            (0x34, insert),
            (0x42, [&run(-1, &[2])[..], &run(n, &[1])].concat()),
            (0x56, run(n + 1, &[0])),
            (0x70, run(n + 1, &[0])),
        ])
        .bytes()
    }
}

fn put(text: &str) -> Cell {
    Cell::put(&Json::string(text))
}

fn one_op(key: &str, cell: Cell) -> FlatChange {
    FlatChange {
        actor: ActorId([7; 16]),
        seq: 1,
        start_op: 1,
        hlc: Timestamp(0),
        deps: vec![],
        ops: vec![FlatOp {
            key: key.into(),
            cell,
            pred: vec![],
        }],
    }
}

#[test]
fn the_hand_written_change_is_the_encoders() {
    let (bytes, id) = encode(&one_op("a", put("y")));
    assert_eq!(Raw::honest().bytes(), bytes);
    assert_eq!(decode(&bytes), Ok((one_op("a", put("y")), id)));
}

type Named = (&'static str, Vec<u8>, Fault);

fn chunk_faults(honest: &Raw) -> Vec<Named> {
    vec![
        (
            "list of ten million nulls",
            Raw::list_bomb(10_000_000),
            Fault::Columns,
        ),
        ("empty", vec![], Fault::Cut),
        ("document chunk", chunk(0, &[0; 64]), Fault::Chunk),
        ("deflate chunk", chunk(2, &[0; 64]), Fault::Chunk),
        ("bundle chunk", chunk(3, &[0; 64]), Fault::Chunk),
        (
            "a megabyte and one",
            vec![0; MAX_CHANGE + 1],
            Fault::Limit("bytes"),
        ),
        (
            "two changes",
            [honest.bytes(), honest.bytes()].concat(),
            Fault::Chunk,
        ),
    ]
}

/// Hostile changes and what must be said of them.
fn corpus() -> Vec<Named> {
    let honest = Raw::honest();
    let mut all = chunk_faults(&honest);
    let mut add = |name, fault, change: &dyn Fn(&mut Raw)| {
        all.push((name, honest.with(change), fault));
    };
    add("start op of 0", Fault::Counter, &|r| r.start_op = 0);
    add("start op of 2^32-1", Fault::Counter, &|r| {
        r.start_op = u32::MAX.into()
    });
    add("start op of 2^32", Fault::Counter, &|r| {
        r.start_op = 1 << 32
    });
    add("start op of 2^64-1", Fault::Counter, &|r| {
        r.start_op = u64::MAX
    });
    add("seq of 0", Fault::Counter, &|r| r.seq = 0);
    add("seq beyond the ops", Fault::Counter, &|r| r.seq = 2);
    add(
        "a second change that builds on nothing",
        Fault::Counter,
        &|r| (r.seq, r.start_op) = (2, 2),
    );
    add("a first change that starts late", Fault::Counter, &|r| {
        r.start_op = 2
    });
    add("a note", Fault::Extra, &|r| r.note = "hi");
    add("trailing bytes", Fault::Extra, &|r| r.extra = b"x");
    add("short actor", Fault::Actor, &|r| r.actor = vec![1; 15]);
    add("short other actor", Fault::Actor, &|r| {
        r.others = vec![vec![1; 15]]
    });
    add("own actor again", Fault::NotCanonical, &|r| {
        r.others = vec![vec![7; 16]]
    });
    add("unused actor", Fault::NotCanonical, &|r| {
        r.others = vec![vec![8; 16]]
    });
    add("201 actors", Fault::Limit("actors"), &|r| {
        r.others = vec![vec![8; 16]; 201]
    });
    add("201 deps", Fault::Limit("dependencies"), &|r| {
        r.deps = vec![[1; 32]; 201]
    });
    add("a dep twice", Fault::NotCanonical, &|r| {
        r.deps = vec![[1; 32]; 2]
    });
    add("deps falling", Fault::NotCanonical, &|r| {
        r.deps = vec![[2; 32], [1; 32]]
    });
    add("no columns", Fault::Counts, &|r| r.columns.clear());
    add("columns falling", Fault::Columns, &|r| r.columns.reverse());
    add("deflated column", Fault::Columns, &|r| r.columns[5].0 |= 8);
    add("a column twice", Fault::Columns, &|r| {
        r.columns.push((0x70, run(-1, &[0])))
    });
    add("empty column", Fault::NotCanonical, &|r| {
        r.set(0x71, vec![]);
    });
    column_faults(&mut add);
    all
}

type Add<'a> = dyn FnMut(&'static str, Fault, &dyn Fn(&mut Raw)) + 'a;

const TEN_MILLION: i64 = 10_000_000;

fn column_faults(add: &mut Add<'_>) {
    for (name, fault, spec, column) in key_columns().into_iter().chain(other_columns()) {
        add(name, fault, &|r| {
            r.set(spec, column.clone());
        });
    }
    pred_faults(add);
}

type Column = (&'static str, Fault, u64, Vec<u8>);

fn key_columns() -> Vec<Column> {
    vec![
        (
            "one key ten million times",
            Fault::Limit("operations"),
            0x15,
            run(TEN_MILLION, b"\x01a"),
        ),
        (
            "one key 30,000 times",
            Fault::Key,
            0x15,
            run(30_000, b"\x01a"),
        ),
        (
            "ten million null keys",
            Fault::Columns,
            0x15,
            run(0, &run(TEN_MILLION, &[])),
        ),
        (
            "keys without end",
            Fault::Limit("operations"),
            0x15,
            run(i64::MIN, b"\x01a"),
        ),
        ("two null keys", Fault::Columns, 0x15, vec![0, 2]),
        ("keys falling", Fault::Key, 0x15, run(-2, b"\x01b\x01a")),
        ("a key twice", Fault::Key, 0x15, run(-2, b"\x01a\x01a")),
        ("empty key", Fault::Key, 0x15, run(-1, b"\0")),
        ("empty element", Fault::Key, 0x15, run(-1, b"\x02a/")),
        ("empty field", Fault::Key, 0x15, run(-1, b"\x02/a")),
        ("control character", Fault::Key, 0x15, run(-1, b"\x02a\n")),
        ("key not UTF-8", Fault::Key, 0x15, run(-1, b"\x01\xff")),
        ("key cut off", Fault::Cut, 0x15, run(-1, b"\x05a")),
        ("overlong length", Fault::Number, 0x15, run(-1, b"\x81\0a")),
        (
            "two keys, one value",
            Fault::Counts,
            0x15,
            run(-2, b"\x01a\x01b"),
        ),
    ]
}

fn other_columns() -> Vec<Column> {
    vec![
        ("inserted", Fault::Counts, 0x34, vec![0, 1]),
        (
            "ten million actions",
            Fault::Counts,
            0x42,
            run(TEN_MILLION, &[1]),
        ),
        ("delete", Fault::Action, 0x42, run(-1, &[3])),
        ("increment", Fault::Action, 0x42, run(-1, &[5])),
        ("unknown action", Fault::Action, 0x42, run(-1, &[99])),
        ("null value", Fault::Action, 0x56, run(-1, &[0])),
        ("counter value", Fault::Action, 0x56, run(-1, &[0x18])),
        (
            "value longer than its column",
            Fault::Counts,
            0x56,
            run(-1, &[0x26]),
        ),
        (
            "bytes of a tag that is not known",
            Fault::Newer,
            0x56,
            run(-1, &[0x17]),
        ),
        ("string not UTF-8", Fault::NotCanonical, 0x57, vec![0xff]),
        ("run of one", Fault::NotCanonical, 0x56, run(1, &[0x16])),
        (
            "overlong run",
            Fault::NotCanonical,
            0x42,
            vec![0xff, 0x7f, 1],
        ),
        (
            "a pred without an actor",
            Fault::Counts,
            0x70,
            run(-1, &[1]),
        ),
        (
            "201 preds",
            Fault::Limit("predecessors"),
            0x70,
            run(-1, &[0xc9, 1]),
        ),
        (
            "pred columns without preds",
            Fault::Counts,
            0x71,
            run(-1, &[0]),
        ),
    ]
}

fn pred_faults(add: &mut Add<'_>) {
    let preds: &[(&'static str, Fault, i64, u8, Vec<u8>)] = &[
        ("pred of itself", Fault::Preds, 1, 0, run(-1, &[5])),
        ("pred of 0", Fault::Preds, 1, 0, run(-1, &[0])),
        ("pred below 0", Fault::Preds, 1, 0, run(-1, &[0x7f])),
        (
            "pred of an unknown actor",
            Fault::Preds,
            1,
            1,
            run(-1, &[1]),
        ),
        ("a pred twice", Fault::Preds, 2, 0, run(-2, &[1, 0])),
        ("two of one actor", Fault::Preds, 2, 0, run(-2, &[1, 1])),
        (
            "preds beyond 64 bits",
            Fault::Preds,
            2,
            0,
            run(2, &run(i64::MAX, &[])),
        ),
        (
            "ten million pred counters",
            Fault::Counts,
            1,
            0,
            run(TEN_MILLION, &[0]),
        ),
    ];
    for (name, fault, count, actor, counters) in preds {
        add(name, *fault, &|r| {
            (r.start_op, r.deps) = (5, vec![[1; 32]]);
            let length = if *count == 1 { -1 } else { *count };
            r.set(0x70, run(-1, &[*count as u8]))
                .set(0x71, run(length, &[*actor]))
                .set(0x73, counters.clone());
        });
    }
}

#[test]
fn every_hostile_change_is_named() {
    for (name, bytes, fault) in corpus() {
        // Automerge refuses some of them before the comparison of encodings would.
        let got = decode(&bytes).expect_err(name);
        let either = fault == Fault::NotCanonical && got == Fault::Engine;
        assert!(got == fault || either, "{name}: {got:?}, not {fault:?}");
        assert!(oracle::open([&bytes[..]]).is_err(), "{name}");
    }
    let mut torn = Raw::honest().bytes();
    torn[4] ^= 1;
    assert_eq!(decode(&torn), Err(Fault::Checksum));
    let (whole, _) = encode(&one_op("a", put("x")));
    for length in 0..whole.len() {
        assert!(decode(&whole[..length]).is_err());
    }
}

/// Peak memory is the process's, so the corpus runs in one of its own.
#[test]
#[cfg(target_os = "linux")]
#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is the time it takes"
)]
fn hostile_changes_cost_little() {
    const ALONE: &str = "MEDSYNC_HOSTILE_CHANGES_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let own = std::env::current_exe().expect("tests are a program");
        let run = std::process::Command::new(own)
            .args(["--exact", "doc::gate_tests::hostile_changes_cost_little"])
            .env(ALONE, "1")
            .output()
            .expect("the test runs again");
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let peak_mib = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("linux has it");
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|l| l.trim().split(' ').next()?.parse::<u64>().ok());
        kib.expect("linux has it") / 1024
    };
    let before = peak_mib();
    for (name, bytes, _) in corpus() {
        let start = std::time::Instant::now();
        decode(&bytes).expect_err(name);
        assert!(start.elapsed().as_millis() < 100, "{name}");
    }
    let more = peak_mib() - before;
    assert!(more < 64, "{more} MiB");
}

#[test]
fn the_list_bomb_is_a_change_that_automerge_takes() {
    let small = automerge::Change::from_bytes(Raw::list_bomb(50)).expect("valid");
    assert_eq!(small.len(), 51);
    automerge::Automerge::new()
        .apply_changes([small])
        .expect("applies");
    assert!(Raw::list_bomb(10_000_000).len() < 150);
}

/// Compressed chunks as automerge itself writes them, and a start far from 1, which is for the
/// ledger's gate to judge.
#[test]
fn compressed_changes_are_refused_and_late_starts_are_not() {
    let (bytes, _) = encode(&one_op("a", put(&"x".repeat(4_000))));
    let mut change = automerge::Change::from_bytes(bytes).expect("own bytes are read");
    assert_eq!(decode(&change.bytes()), Err(Fault::Chunk));
    let mut late = one_op("a", put("x"));
    late.start_op = 100_000_000;
    assert_eq!(decode(&encode(&late).0), Err(Fault::Counter));
    late.deps = vec![ChangeId([1; 32])];
    let (bytes, id) = encode(&late);
    assert_eq!(decode(&bytes), Ok((late, id)));
    assert_eq!(oracle::open([&bytes[..]]), Err(Fault::Incomplete));
}

#[test]
fn the_limits_themselves_are_within_them() {
    let mut wide = one_op("a", put("x"));
    // More than 10,000 operations take another path in automerge's encoder.
    wide.ops = (0..30_000)
        .map(|i| FlatOp {
            key: format!("f/{i:05}").into(),
            cell: put("x"),
            pred: vec![],
        })
        .collect();
    let (bytes, id) = encode(&wide);
    assert_eq!(decode(&bytes), Ok((wide.clone(), id)));
    wide.ops.push(one_op("g", put("x")).ops.remove(0));
    assert_eq!(decode(&encode(&wide).0), Err(Fault::Limit("operations")));
    let long = one_op(&"k".repeat(512), put(&"y".repeat(MAX_ATOM - 2)));
    assert!(decode(&encode(&long).0).is_ok());
    let longer = one_op(&"k".repeat(513), put("y"));
    assert_eq!(decode(&encode(&longer).0), Err(Fault::Key));
    let larger = one_op("k", put(&"y".repeat(MAX_ATOM - 1)));
    assert_eq!(decode(&encode(&larger).0), Err(Fault::Cell));
}

prop_compose! {
    fn op_ids(below: u64)(ids in btree_map(0..4_u8, 1..below, 0..4)) -> Vec<OpId> {
        let id = |(a, ctr)| OpId { ctr, actor: ActorId([a; 16]) };
        let mut ids: Vec<OpId> = ids.into_iter().map(id).collect();
        ids.sort_unstable();
        ids
    }
}

prop_compose! {
    fn change()(start_op in 2..1_000_000_u64)(
        start_op in Just(start_op),
        actor in 0..4_u8,
        seq in 1..=start_op,
        hlc in any::<i64>(),
        deps in btree_set(any::<[u8; 32]>(), 1..4),
        ops in btree_map("[a-z\u{e9}]{1,6}(/[ -~]{1,8})?", (cell(), op_ids(start_op)), 1..8),
    ) -> FlatChange {
        FlatChange {
            actor: ActorId([actor; 16]),
            seq,
            start_op,
            hlc: Timestamp(hlc),
            deps: deps.into_iter().map(ChangeId).collect(),
            ops: ops.into_iter()
                .map(|(key, (cell, pred))| FlatOp { key: key.into(), cell, pred })
                .collect(),
        }
    }
}

proptest! {
    #[test]
    fn a_change_survives_its_encoding(change in change()) {
        let (bytes, id) = encode(&change);
        prop_assert_eq!(decode(&bytes), Ok((change, id)));
    }

    #[test]
    fn mutations_never_panic_and_never_have_two_readings(
        change in change(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let (bytes, _) = encode(&change);
        let header = 9 + if bytes.len() > 137 { 2 } else { 1 };
        let mut data = bytes.get(header..).unwrap_or_default().to_vec();
        for (at, value) in edits {
            let i = at.index(data.len());
            data[i] = value;
        }
        if let Some(cut) = cut {
            data.truncate(cut.index(data.len()));
        }
        let bytes = chunk(1, &data);
        if let Ok((read, id)) = decode(&bytes) {
            prop_assert_eq!(encode(&read), (bytes.clone(), id));
            let _opened = oracle::open([&bytes[..]]);
        }
    }

    #[test]
    fn noise_never_panics(data in vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&data).is_err());
        let _read = decode(&chunk(1, &data));
    }
}
