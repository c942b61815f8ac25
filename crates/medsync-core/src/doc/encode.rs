//! A flat change to Automerge's bytes, through automerge's own encoder.

use crate::doc::FlatChange;
use crate::ids::ChangeId;
use crate::model::cell_value::CellValue;
use automerge::{ActorId, Change, ChangeHash, ExpandedChange, ScalarValue, legacy};
use std::num::NonZeroU64;

/// The change's bytes and hash.
///
/// Automerge sorts the dependencies and each operation's predecessors, and numbers the other actors
/// in their order. Limits are not judged here: [`decode`](crate::doc::decode) refuses what breaks
/// one, our own changes included.
pub fn encode(change: &FlatChange) -> (Vec<u8>, ChangeId) {
    let change = Change::from(expand(change));
    (change.raw_bytes().to_vec(), ChangeId(change.hash().0))
}

fn expand(change: &FlatChange) -> ExpandedChange {
    let operations = change.ops.iter().map(|op| legacy::Op {
        action: legacy::OpType::Put(match op.cell.to_value() {
            CellValue::Str(text) => ScalarValue::Str(text.into()),
            CellValue::Bytes(bytes) => ScalarValue::Bytes(bytes),
        }),
        obj: legacy::ObjectId::Root,
        key: legacy::Key::Map((&*op.key).into()),
        pred: op
            .pred
            .iter()
            .map(|id| legacy::OpId::new(id.ctr, &ActorId::from(id.actor.0)))
            .collect(),
        insert: false,
    });
    ExpandedChange {
        operations: operations.collect(),
        actor_id: ActorId::from(change.actor.0),
        hash: None,
        seq: change.seq,
        // Counters begin at 1: nobody means 0.
        start_op: NonZeroU64::new(change.start_op).unwrap_or(NonZeroU64::MIN),
        time: change.hlc.0,
        message: None,
        deps: change.deps.iter().map(|id| ChangeHash(id.0)).collect(),
        extra_bytes: Vec::new(),
        author: None,
    }
}
