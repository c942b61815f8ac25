//! What a session asks of its host, and what the host answers.
//!
//! A host carries out the effects of a step in their order and answers each with its completion,
//! in the same order. It may take its time: frames go on meanwhile.

use crate::ids::{BatchId, DeviceKey};
use crate::ledger::equivocation::Equivocation;
use crate::ledger::receipt::{BatchRef, Receipt};
use crate::model::pack::Lane;
use crate::sync::sketch::{Difference, SketchItem, SketchKey, Symbol};
use crate::time::Timestamp;
use std::fmt;

/// Symbols that a summary brings at once: enough for about forty differences.
pub const FIRST_SYMBOLS: usize = 64;

/// How far one side has what the other's log lists, as of an epoch of that log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The first bytes of the epoch of the log's store.
    pub epoch: [u8; 8],
    /// Everything up to this position is here.
    pub upto: u64,
    /// Ranges above it that are here too, ascending, apart from each other.
    pub beyond: Vec<(u64, u64)>,
}

impl Cursor {
    /// Whether a position is covered.
    pub fn has(&self, position: u64) -> bool {
        let at = self.beyond.partition_point(|r| r.1 < position);
        position <= self.upto || self.beyond.get(at).is_some_and(|r| r.0 <= position)
    }

    /// Adds a position.
    pub fn insert(&mut self, position: u64) {
        if self.has(position) {
            return;
        }
        let at = self.beyond.partition_point(|r| r.1 < position);
        self.beyond.insert(at, (position, position));
        if let Some(next) = self.beyond.get(at + 1).copied()
            && next.0 == position + 1
        {
            self.beyond[at].1 = next.1;
            self.beyond.remove(at + 1);
        }
        if at > 0 && self.beyond[at - 1].1 + 1 == position {
            self.beyond[at - 1].1 = self.beyond[at].1;
            self.beyond.remove(at);
        }
        self.reach(self.upto);
    }

    /// Everything up to a position is here.
    pub fn reach(&mut self, position: u64) {
        self.upto = self.upto.max(position);
        while let Some((first, last)) = self.beyond.first().copied()
            && first <= self.upto.saturating_add(1)
        {
            self.upto = self.upto.max(last);
            self.beyond.remove(0);
        }
    }
}

/// A batch of which a part came before: where it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partial {
    /// The first bytes of the batch's id.
    pub handle: [u8; 8],
    /// The block that comes next.
    pub part: u32,
    /// How much of it is here.
    pub offset: u64,
}

/// What a store holds, as the Hello says it to one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The store's epoch: random, another one after every restore or clone.
    pub epoch: [u8; 16],
    /// The last position of its log.
    pub head: u64,
    /// Its clock.
    pub clock: Timestamp,
    /// How many batches it holds.
    pub count: u64,
    /// Their digest, keyed for this peer.
    pub digest: [u8; 16],
    /// How far it has this peer's log.
    pub cursor: Option<Cursor>,
    /// Batches of which a part is staged.
    pub partials: Vec<Partial>,
    /// The set's first symbols, at most [`FIRST_SYMBOLS`]: of a smaller sketch all are zero beyond.
    pub symbols: Vec<Symbol>,
}

/// A batch that can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Which.
    pub batch: BatchRef,
    /// Its position in this store's log.
    pub position: u64,
    /// How urgent it is by itself.
    pub lane: Lane,
    /// About how long it is as it travels.
    pub bytes: u32,
    /// Others that hold what it builds on; they stand before it.
    pub needs: Vec<BatchId>,
}

/// What is to be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// What the log lists that the peer's cursor does not cover and that did not come from it.
    Since(Cursor),
    /// These.
    Items(Vec<SketchItem>),
    /// Those at these places of the set in ascending order of its items.
    Ranks(Vec<u64>),
}

/// A piece of a block that came.
#[derive(Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The first bytes of the batch's id, as the peer says.
    pub handle: [u8; 8],
    /// Its position in the peer's log, as the peer says.
    pub position: u64,
    /// Its lane.
    pub lane: Lane,
    /// Which block of the batch.
    pub part: u32,
    /// Where in the block this belongs.
    pub offset: u64,
    /// How long the block is.
    pub total: u64,
    /// Whether the batch is complete with this block.
    pub last: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Chunk {
    /// Whether its block ends with it.
    pub const fn ends_block(&self) -> bool {
        self.offset.saturating_add(self.bytes.len() as u64) >= self.total
    }
}

// The bytes hold patient data.
impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            position,
            part,
            offset,
            total,
            last,
            bytes,
            ..
        } = self;
        let to = offset + bytes.len() as u64;
        write!(
            f,
            "Chunk({position}:{part}, {offset}..{to} of {total}, {last})"
        )
    }
}

/// What a session asks of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Say what the store holds. Answered by [`Done::Looked`].
    Look {
        /// To whom.
        peer: DeviceKey,
        /// What keys the set.
        key: SketchKey,
    },
    /// Compute symbols of the set. Answered by [`Done::Symbols`].
    Symbols {
        /// What keys the set.
        key: SketchKey,
        /// The first place.
        from: usize,
        /// How many.
        count: usize,
    },
    /// Find the places of a peer's items in the peer's own set. Answered by [`Done::Ranked`].
    Rank {
        /// What keys the set.
        key: SketchKey,
        /// How the sets differ.
        difference: Difference,
    },
    /// List what can be sent, causes first. Answered by [`Done::Planned`].
    Plan {
        /// To whom.
        peer: DeviceKey,
        /// What keys the set.
        key: SketchKey,
        /// What is meant.
        ask: Ask,
    },
    /// Read a piece of a block. Answered by [`Done::Loaded`].
    Load {
        /// The batch.
        batch: BatchRef,
        /// Which block of it.
        part: u32,
        /// From where in the block.
        offset: u64,
        /// How many bytes at most.
        room: usize,
    },
    /// Keep a piece of a block, and the batch once it is whole: durable before it is answered, by
    /// [`Done::Stored`].
    Store {
        /// From whom.
        peer: DeviceKey,
        /// The first bytes of the epoch of the peer's log, which the piece's position is in.
        epoch: [u8; 8],
        /// The piece.
        chunk: Chunk,
    },
    /// Note that everything up to a position of the peer's log is here. Not answered.
    Reached {
        /// The peer.
        peer: DeviceKey,
        /// The first bytes of the log's epoch.
        epoch: [u8; 8],
        /// The position.
        position: u64,
    },
    /// Forget how far the peer's log is here: what it said does not add up. Not answered.
    Forget {
        /// The peer.
        peer: DeviceKey,
    },
    /// Sign a receipt for these batches, which are durable, and make it durable. Answered by
    /// [`Done::Signed`].
    Sign {
        /// Who sent them.
        peer: DeviceKey,
        /// The batches.
        batches: Vec<BatchRef>,
    },
    /// Keep a receipt that the peer signed. Not answered.
    Keep(Box<Receipt>),
    /// Keep a proof that a chain forked. Not answered.
    Evidence(Box<Equivocation>),
    /// Note the peer's credential, and whether it has ours. Not answered.
    Met {
        /// The peer.
        peer: DeviceKey,
        /// Its credential, where it came in this session.
        credential: Option<Vec<u8>>,
    },
}

/// A completed effect.
#[derive(Clone, PartialEq, Eq)]
pub enum Done {
    /// What the store holds.
    Looked(Box<Summary>),
    /// Symbols, as many as were asked for.
    Symbols(Vec<Symbol>),
    /// Places, ascending.
    Ranked(Vec<u64>),
    /// What can be sent.
    Planned(Vec<Offer>),
    /// A piece of a block.
    Loaded {
        /// How long the block is.
        total: u64,
        /// Whether the batch is complete with this block.
        last: bool,
        /// The bytes; a block of more than `room` bytes comes in several pieces.
        bytes: Vec<u8>,
    },
    /// The batch cannot be read here: it is left out, the session goes on.
    Unreadable,
    /// A piece is durable.
    Stored {
        /// The batch, where this made it whole.
        batch: Option<BatchRef>,
        /// Whether it was here before.
        duplicate: bool,
        /// Whether the peer still belongs to the workspace, by what has been delivered.
        welcome: bool,
        /// Proofs of forks that this brought to light.
        evidence: Vec<Vec<u8>>,
    },
    /// A piece is not what it says: the peer misbehaves.
    Rejected(&'static str),
    /// The store cannot take more now (a full disk): the session ends and can be resumed.
    Unavailable,
    /// A receipt.
    Signed(Box<Receipt>),
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Looked(_) => "Looked",
            Self::Symbols(_) => "Symbols",
            Self::Ranked(_) => "Ranked",
            Self::Planned(_) => "Planned",
            Self::Loaded { .. } => "Loaded(hidden)",
            Self::Unreadable => "Unreadable",
            Self::Stored { .. } => "Stored",
            Self::Rejected(_) => "Rejected",
            Self::Unavailable => "Unavailable",
            Self::Signed(_) => "Signed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_says_what_was_put_into_it(
            puts in prop::collection::vec((1u64..40, any::<bool>()), 0..40),
        ) {
            let mut cursor = Cursor::default();
            let mut model = std::collections::BTreeSet::new();
            for (position, reach) in puts {
                if reach && position % 5 == 0 {
                    cursor.reach(position);
                    model.extend(1..=position);
                } else {
                    cursor.insert(position);
                    model.insert(position);
                }
            }
            for position in 1..60 {
                prop_assert_eq!(cursor.has(position), model.contains(&position));
            }
            let apart = cursor.beyond.windows(2).all(|w| w[0].1 + 1 < w[1].0);
            prop_assert!(apart, "{:?}", cursor);
            prop_assert!(cursor.beyond.iter().all(|r| r.0 > cursor.upto + 1));
        }
    }
}
