//! A short history in the lean form.

use medsync_core::doc::encode;
use medsync_core::doc::lean::{Change, Commit, Held, Key, Leaf, Place, Run, Writer};
use medsync_core::doc::state::Incoming;
use medsync_core::ids::{AuthorKey, ChainId, CommitId, DataKeyId, ReplicaId};
use medsync_core::testing::history::{Script, Step, record};

const KEY: DataKeyId = DataKeyId([3; 16]);

fn history() -> Vec<Incoming> {
    let edit = |replica, cells: &[(u8, u8)]| Step::Edit {
        replica,
        person: 0,
        pin: 0,
        years: 0,
        cells: cells.to_vec(),
    };
    let send = Step::Send {
        from: 0,
        to: 1,
        which: u32::MAX,
        shuffle: 0,
    };
    let script = Script {
        replicas: 2,
        clones: 0,
        focus: 4,
        steps: vec![
            edit(0, &[(0, 1), (1, 2), (2, 1), (3, 1)]),
            edit(0, &[(1, 3)]),
            send,
            edit(1, &[(2, 2), (3, 3)]),
            edit(1, &[(0, 9)]),
            edit(0, &[(0, 4)]),
        ],
    };
    script.run().all
}

fn chain(replica: u8) -> ChainId {
    ChainId {
        author: AuthorKey([0; 32]),
        replica: ReplicaId([replica; 16]),
    }
}

/// The history as runs: what both hold, and what comes after it.
fn runs() -> Vec<Run> {
    let mut next = [1, 1];
    let runs = history().into_iter().map(|incoming| {
        let who = usize::from(incoming.change.actor == chain(1).actor());
        let first = next[who];
        next[who] += 1;
        let change = Change {
            key: Key {
                id: KEY,
                grant: None,
            },
            record: record(),
            patient: None,
            seen: incoming.seen,
            because: None,
            source: None,
            change: encode(&incoming.change).0,
        };
        let commit = Commit {
            hlc: incoming.change.hlc,
            lane: 0,
            intent: 0,
            leaves: vec![Leaf::Change(Box::new(change))],
        };
        Run {
            chain: chain(who as u8),
            first,
            previous: (first > 1).then_some(CommitId([7; 32])),
            signature: Some([5; 64]),
            commits: vec![commit],
        }
    });
    runs.collect()
}

/// What both sides hold: the first two changes.
pub fn held() -> Held {
    let mut held = Held::default();
    for run in runs().iter().take(2) {
        for leaf in &run.commits[0].leaves {
            if let Leaf::Change(change) = leaf {
                let place = Place {
                    chain: run.chain,
                    seq: run.first,
                    index: 0,
                };
                held.insert(&change.record, (None, KEY), place, true, &change.change);
            }
        }
    }
    held
}

/// The blocks of the changes after those.
pub fn blocks() -> Vec<Vec<u8>> {
    let (mut writer, mut held) = (Writer::new(), held());
    let runs = runs();
    let blocks = runs[2..].iter().map(|run| {
        let block = writer.block(&mut held, run, 4096);
        block.expect("an honest change is written").bytes
    });
    blocks.collect()
}

/// The first of them.
pub fn first_block() -> Vec<u8> {
    blocks().swap_remove(0)
}

/// Each change by itself.
pub fn standalone() -> Vec<Vec<u8>> {
    let alone = |run: &Run| Writer::standalone(run).expect("an honest change is written");
    runs().iter().map(|run| alone(run).bytes).collect()
}
