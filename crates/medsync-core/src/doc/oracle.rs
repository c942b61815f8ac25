//! The same changes in a real Automerge document: what our own state must agree with.

use crate::doc::{Fault, FlatChange, FlatOp, contained, decode};
use crate::ids::{ActorId, ChangeId};
use crate::model::cell::OpId;
use automerge::{Automerge, Change, ObjId, ROOT, ReadDoc};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Most operations of a record.
pub const MAX_RECORD_OPS: usize = 2_000_000;

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
/// A [`Fault`] for a change that the gate refuses, one whose dependencies or predecessors are
/// missing, or changes that Automerge does not take together (two of one actor with one number).
pub fn open<'a>(changes: impl IntoIterator<Item = &'a [u8]>) -> Result<Opened, Fault> {
    let (mut flat, mut all) = (Vec::new(), Vec::new());
    let mut ops = 0;
    for bytes in changes {
        // Automerge also panics on some changes that are within every limit, such as one that names
        // an actor which it does not use: only what the gate passes may be opened.
        flat.push(decode(bytes)?.0);
        all.push(contained(|| Change::from_bytes(bytes.to_vec()))?.map_err(|_| Fault::Engine)?);
        ops += flat.last().map_or(0, |change| change.ops.len());
        if ops > MAX_RECORD_OPS {
            return Err(Fault::Limit("operations"));
        }
    }
    check_seqs(&flat)?;
    check_preds(&flat)?;
    let max_op = flat.iter().map(FlatChange::end_op).max().unwrap_or(0);
    contained(|| read(all, max_op))?
}

/// Automerge takes an actor's first change to know the actor by, and panics on others without it.
fn check_seqs(changes: &[FlatChange]) -> Result<(), Fault> {
    let there: HashSet<(ActorId, u64)> = changes.iter().map(|c| (c.actor, c.seq)).collect();
    let follows = |c: &FlatChange| c.seq == 1 || there.contains(&(c.actor, c.seq - 1));
    if changes.iter().all(follows) {
        Ok(())
    } else {
        Err(Fault::Incomplete)
    }
}

/// Automerge believes predecessors, and panics on one of an actor that it has not met.
fn check_preds(changes: &[FlatChange]) -> Result<(), Fault> {
    let keys: HashMap<OpId, &str> = changes
        .iter()
        .flat_map(|change| {
            let ops = change.ops.iter().enumerate();
            ops.map(|(i, op)| (change.op_id(i), &*op.key))
        })
        .collect();
    let mut ops = changes.iter().flat_map(|change| &change.ops);
    let known = |op: &FlatOp| op.pred.iter().all(|id| keys.get(id) == Some(&&*op.key));
    if ops.all(known) {
        Ok(())
    } else {
        Err(Fault::Incomplete)
    }
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
