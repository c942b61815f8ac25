//! The only module that names automerge: one edit of one record as an Automerge change.
//!
//! A record is one flat Automerge map. `encode` writes a change through automerge's own encoder;
//! `decode` is the gate that foreign bytes pass before automerge sees them; `oracle` opens the
//! same changes as an Automerge document, to prove that nothing else came of them.

pub mod causality;
pub mod row;
pub mod shown;
pub mod state;

use crate::ids::{ActorId, ChangeId};
use crate::model::cell::{Cell, OpId};
use crate::time::Timestamp;

/// One operation: a cell written at a key, in place of the operations it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlatOp {
    /// `field` or `field/element`.
    pub key: Box<str>,
    /// What is written.
    pub cell: Cell,
    /// The operations Automerge hides for it, ascending.
    pub pred: Vec<OpId>,
}

/// One record's part of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlatChange {
    /// Who writes.
    pub actor: ActorId,
    /// The actor's changes of this record, counted from 1.
    pub seq: u64,
    /// Counter of the first operation: one more than the highest at the dependencies.
    pub start_op: u64,
    /// The commit's time.
    pub hlc: Timestamp,
    /// The changes this one builds on, ascending.
    pub deps: Vec<ChangeId>,
    /// The operations, ascending by key, each key once.
    pub ops: Vec<FlatOp>,
}

impl FlatChange {
    /// The id of the operation at `index`.
    pub fn op_id(&self, index: usize) -> OpId {
        OpId {
            ctr: self.start_op.saturating_add(index as u64),
            actor: self.actor,
        }
    }

    /// Counter of the last operation; `start_op - 1` if there is none.
    pub fn end_op(&self) -> u64 {
        self.start_op
            .saturating_add(self.ops.len() as u64)
            .saturating_sub(1)
    }
}
