//! What is written is read again, byte for byte, whatever the history.

use crate::doc::lean::{
    Change, Commit, Fault, Held, Key, Leaf, Nothing, Place, Reader, Run, Writer,
};
use crate::doc::state::Incoming;
use crate::doc::{FlatChange, FlatOp, encode};
use crate::ids::{AuthorKey, ChainId, ChangeId, CommitId, DataKeyId, RecordId, ReplicaId};
use crate::model::cell::Cell;
use crate::model::cell_value::CellValue;
use crate::model::json::Json;
use crate::testing::history::{self, Numbers, World};
use crate::time::Timestamp;
use proptest::prelude::*;
use std::collections::HashMap;
use zeroize::Zeroizing;

const KEY: DataKeyId = DataKeyId([3; 16]);

/// A history's changes as commits of one change each, with their places.
struct Ledger {
    commits: Vec<(Place, Commit)>,
}

fn chain(incoming: &Incoming) -> ChainId {
    // The history's own numbering of people and devices is behind the actor.
    let actor = incoming.change.actor;
    let all = (0..8u8).flat_map(|person| (0..8u8).map(move |name| (person, name)));
    let mut chains = all.map(|(person, name)| ChainId {
        author: AuthorKey([person; 32]),
        replica: ReplicaId([name; 16]),
    });
    chains
        .find(|c| c.actor() == actor)
        .expect("a chain of the history")
}

fn ledger(world: &World) -> Ledger {
    let record = history::record();
    let mut next: HashMap<ChainId, u64> = HashMap::new();
    let commits = world.all.iter().map(|incoming| {
        let chain = chain(incoming);
        let seq = next.entry(chain).or_default();
        *seq += 1;
        let place = Place {
            chain,
            seq: *seq,
            index: 0,
        };
        let seen = incoming.seen.clone().map(|mut seen| {
            seen.sort_unstable();
            seen
        });
        let change = Change {
            key: Key {
                id: KEY,
                grant: None,
            },
            record: record.clone(),
            patient: incoming.patient.clone(),
            seen,
            because: seq.is_multiple_of(5).then(|| format!("because of {seq}")),
            source: seq.is_multiple_of(7).then(|| ("clinic".into(), [9; 16])),
            change: encode(&incoming.change).0,
        };
        let commit = Commit {
            hlc: incoming.change.hlc,
            lane: u8::try_from(*seq % 4).expect("small"),
            intent: u8::try_from(*seq % 3).expect("small"),
            leaves: vec![Leaf::Change(Box::new(change))],
        };
        (place, commit)
    });
    Ledger {
        commits: commits.collect(),
    }
}

impl Ledger {
    /// What a side holds: the first `shared` for certain, and `more` beyond that.
    fn held(&self, shared: usize, more: usize) -> Held {
        let mut held = Held::default();
        for (i, (place, commit)) in self.commits.iter().take(shared + more).enumerate() {
            for leaf in &commit.leaves {
                if let Leaf::Change(change) = leaf {
                    let about = (change.patient.as_ref(), KEY);
                    let record = &change.record;
                    assert!(held.insert(record, about, *place, i < shared, &change.change));
                }
            }
        }
        held
    }

    /// The commits from `from` on as runs.
    fn runs(&self, from: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (place, commit) in self.commits.iter().skip(from) {
            let follows = |run: &&mut Run| {
                run.chain == place.chain && run.first + run.commits.len() as u64 == place.seq
            };
            match runs.last_mut().filter(follows) {
                Some(run) => run.commits.push(commit.clone()),
                None => runs.push(Run {
                    chain: place.chain,
                    first: place.seq,
                    previous: (place.seq > 1).then_some(CommitId([7; 32])),
                    signature: Some([5; 64]),
                    commits: vec![commit.clone()],
                }),
            }
        }
        runs
    }
}

/// Sends runs through a writer and a reader, and compares.
fn travel(runs: &[Run], sender: &mut Held, receiver: &mut Held, room: usize) -> usize {
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    let mut bytes = 0;
    for run in runs {
        let mut rest = run.clone();
        while !rest.commits.is_empty() {
            let block = writer.block(sender, &rest, room).expect("is written");
            bytes += block.bytes.len();
            let read = match block.standalone {
                true => Reader::standalone(&block.bytes),
                false => reader.block(receiver, &block.bytes),
            };
            let mut sent = rest.clone();
            sent.commits.truncate(block.commits);
            assert_eq!(read.as_ref(), Ok(&sent));
            rest.commits.drain(..block.commits);
            rest.first += block.commits as u64;
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_history_comes_out_as_it_went_in(
        script in history::scripts(1..=4, 40), cut in any::<prop::sample::Index>(), room in 40usize..4000
    ) {
        let ledger = ledger(&script.run());
        let n = ledger.commits.len();
        let cut = cut.index(n + 1);
        let runs = ledger.runs(cut);
        // A receiver that has only what is shared, and one that has all of it already.
        for more in [0, n - cut] {
            travel(&runs, &mut ledger.held(cut, n - cut), &mut ledger.held(cut, more), room);
        }
    }

    #[test]
    fn so_does_one_that_forked(
        script in history::forked_scripts(2..=4, 40), cut in any::<prop::sample::Index>()
    ) {
        let ledger = ledger(&script.run());
        let cut = cut.index(ledger.commits.len() + 1);
        travel(&ledger.runs(cut), &mut ledger.held(cut, 0), &mut ledger.held(cut, 0), 2000);
    }

    #[test]
    fn damaged_blocks_are_errors(
        script in history::scripts(1..=2, 20), seed in any::<u64>(), cut in any::<prop::sample::Index>()
    ) {
        let ledger = ledger(&script.run());
        let cut = cut.index(ledger.commits.len() + 1);
        let mut numbers = Numbers(seed);
        let (mut sender, mut receiver) = (ledger.held(cut, 0), ledger.held(cut, 0));
        let mut writer = Writer::new();
        for run in ledger.runs(cut) {
            let Ok(block) = writer.block(&mut sender, &run, 1 << 20) else { continue };
            for _ in 0..8 {
                let mut bytes = block.bytes.clone();
                let at = usize::try_from(numbers.next() % bytes.len() as u64).expect("small");
                match numbers.next() % 3 {
                    0 => bytes[at] ^= 1 << (numbers.next() % 8),
                    1 => bytes.truncate(at),
                    _ => bytes[at] = u8::try_from(numbers.next() % 256).expect("a byte"),
                }
                // It may still be a block: of other changes, whose commits then have no signature.
                drop(Reader::new().block(&mut receiver, &bytes));
            }
        }
    }
}

fn one(record: &str, leaf: impl FnOnce(RecordId) -> Leaf) -> Run {
    Run {
        chain: ChainId {
            author: AuthorKey([1; 32]),
            replica: ReplicaId([2; 16]),
        },
        first: 3,
        previous: Some(CommitId([4; 32])),
        signature: Some([5; 64]),
        commits: vec![Commit {
            hlc: Timestamp::new(1_790_000_000_000, 3),
            lane: 1,
            intent: 0,
            leaves: vec![leaf(record.parse().expect("a record"))],
        }],
    }
}

#[test]
fn what_is_no_change_of_a_known_form_travels_as_it_is() {
    let key = Key {
        id: KEY,
        grant: Some(Zeroizing::new([8; 32])),
    };
    let change = |change: &[u8]| {
        one("Patient/1", |record| {
            Leaf::Change(Box::new(Change {
                key: key.clone(),
                patient: Some("Patient/2".parse().expect("a record")),
                record,
                seen: Some(vec![ChangeId([1; 32]), ChangeId([2; 32])]),
                because: Some("a reason".into()),
                source: Some(("lab".into(), [6; 16])),
                change: change.to_vec(),
            }))
        })
    };
    let other = Leaf::Other {
        key: key.clone(),
        entry: vec![0x81, 9],
        change: b"newer".to_vec(),
    };
    let sealed = Leaf::Sealed {
        key: KEY,
        leaf: [1; 32],
        nonce: [2; 24],
        body: vec![3; 400],
    };
    let leaves = [
        other,
        sealed,
        Leaf::Item(b"an item".to_vec()),
        Leaf::Withheld([9; 32]),
    ];
    let mut runs: Vec<Run> = leaves.map(|leaf| one("Patient/1", |_| leaf)).into();
    runs.push(change(b""));
    runs.push(change(b"of a newer engine"));
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    for run in runs {
        let block = writer
            .block(&mut Nothing, &run, 1 << 20)
            .expect("is written");
        let read = reader.block(&mut Nothing, &block.bytes);
        assert_eq!(read.as_ref(), Ok(&run));
    }
}

#[test]
fn what_builds_on_unknown_changes_is_told_apart_from_damage() {
    let script = history::Script {
        replicas: 1,
        clones: 0,
        focus: 0,
        steps: (0..6u8)
            .map(|n| history::Step::Edit {
                replica: 0,
                person: 0,
                pin: 0,
                years: 0,
                cells: vec![(0, n), (1, n)],
            })
            .collect(),
    };
    let ledger = ledger(&script.run());
    let run = &ledger.runs(3)[0];
    let block = Writer::new()
        .block(&mut ledger.held(3, 0), run, 1 << 20)
        .expect("is written");
    let read = Reader::new().block(&mut Held::default(), &block.bytes);
    assert_eq!(read, Err(Fault::Unknown));
    let alone = Writer::standalone(run).expect("is written");
    assert!(alone.standalone && alone.bytes.len() > block.bytes.len() / 3);
    assert_eq!(Writer::standalone(run), Ok(alone.clone()));
    let read = Reader::standalone(&alone.bytes).expect("is read");
    assert_eq!(read.commits, run.commits[..1]);
}

#[test]
fn a_commit_that_will_not_fit_stands_alone_and_leaves_the_session_as_it_was() {
    let script = history::Script {
        replicas: 1,
        clones: 0,
        focus: 0,
        steps: (0..20u8)
            .map(|n| history::Step::Edit {
                replica: 0,
                person: 0,
                pin: 0,
                years: 0,
                cells: vec![(n % 4, n)],
            })
            .collect(),
    };
    let ledger = ledger(&script.run());
    let runs = ledger.runs(0);
    let small = travel(&runs, &mut Held::default(), &mut Held::default(), 1);
    let large = travel(&runs, &mut Held::default(), &mut Held::default(), 1 << 16);
    assert!(small > large, "{small} {large}");
}

/// No debug output shows what a change holds.
#[test]
fn nothing_that_prints_shows_a_value() {
    let canary = CellValue::Str("canary".into());
    let run = one("Patient/canary", |record| {
        Leaf::Change(Box::new(Change {
            key: Key {
                id: KEY,
                grant: Some(Zeroizing::new(*b"canarycanarycanarycanarycanaryca")),
            },
            record,
            patient: None,
            seen: None,
            because: Some("canary".into()),
            source: Some(("canary".into(), [0; 16])),
            change: b"canary".to_vec(),
        }))
    });
    let mut writer = Writer::new();
    writer.block(&mut Nothing, &run, 4096).expect("is written");
    let shown = format!("{run:?} {canary:?} {writer:?}");
    assert!(!shown.contains("canary"), "{shown}");
}

/// What `docs/protocol-lean.md` shows of one commit.
#[test]
fn the_test_vector_of_the_protocol_is_what_is_written() {
    let run = one("Patient/7", |record| {
        let chain = ChainId {
            author: AuthorKey([1; 32]),
            replica: ReplicaId([2; 16]),
        };
        let op = |key: &str, json: &str| FlatOp {
            key: key.into(),
            cell: Cell::put(&Json::parse(json.as_bytes()).expect("valid")),
            pred: Vec::new(),
        };
        let change = FlatChange {
            actor: chain.actor(),
            seq: 1,
            start_op: 1,
            hlc: Timestamp::new(1_790_000_000_000, 3),
            deps: Vec::new(),
            ops: vec![
                op("birthDate", r#""1980-02-03""#),
                op("name", r#"[{"family":"Mensah","given":["Ama"]}]"#),
            ],
        };
        Leaf::Change(Box::new(Change {
            key: Key {
                id: KEY,
                grant: None,
            },
            patient: Some(record.clone()),
            record,
            seen: None,
            because: None,
            source: None,
            change: encode(&change).0,
        }))
    });
    let block = Writer::standalone(&run).expect("is written");
    assert_eq!(Reader::standalone(&block.bytes), Ok(run));
    let shown = crate::ids::hex(&block.bytes);
    let text: String = include_str!("../../../../../docs/protocol-lean.md")
        .split_whitespace()
        .collect();
    assert!(text.contains(&format!("`{shown}`")), "{shown}");
}
