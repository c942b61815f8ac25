//! The gate: foreign bytes to a flat change, or a structural fault.

use crate::doc::{Fault, FlatChange, FlatOp, contained, encode, prescan};
use crate::ids::{ActorId, ChangeId};
use crate::model::cell::{Cell, OpId};
use crate::model::cell_value::CellValue;
use crate::time::Timestamp;
use automerge::{Change, ExpandedChange, ScalarValue, legacy};

/// Reads a change that an honest engine could have written.
///
/// # Errors
/// A [`Fault`] for anything else: automerge does not see it, or what it made of it would not be
/// written as the same bytes again.
pub fn decode(bytes: &[u8]) -> Result<(FlatChange, ChangeId), Fault> {
    prescan::check(bytes)?;
    let expanded = contained(|| Change::from_bytes(bytes.to_vec()).map(|change| change.decode()))?
        .map_err(|_| Fault::Engine)?;
    let change = flatten(expanded)?;
    let (again, id) = contained(|| encode(&change))?;
    if again == bytes {
        Ok((change, id))
    } else {
        Err(Fault::NotCanonical)
    }
}

fn flatten(change: ExpandedChange) -> Result<FlatChange, Fault> {
    Ok(FlatChange {
        actor: actor(&change.actor_id)?,
        seq: change.seq,
        start_op: change.start_op.get(),
        hlc: Timestamp(change.time),
        deps: change.deps.iter().map(|hash| ChangeId(hash.0)).collect(),
        ops: change
            .operations
            .into_iter()
            .map(operation)
            .collect::<Result<_, _>>()?,
    })
}

fn operation(op: legacy::Op) -> Result<FlatOp, Fault> {
    let value = match op.action {
        legacy::OpType::Put(ScalarValue::Str(text)) => CellValue::Str(text.into()),
        legacy::OpType::Put(ScalarValue::Bytes(bytes)) => CellValue::Bytes(bytes),
        _ => return Err(Fault::Action),
    };
    let legacy::Key::Map(key) = op.key else {
        return Err(Fault::Columns);
    };
    if op.insert || op.obj != legacy::ObjectId::Root {
        return Err(Fault::Columns);
    }
    let pred = op
        .pred
        .iter()
        .map(|id| {
            Ok(OpId {
                ctr: id.counter(),
                actor: actor(id.actor())?,
            })
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    if !pred.is_sorted_by(|a, b| a < b) {
        return Err(Fault::Preds);
    }
    let fault = match value.is_of_newer() {
        true => Fault::Newer,
        false => Fault::Cell,
    };
    Ok(FlatOp {
        key: key.as_str().into(),
        cell: Cell::from_value(value).map_err(|_| fault)?,
        pred,
    })
}

pub(super) fn actor(id: &automerge::ActorId) -> Result<ActorId, Fault> {
    ActorId::from_slice(id.to_bytes()).map_err(|_| Fault::Actor)
}
