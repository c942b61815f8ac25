//! The only module that names automerge: one edit of one record as an Automerge change.
//!
//! A record is one flat Automerge map. [`encode`] writes a change through automerge's own encoder;
//! [`decode`] is the gate that foreign bytes pass before automerge sees them; [`oracle`] opens the
//! same changes as an Automerge document, to prove that nothing else came of them.

pub mod causality;
pub(crate) mod closures;
mod decode;
mod encode;
pub mod lean;
pub(crate) mod merging;
pub mod oracle;
mod prescan;
pub mod row;
pub mod shown;
pub mod state;
pub mod strands;

#[cfg(test)]
mod gate_tests;
#[cfg(test)]
mod merging_tests;
#[cfg(test)]
mod oracle_tests;

pub use decode::decode;
pub use encode::encode;
pub use prescan::change_id;
pub use prescan::{MAX_ALL_PREDS, MAX_CHANGE, MAX_DEPS, MAX_OPS, MAX_OTHERS, MAX_PREDS};

use crate::ids::{ActorId, ChangeId};
use crate::model::cell::{Cell, OpId};
use crate::time::Timestamp;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A structural fault: an honest engine does not write this. Names no value and no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Something else than exactly one uncompressed change chunk.
    #[error("not one uncompressed change chunk")]
    Chunk,
    /// The bytes are not those that were hashed.
    #[error("the checksum does not fit")]
    Checksum,
    /// The bytes end too early.
    #[error("cut off")]
    Cut,
    /// An integer that is too large or longer than it needs to be.
    #[error("a number is malformed")]
    Number,
    /// More of something than a change may have.
    #[error("too many {0}")]
    Limit(&'static str),
    /// An actor that is not 16 bytes.
    #[error("an actor is malformed")]
    Actor,
    /// A sequence number or operation counter out of range.
    #[error("a counter is out of range")]
    Counter,
    /// A note or bytes that a flat change does not have.
    #[error("something follows or accompanies the operations")]
    Extra,
    /// Columns that a flat map does not have.
    #[error("not an operation on a flat record")]
    Columns,
    /// Columns that do not stand for the same operations.
    #[error("the columns' lengths disagree")]
    Counts,
    /// A key that is malformed, repeated or out of order.
    #[error("a key is malformed, repeated or out of order")]
    Key,
    /// Another action than setting a string or bytes.
    #[error("an action or type of value that records do not use")]
    Action,
    /// A value that is not a cell in canonical form.
    #[error("a value is not a cell")]
    Cell,
    /// A value whose kind only a newer engine knows.
    #[error("a value is of a newer engine")]
    Newer,
    /// Predecessors that repeat, or that cannot have come before.
    #[error("predecessors are malformed")]
    Preds,
    /// The same change can be written differently.
    #[error("not in canonical form")]
    NotCanonical,
    /// A change whose dependencies or predecessors are not there.
    #[error("dependencies or predecessors are missing")]
    Incomplete,
    /// Automerge refused it or failed over it.
    #[error("automerge does not accept it")]
    Engine,
}

/// Runs foreign code that panics on some inputs. Nothing it borrowed is used after a panic.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Fault::Engine)
}

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
