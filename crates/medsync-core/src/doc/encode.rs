//! A flat change to Automerge's bytes, through automerge's own encoder.

use crate::doc::FlatChange;
use crate::ids::{ActorId, ChangeId};
use crate::model::cell::OpId;
use crate::model::cell_value::CellValue;
use crate::time::Timestamp;
use automerge::{Change, ChangeHash, ExpandedChange, ScalarValue, legacy};
use std::num::NonZeroU64;

/// The change's bytes and hash.
///
/// Automerge sorts the dependencies and each operation's predecessors, and numbers the other actors
/// in their order. Limits are not judged here: [`decode`](crate::doc::decode) refuses what breaks
/// one, our own changes included.
pub fn encode(change: &FlatChange) -> (Vec<u8>, ChangeId) {
    let operations = change
        .ops
        .iter()
        .map(|op| operation(&op.key, op.cell.to_value(), &op.pred));
    let head = Head {
        actor: change.actor,
        seq: change.seq,
        start_op: change.start_op,
        hlc: change.hlc,
        deps: &change.deps,
    };
    build(&head, operations.collect())
}

/// What a change says beside its operations.
pub(super) struct Head<'a> {
    pub(super) actor: ActorId,
    pub(super) seq: u64,
    pub(super) start_op: u64,
    pub(super) hlc: Timestamp,
    pub(super) deps: &'a [ChangeId],
}

/// One operation.
pub(super) fn operation(key: &str, value: CellValue, pred: &[OpId]) -> legacy::Op {
    legacy::Op {
        action: legacy::OpType::Put(match value {
            CellValue::Str(text) => ScalarValue::Str(text.into()),
            CellValue::Bytes(bytes) => ScalarValue::Bytes(bytes),
        }),
        obj: legacy::ObjectId::Root,
        key: legacy::Key::Map(key.into()),
        pred: pred
            .iter()
            .map(|id| legacy::OpId::new(id.ctr, &automerge::ActorId::from(id.actor.0)))
            .collect(),
        insert: false,
    }
}

/// The bytes and hash of a change of these operations.
pub(super) fn build(head: &Head<'_>, operations: Vec<legacy::Op>) -> (Vec<u8>, ChangeId) {
    let change = Change::from(ExpandedChange {
        operations,
        actor_id: automerge::ActorId::from(head.actor.0),
        hash: None,
        seq: head.seq,
        // Counters begin at 1: nobody means 0.
        start_op: NonZeroU64::new(head.start_op).unwrap_or(NonZeroU64::MIN),
        time: head.hlc.0,
        message: None,
        deps: head.deps.iter().map(|id| ChangeHash(id.0)).collect(),
        extra_bytes: Vec::new(),
        author: None,
    });
    (change.raw_bytes().to_vec(), ChangeId(change.hash().0))
}
