//! Replicas that edit apart and meet: our own reading of their changes and Automerge's agree.

use crate::doc::oracle::{Opened, open};
use crate::doc::{Fault, FlatChange, FlatOp, decode, encode};
use crate::ids::{ActorId, ChangeId};
use crate::model::cell::{Cell, OpId};
use crate::model::json::Json;
use crate::time::Timestamp;
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{Automerge, Change, ROOT, ReadDoc, ScalarValue};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a replica has to know of a record, as plainly as it can be written.
#[derive(Clone, Default)]
struct Reference {
    heads: BTreeSet<ChangeId>,
    visible: BTreeMap<Box<str>, BTreeSet<OpId>>,
    max_op: u64,
    last: BTreeMap<ActorId, (u64, ChangeId)>,
}

impl Reference {
    fn apply(&mut self, change: &FlatChange, id: ChangeId) {
        for (i, op) in change.ops.iter().enumerate() {
            let at = self.visible.entry(op.key.clone()).or_default();
            at.retain(|seen| !op.pred.contains(seen));
            at.insert(change.op_id(i));
        }
        self.heads.retain(|head| !change.deps.contains(head));
        self.heads.insert(id);
        self.max_op = self.max_op.max(change.end_op());
        self.last.insert(change.actor, (change.seq, id));
    }

    /// Automerge depends on the actor's own last change even where a head covers it.
    fn edit(&self, actor: ActorId, keys: &BTreeSet<u8>, time: i64) -> FlatChange {
        let (seq, own) = match self.last.get(&actor) {
            Some((seq, id)) => (*seq, Some(*id)),
            None => (0, None),
        };
        let deps: BTreeSet<ChangeId> = self.heads.iter().copied().chain(own).collect();
        let op = |key: &u8| {
            let key: Box<str> = format!("field/{key}").into();
            let pred = self.visible.get(&key).into_iter().flatten();
            FlatOp {
                cell: Cell::put(&Json::string(&format!("{time}"))),
                pred: pred.copied().collect(),
                key,
            }
        };
        FlatChange {
            actor,
            seq: seq + 1,
            start_op: self.max_op + 1,
            hlc: Timestamp(time),
            deps: deps.into_iter().collect(),
            ops: keys.iter().map(op).collect(),
        }
    }

    fn opened(&self) -> Opened {
        let visible = self.visible.iter();
        Opened {
            heads: self.heads.iter().copied().collect(),
            visible: visible
                .map(|(key, ids)| (key.clone(), ids.iter().copied().collect()))
                .collect(),
            max_op: self.max_op,
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Edit { replica: usize, keys: BTreeSet<u8> },
    Meet { from: usize, to: usize },
}

const REPLICAS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let keys = proptest::collection::btree_set(0..4_u8, 1..4);
    prop_oneof![
        3 => (0..REPLICAS, keys).prop_map(|(replica, keys)| Step::Edit { replica, keys }),
        2 => (0..REPLICAS, 0..REPLICAS).prop_map(|(from, to)| Step::Meet { from, to }),
    ]
}

/// Actors whose order is not that of the replicas.
fn actor(replica: usize) -> ActorId {
    ActorId([[9, 3, 200, 77][replica]; 16])
}

type Written = (FlatChange, ChangeId, Vec<u8>);

/// All changes in the order they were written, and which of them each replica holds at the end.
fn play(steps: &[Step]) -> (Vec<Written>, Vec<BTreeSet<usize>>) {
    let mut written: Vec<Written> = Vec::new();
    let mut held = vec![BTreeSet::new(); REPLICAS];
    for (time, step) in steps.iter().enumerate() {
        match step {
            Step::Edit { replica, keys } => {
                let change = reference(&written, &held[*replica]).edit(
                    actor(*replica),
                    keys,
                    time.try_into().expect("few steps"),
                );
                let (bytes, id) = encode(&change);
                assert_eq!(decode(&bytes), Ok((change.clone(), id)));
                held[*replica].insert(written.len());
                written.push((change, id, bytes));
            }
            Step::Meet { from, to } => {
                let more = held[*from].clone();
                held[*to].extend(more);
            }
        }
    }
    (written, held)
}

/// Changes are written after what they build on, so their order of writing is a causal one.
fn reference(written: &[Written], held: &BTreeSet<usize>) -> Reference {
    let mut state = Reference::default();
    for i in held {
        let (change, id, _) = &written[*i];
        state.apply(change, *id);
    }
    state
}

proptest! {
    #[test]
    fn automerge_reads_a_history_as_we_do(
        steps in proptest::collection::vec(step(), 1..40),
        order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let (written, held) = play(&steps);
        for held in held {
            let delivered = order.iter().filter(|i| held.contains(i)).map(|i| &*written[*i].2);
            prop_assert_eq!(open(delivered), Ok(reference(&written, &held).opened()));
        }
    }

    #[test]
    fn automerge_would_have_written_the_same_bytes(
        steps in proptest::collection::vec(step(), 1..20),
        keys in proptest::collection::btree_set(0..4_u8, 1..4),
    ) {
        let (written, held) = play(&steps);
        for (replica, held) in held.iter().enumerate() {
            let mut document = Automerge::new();
            document.set_actor(actor(replica).0.into());
            let delivered = held.iter().map(|i| Change::from_bytes(written[*i].2.clone()));
            document.apply_changes(delivered.collect::<Result<Vec<_>, _>>()?)?;
            let mut transaction = document.transaction();
            for key in &keys {
                let value = ScalarValue::Str("99".into());
                transaction.put(ROOT, format!("field/{key}"), value)?;
            }
            transaction.commit_with(CommitOptions::default().with_time(99));
            let theirs = document.get_last_local_change().expect("there is one");
            let ours = reference(&written, held).edit(actor(replica), &keys, 99);
            prop_assert_eq!(encode(&ours).0, theirs.raw_bytes());
            // And automerge gives back every change as it was written.
            for (_, id, bytes) in held.iter().map(|i| &written[*i]) {
                let kept = document.get_change_by_hash(&automerge::ChangeHash(id.0));
                let kept = kept.expect("it holds them all");
                prop_assert_eq!(kept.raw_bytes(), &bytes[..]);
            }
        }
    }
}

/// Two replicas apart, a merge that sees both, and another edit beside the merge.
fn five() -> (Vec<Written>, Vec<BTreeSet<usize>>) {
    let edit = |replica, keys: &[u8]| Step::Edit {
        replica,
        keys: keys.iter().copied().collect(),
    };
    let meet = |from, to| Step::Meet { from, to };
    play(&[
        edit(0, &[0, 1]),
        meet(0, 1),
        edit(0, &[0]),
        edit(1, &[0, 2]),
        meet(0, 2),
        meet(1, 2),
        edit(2, &[0]),
        edit(1, &[0, 1]),
        meet(1, 2),
    ])
}

#[test]
fn every_order_of_delivery_gives_the_same() {
    let (written, held) = five();
    let expected = reference(&written, &held[2]).opened();
    assert_eq!((held[2].len(), expected.heads.len()), (5, 2));
    let mut orders = vec![vec![]];
    for _ in 0..5 {
        let longer = |order: Vec<usize>| {
            let rest = (0..5).filter(|i| !order.contains(i)).collect::<Vec<_>>();
            rest.into_iter().map(move |i| [&order[..], &[i]].concat())
        };
        orders = orders.into_iter().flat_map(longer).collect();
    }
    assert_eq!(orders.len(), 120);
    for order in orders {
        let delivered = order.iter().map(|i| &*written[*i].2);
        assert_eq!(open(delivered), Ok(expected.clone()));
    }
}

#[test]
fn a_record_that_is_not_whole_or_contradicts_itself_is_a_fault() {
    let (written, _) = five();
    let without_first = written[1..].iter().map(|w| &*w.2);
    assert_eq!(open(without_first), Err(Fault::Incomplete));
    let keys = BTreeSet::from([0]);
    let twice = [1, 2].map(|time| encode(&Reference::default().edit(actor(0), &keys, time)).0);
    assert_eq!(open(twice.iter().map(|b| &**b)), Err(Fault::Engine));
    // A predecessor of an actor that wrote nothing: Automerge alone would panic.
    let mut first = Reference::default();
    let root = first.edit(actor(0), &keys, 1);
    let (root_bytes, root_id) = encode(&root);
    first.apply(&root, root_id);
    let mut astray = first.edit(actor(0), &keys, 2);
    astray.ops[0].pred = vec![OpId {
        ctr: 1,
        actor: actor(1),
    }];
    let astray = encode(&astray).0;
    assert_eq!(open([&root_bytes[..], &astray]), Err(Fault::Incomplete));
    // A second change of an actor whose first is not there: likewise.
    let mut second = first.edit(actor(1), &keys, 2);
    second.seq = 2;
    let second = encode(&second).0;
    assert!(decode(&second).is_ok());
    assert_eq!(open([&root_bytes[..], &second]), Err(Fault::Incomplete));
    let empty = open(std::iter::empty::<&[u8]>());
    assert_eq!(empty, Ok(Reference::default().opened()));
}
