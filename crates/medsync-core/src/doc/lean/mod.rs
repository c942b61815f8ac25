//! The lean form: how changes and their commits travel between two that share a past.
//!
//! What the receiver can rebuild is left out: hashes, dependencies, actors, counters, names, and of a
//! value what it shares with the one it replaces. A [`Writer`] and a [`Reader`] keep the same tables
//! for the length of one direction of one session; what both surely hold beside that is asked
//! through [`Known`]. Changes come out byte for byte as they went in. `docs/protocol-lean.md` has the
//! format.

mod block;
mod change;
mod coder;
mod held;
mod json;
mod mirror;
mod session;
mod shape;
mod text;
mod value;

#[cfg(test)]
mod lean_tests;

pub use block::{BLOCK_BYTES_MAX, Block, Reader, Writer};
pub use held::Held;

use crate::ids::{ActorId, ChainId, ChangeId, CommitId, DataKeyId, RecordId};
use crate::model::cell::OpId;
use crate::model::cell_value::CellValue;
use crate::time::Timestamp;
use std::fmt;
use zeroize::Zeroizing;

/// Why a block cannot be written or read. Carries no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No writer of this format wrote it.
    #[error("a lean block is malformed")]
    Malformed,
    /// It stands for more than a block may: send these commits in another form.
    #[error("a lean block would be too large")]
    TooLarge,
    /// It builds on what is not here: ask for these commits in another form.
    #[error("a lean block builds on what is not here")]
    Unknown,
}

/// Where a change stands in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The chain of its commit.
    pub chain: ChainId,
    /// The commit's place in that chain.
    pub seq: u64,
    /// The entry's place in that commit.
    pub index: u32,
}

/// A record at a version that both sides hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The last operation's counter of each change of the version, in its order.
    pub ends: Vec<u64>,
    /// The patient that the record belongs to.
    pub patient: Option<RecordId>,
    /// The data key of the record's changes, if it is always the same.
    pub key: Option<DataKeyId>,
}

/// What both sides surely held when the session began. Asked about a version, both must answer the
/// same, whatever else each of them holds.
pub trait Known {
    /// Where a change stands that the other side surely holds with all it builds on; `None` where
    /// that is not certain. Only a writer asks.
    fn place(&mut self, record: &RecordId, change: &ChangeId) -> Option<Place>;

    /// The change at a place, and its record. Only a reader asks.
    fn at(&mut self, place: &Place) -> Option<(RecordId, ChangeId)>;

    /// The record at a version.
    fn base(&mut self, record: &RecordId, version: &[ChangeId]) -> Option<Base>;

    /// The last change of an actor that a version builds on, with its sequence number.
    fn last(
        &mut self,
        record: &RecordId,
        version: &[ChangeId],
        actor: &ActorId,
    ) -> Option<(u64, ChangeId)>;

    /// An operation that a version builds on: its key and value.
    fn operation(
        &mut self,
        record: &RecordId,
        version: &[ChangeId],
        id: &OpId,
    ) -> Option<(Box<str>, CellValue)>;
}

/// Knows nothing: for what must be readable by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Known for Nothing {
    fn place(&mut self, _: &RecordId, _: &ChangeId) -> Option<Place> {
        None
    }

    fn at(&mut self, _: &Place) -> Option<(RecordId, ChangeId)> {
        None
    }

    fn base(&mut self, _: &RecordId, _: &[ChangeId]) -> Option<Base> {
        None
    }

    fn last(&mut self, _: &RecordId, _: &[ChangeId], _: &ActorId) -> Option<(u64, ChangeId)> {
        None
    }

    fn operation(
        &mut self,
        _: &RecordId,
        _: &[ChangeId],
        _: &OpId,
    ) -> Option<(Box<str>, CellValue)> {
        None
    }
}

/// Commits of a batch: all or a run of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Author and replica.
    pub chain: ChainId,
    /// Place of the first of these commits.
    pub first: u64,
    /// The commit before it, where the receiver may lack it.
    pub previous: Option<CommitId>,
    /// The batch's signature, with one of its runs.
    pub signature: Option<[u8; 64]>,
    /// The commits, in order.
    pub commits: Vec<Commit>,
}

/// A commit without what follows from the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// When.
    pub hlc: Timestamp,
    /// The lane's number: 0 to 3.
    pub lane: u8,
    /// The intent's number.
    pub intent: u8,
    /// What stands under its root.
    pub leaves: Vec<Leaf>,
}

/// What stands under a commit's root.
#[derive(Clone, PartialEq, Eq)]
pub enum Leaf {
    /// A change of a record.
    Change(Box<Change>),
    /// An entry of a newer engine, and the change beside it.
    Other {
        /// The data key.
        key: Key,
        /// The entry's bytes.
        entry: Vec<u8>,
        /// The change's bytes.
        change: Vec<u8>,
    },
    /// An entry's bytes, for everybody to read.
    Item(Vec<u8>),
    /// Only the leaf's hash.
    Withheld([u8; 32]),
    /// A change that the sender cannot open either.
    Sealed {
        /// Its data key.
        key: DataKeyId,
        /// The leaf's hash.
        leaf: [u8; 32],
        /// The seal's nonce.
        nonce: [u8; 24],
        /// What is sealed.
        body: Vec<u8>,
    },
}

/// A data key's name, and the key itself for a receiver that lacks it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub id: DataKeyId,
    /// The key.
    pub grant: Option<Zeroizing<[u8; 32]>>,
}

/// One record's part of a commit.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// The data key that its leaf is salted with.
    pub key: Key,
    /// The record.
    pub record: RecordId,
    /// The patient that the entry names.
    pub patient: Option<RecordId>,
    /// The version its author had in view, where that is not what it builds on.
    pub seen: Option<Vec<ChangeId>>,
    /// Why, in the author's words.
    pub because: Option<String>,
    /// The import it came with: the source's name and the content's hash.
    pub source: Option<(String, [u8; 16])>,
    /// The change.
    pub change: Vec<u8>,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(change) => change.fmt(f),
            Self::Other { .. } => f.write_str("Other(hidden)"),
            Self::Item(bytes) => write!(f, "Item({} bytes)", bytes.len()),
            Self::Withheld(_) => f.write_str("Withheld"),
            Self::Sealed { key, body, .. } => write!(f, "Sealed({key:?}, {} bytes)", body.len()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.id)
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Change({:?}, {} bytes)", self.record, self.change.len())
    }
}
