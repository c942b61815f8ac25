//! The same changes in a real Automerge document: what our own state must agree with.

use crate::doc::{Fault, contained, decode};
use crate::ids::{ActorId, ChangeId};
use crate::model::cell::OpId;
use automerge::{Automerge, Change, ObjId, ROOT, ReadDoc};
use std::collections::BTreeMap;

/// Most operations of a record.
pub const MAX_RECORD_OPS: u64 = 2_000_000;

/// What Automerge makes of a record's changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The changes that no other builds on, ascending.
    pub heads: Vec<ChangeId>,
    /// The operations that no other hides, by key, ascending.
    pub visible: BTreeMap<Box<str>, Vec<OpId>>,
    /// The highest counter; 0 for an empty record.
    pub max_op: u64,
}

/// Opens a record from all its changes, in any order.
///
/// # Errors
/// A [`Fault`] for a change that breaks a limit, one whose dependencies are missing, or changes
/// that Automerge does not take together (two of one actor with the same number).
pub fn open<'a>(changes: impl IntoIterator<Item = &'a [u8]>) -> Result<Opened, Fault> {
    let mut all = Vec::new();
    let (mut max_op, mut ops) = (0, 0_u64);
    for bytes in changes {
        // Automerge also panics on some changes that are within every limit, such as one that names
        // an actor which it does not use: only what the gate passes may be opened.
        decode(bytes)?;
        let change =
            contained(|| Change::from_bytes(bytes.to_vec()))?.map_err(|_| Fault::Engine)?;
        max_op = max_op.max(change.max_op());
        ops = ops.saturating_add(change.len() as u64);
        if ops > MAX_RECORD_OPS {
            return Err(Fault::Limit("operations"));
        }
        all.push(change);
    }
    contained(|| read(all, max_op))?
}

fn read(changes: Vec<Change>, max_op: u64) -> Result<Opened, Fault> {
    let mut document = Automerge::new();
    document.apply_changes(changes).map_err(|_| Fault::Engine)?;
    if !document.get_missing_deps(&[]).is_empty() {
        return Err(Fault::Incomplete);
    }
    let mut heads: Vec<ChangeId> = document.get_heads().iter().map(|h| ChangeId(h.0)).collect();
    heads.sort_unstable();
    let mut visible = BTreeMap::new();
    for key in document.keys(ROOT) {
        let values = document
            .get_all(ROOT, key.as_str())
            .map_err(|_| Fault::Engine)?;
        let mut ids = values
            .iter()
            .map(|(_, id)| op_id(id))
            .collect::<Result<Vec<_>, _>>()?;
        ids.sort_unstable();
        visible.insert(key.into(), ids);
    }
    Ok(Opened {
        heads,
        visible,
        max_op,
    })
}

fn op_id(id: &ObjId) -> Result<OpId, Fault> {
    match id {
        ObjId::Id(ctr, actor, _) => Ok(OpId {
            ctr: *ctr,
            actor: ActorId::from_slice(actor.to_bytes()).map_err(|_| Fault::Actor)?,
        }),
        ObjId::Root => Err(Fault::Engine),
    }
}
