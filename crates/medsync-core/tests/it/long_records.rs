//! Records with a long history: no work may grow with its square to where a person would notice.

use medsync_core::doc::encode;
use medsync_core::doc::state::{Incoming, Readiness, RecordState};
use medsync_core::doc::{FlatChange, FlatOp};
use medsync_core::ids::{ActorId, ChangeId, CommitId};
use medsync_core::model::cell::OpId;
use medsync_core::model::policy::Standing;
use medsync_core::testing::history::{record, rules, value_of};
use medsync_core::time::Timestamp;
use std::time::Duration;

struct Writer {
    actor: ActorId,
    seq: u64,
    deps: Vec<ChangeId>,
    pred: Vec<OpId>,
    next_op: u64,
}

impl Writer {
    fn write(&mut self, key: &str, n: u8, standing: Standing) -> Incoming {
        self.seq += 1;
        self.deps.sort_unstable();
        self.pred.sort_unstable();
        let change = FlatChange {
            actor: self.actor,
            seq: self.seq,
            start_op: self.next_op,
            hlc: Timestamp::new(1_700_000_000_000 + i64::from(n), 0),
            deps: std::mem::take(&mut self.deps),
            ops: vec![FlatOp {
                key: key.into(),
                cell: value_of(key, n),
                pred: std::mem::take(&mut self.pred),
            }],
        };
        let incoming = Incoming {
            id: encode(&change).1,
            seen: None,
            patient: None,
            chain: 0,
            commit_seq: self.seq,
            commit: CommitId([0; 32]),
            standing,
            import: None,
            change,
        };
        self.deps = vec![incoming.id];
        self.pred = vec![incoming.change.op_id(0)];
        self.next_op = incoming.change.end_op() + 1;
        incoming
    }
}

/// `writers` write one key again and again and meet after every `alone` changes.
fn history(key: &str, writers: u8, alone: usize, length: usize) -> Vec<Incoming> {
    let new = |n| Writer {
        actor: ActorId([n; 16]),
        seq: 0,
        deps: vec![],
        pred: vec![],
        next_op: 1,
    };
    let mut writers: Vec<Writer> = (0..writers).map(new).collect();
    let standing = Standing {
        clinical: true,
        reviewer: false,
    };
    let mut all = Vec::new();
    while all.len() < length {
        for writer in &mut writers {
            for _ in 0..alone {
                let n = u8::try_from(all.len() % 4).expect("small");
                all.push(writer.write(key, n, standing));
            }
        }
        let deps: Vec<ChangeId> = writers.iter().flat_map(|w| w.deps.clone()).collect();
        let pred: Vec<OpId> = writers.iter().flat_map(|w| w.pred.clone()).collect();
        let next_op = writers.iter().map(|w| w.next_op).max().expect("a writer");
        for writer in &mut writers {
            writer.deps.clone_from(&deps);
            writer.pred.clone_from(&pred);
            writer.next_op = next_op;
        }
    }
    all
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement, not the engine's clock"
)]
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (Duration, T) {
    let start = std::time::Instant::now();
    let result = work();
    let took = start.elapsed();
    println!("{what}: {} ms", took.as_millis());
    (took, result)
}

fn length() -> usize {
    let given = std::env::var("MEDSYNC_CHANGES").ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(1_000)
}

#[test]
fn a_long_history_replays_in_no_time_under_every_policy() {
    let rules = rules();
    for key in [
        "note",
        "gender",
        "criticality",
        "allergy",
        "status",
        "phase",
        "problem/a",
    ] {
        for (writers, alone) in [(1, 1), (2, 1), (2, 50), (40, 1), (100, 3)] {
            let all = history(key, writers, alone, length());
            let count = all.len();
            let what = format!("{count} of {key} by {writers}, meeting every {alone}");
            let (took, state) = timed(&what, || RecordState::replay(all, &rules));
            let state = state.expect("honest changes");
            assert_eq!(state.changes.len(), count);
            let limit = if cfg!(debug_assertions) { 10 } else { 2 };
            assert!(took < Duration::from_secs(limit), "{what}: {took:?}");
        }
    }
}

#[test]
fn a_long_history_is_applied_change_by_change_in_no_time() {
    let rules = rules();
    for key in ["note", "gender", "status"] {
        let all = history(key, 1, 1, length());
        let what = format!("apply {} of {key}", all.len());
        let (took, state) = timed(&what, || {
            let mut state = RecordState::default();
            for incoming in &all {
                assert_eq!(state.check(incoming), Ok(Readiness::Ready));
                assert!(state.apply(incoming, &rules));
            }
            state
        });
        assert!(took < Duration::from_secs(20), "{what}: {took:?}");
        let (_, view) = timed("view", || state.render(&record(), &rules));
        let (_, row) = timed("row", || state.to_row(&rules));
        let (_, back) = timed("back", || RecordState::from_row(&row, &view));
        assert_eq!(back.expect("own row"), state);
    }
}
