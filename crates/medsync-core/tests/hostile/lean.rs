//! What lean blocks cost their reader.

use crate::{MEMORY, MEMORY_MAX, alone, cpu_ms};
use medsync_core::doc::lean::{
    BLOCK_BYTES_MAX, Change, Commit, Key, Leaf, Nothing, Reader, Run, Writer,
};
use medsync_core::doc::{FlatChange, FlatOp, encode};
use medsync_core::ids::{AuthorKey, ChainId, DataKeyId, RecordId, ReplicaId};
use medsync_core::model::cell::Cell;
use medsync_core::model::json::Json;
use medsync_core::testing::history::Numbers;
use medsync_core::time::Timestamp;

/// A commit that creates a record of these members.
fn commit(chain: &ChainId, record: &str, members: Vec<(String, Json)>) -> Commit {
    let mut ops: Vec<FlatOp> = members
        .into_iter()
        .map(|(key, value)| FlatOp {
            key: key.into(),
            cell: Cell::put(&value),
            pred: Vec::new(),
        })
        .collect();
    ops.sort_by(|a, b| a.key.cmp(&b.key));
    ops.dedup_by(|a, b| a.key == b.key);
    let change = FlatChange {
        actor: chain.actor(),
        seq: 1,
        start_op: 1,
        hlc: Timestamp::new(1_790_000_000_000, 0),
        deps: Vec::new(),
        ops,
    };
    let record = RecordId::new("Patient", record).expect("a name");
    Commit {
        hlc: change.hlc,
        lane: 0,
        intent: 0,
        leaves: vec![Leaf::Change(Box::new(Change {
            key: Key {
                id: DataKeyId([1; 16]),
                grant: None,
            },
            patient: None,
            record,
            seen: None,
            because: None,
            source: None,
            change: encode(&change).0,
        }))],
    }
}

fn chain() -> ChainId {
    ChainId {
        author: AuthorKey([1; 32]),
        replica: ReplicaId([2; 16]),
    }
}

/// Sends commits of a maker until `bytes` were sent; returns the peak of the reader.
fn session(bytes: usize, mut make: impl FnMut(u64) -> Commit) -> usize {
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    let (mut sent, mut n, mut peak) = (0, 0, 0);
    while sent < bytes {
        let run = Run {
            chain: chain(),
            first: n + 1,
            previous: None,
            signature: None,
            commits: vec![make(n)],
        };
        n += 1;
        let before = MEMORY.current_usage();
        let block = writer.block(&mut Nothing, &run, 1 << 20).expect("fits");
        // What the writer keeps is as much as the reader does.
        let of_writer = MEMORY.current_usage().saturating_sub(before);
        sent += block.bytes.len();
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        reader.block(&mut Nothing, &block.bytes).expect("reads");
        peak = peak.max(MEMORY.peak_usage().saturating_sub(before)) + of_writer;
    }
    peak
}

#[test]
fn tables_of_a_session_stay_within_the_limit() {
    let _alone = alone();
    let mut numbers = Numbers(3);
    let word = |numbers: &mut Numbers| {
        let n = numbers.next();
        let letters = (0..12).map(|i| {
            let letter = u8::try_from((n >> (5 * i)) % 20).expect("small");
            char::from(b'g' + letter)
        });
        letters.collect::<String>()
    };
    // New fields, members, texts all the time: every table grows as fast as it can.
    let peak = session(6 << 20, |n| {
        let members = (0..60).map(|_| {
            let object = (0..4).map(|_| (word(&mut numbers), Json::string(&word(&mut numbers))));
            let object: Vec<_> = object.collect();
            (word(&mut numbers), Json::object(object))
        });
        let members = members.collect();
        commit(&chain(), &n.to_string(), members)
    });
    assert!(peak <= MEMORY_MAX, "{} KiB", peak / 1024);
}

#[test]
fn random_blocks_cost_at_most_64_mib() {
    let _alone = alone();
    let mut numbers = Numbers(5);
    let mut worst = (0, 0);
    for round in 0..400u32 {
        let length = usize::try_from(numbers.next() % (1 << 20)).expect("small");
        let fill = |numbers: &mut Numbers| match round % 4 {
            0 => 0,
            1 => 0xff,
            _ => u8::try_from(numbers.next() >> 56).expect("a byte"),
        };
        let mut block = vec![0x80 | 0x7f, 0x80 | 0x7f, 0x1f];
        block.extend((0..length.min(BLOCK_BYTES_MAX)).map(|_| fill(&mut numbers)));
        let all = block.len() - 3;
        block[0] = u8::try_from(all & 0x7f).expect("small") | 0x80;
        block[1] = u8::try_from((all >> 7) & 0x7f).expect("small") | 0x80;
        block[2] = u8::try_from(all >> 14).expect("small");
        let (before, start) = (MEMORY.current_usage(), cpu_ms());
        MEMORY.reset_peak_usage();
        drop(Reader::standalone(&block));
        let peak = MEMORY.peak_usage().saturating_sub(before);
        worst = (worst.0.max(peak), worst.1.max(cpu_ms() - start));
    }
    println!(
        "random blocks: at most {} KiB and {} ms",
        worst.0 / 1024,
        worst.1
    );
    assert!(worst.0 <= MEMORY_MAX, "{worst:?}");
}

#[test]
fn a_block_that_grows_as_much_as_one_can_costs_at_most_64_mib() {
    let _alone = alone();
    // Half a megabyte of the same text over and over: a few hundred bytes on the wire.
    let text = "a".repeat(9000);
    let members = (0..100u32).map(|i| (format!("f{i:03}"), Json::string(&text)));
    let members: Vec<_> = members.collect();
    let commits: Vec<Commit> = (0..64)
        .map(|n| commit(&chain(), &n.to_string(), members.clone()))
        .collect();
    let run = Run {
        chain: chain(),
        first: 1,
        previous: None,
        signature: None,
        commits,
    };
    let mut rest = run;
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    while !rest.commits.is_empty() {
        let block = writer.block(&mut Nothing, &rest, 1 << 20).expect("fits");
        let (before, start) = (MEMORY.current_usage(), cpu_ms());
        MEMORY.reset_peak_usage();
        let read = match block.standalone {
            true => Reader::standalone(&block.bytes),
            false => reader.block(&mut Nothing, &block.bytes),
        };
        let peak = MEMORY.peak_usage().saturating_sub(before);
        let read = read.expect("reads");
        assert_eq!(read.commits.len(), block.commits);
        println!(
            "{} B, {} commits: {} KiB and {} ms",
            block.bytes.len(),
            block.commits,
            peak / 1024,
            cpu_ms() - start
        );
        assert!(peak <= MEMORY_MAX, "{} KiB", peak / 1024);
        rest.commits.drain(..block.commits);
        rest.first += block.commits as u64;
    }
}
