//! A commit as it is stored: its header, and its entries with their changes.

use crate::error::{Error, Result};
use crate::ids::{DataKeyId, RecordId};
use crate::ledger::commit::Header;
use crate::ledger::entry::{self, ChangeEntry, Entry, NO_SALT};
use crate::ledger::merkle::Hash;
use crate::ledger::wire::WireLeaf;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fmt;
use std::io;
use zstd::bulk::{Compressor, Decompressor};

const PLAIN: u8 = 1;
const ZSTD: u8 = 2;
/// Smaller ones the store compresses better, with what commits have in common.
const COMPRESS_FROM: usize = 16 << 10;
/// A commit of 4,096 entries of 256 KiB would be a gigabyte: one that large was never accepted.
const ROW_MAX: usize = 1 << 30;

/// What a leaf adds at most when it travels: hash, key, nonce, tag, lengths.
const LEAF_TRAVELS: usize = 160;

/// What packs rows and unpacks them.
struct Packer {
    pack: Compressor<'static>,
    unpack: Decompressor<'static>,
}

thread_local! {
    // To make one costs several times what it does to a small row.
    static PACKER: RefCell<Option<Packer>> = const { RefCell::new(None) };
}

fn with_packer<T>(job: impl FnOnce(&mut Packer) -> io::Result<T>) -> io::Result<T> {
    PACKER.with_borrow_mut(|kept| {
        let mut packer = match kept.take() {
            Some(packer) => packer,
            None => Packer {
                pack: Compressor::new(1)?,
                unpack: Decompressor::new()?,
            },
        };
        // One that failed is not used again.
        let done = job(&mut packer)?;
        *kept = Some(packer);
        Ok(done)
    })
}

/// One entry as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LeafRow {
    /// Only its hash.
    Withheld(Hash),
    /// An item: the entry's bytes.
    Item(Vec<u8>),
    /// A change under a data key that is not here yet.
    Sealed {
        key: DataKeyId,
        leaf: Hash,
        nonce: [u8; 24],
        body: Vec<u8>,
    },
    /// A change: the entry's bytes and the change's.
    Change {
        key: DataKeyId,
        entry: Vec<u8>,
        change: Vec<u8>,
    },
}

impl fmt::Debug for LeafRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Withheld(_) => "Withheld",
            Self::Item(_) => "Item(hidden)",
            Self::Sealed { .. } => "Sealed(hidden)",
            Self::Change { .. } => "Change(hidden)",
        })
    }
}

impl From<&WireLeaf> for LeafRow {
    fn from(leaf: &WireLeaf) -> Self {
        match leaf {
            WireLeaf::Withheld(hash) => Self::Withheld(*hash),
            WireLeaf::Item(bytes) => Self::Item(bytes.clone()),
            WireLeaf::Sealed {
                key,
                leaf,
                nonce,
                body,
            } => Self::Sealed {
                key: *key,
                leaf: *leaf,
                nonce: *nonce,
                body: body.clone(),
            },
        }
    }
}

impl LeafRow {
    /// The entry, where it is here.
    pub(crate) fn entry(&self) -> Result<Option<Entry>> {
        match self {
            Self::Item(bytes) | Self::Change { entry: bytes, .. } => Entry::parse(bytes).map(Some),
            Self::Withheld(_) | Self::Sealed { .. } => Ok(None),
        }
    }

    /// The change's entry and bytes, where they are here and understood.
    pub(crate) fn change(&self) -> Result<Option<(ChangeEntry, &[u8])>> {
        let Self::Change { entry, change, .. } = self else {
            return Ok(None);
        };
        Ok(match Entry::parse(entry)? {
            Entry::Change(entry) => Some((entry, change)),
            // Of a newer engine: no change that this one knows.
            _ => None,
        })
    }

    /// The leaf's hash in the commit's tree.
    pub(crate) fn hash(
        &self,
        header: &Header,
        index: usize,
        data_key: &dyn Fn(&DataKeyId) -> Result<[u8; 32]>,
    ) -> Result<Hash> {
        Ok(match self {
            Self::Withheld(leaf) | Self::Sealed { leaf, .. } => *leaf,
            Self::Item(bytes) => entry::leaf(&NO_SALT, bytes),
            Self::Change { key, entry, .. } => {
                let fields = header.fields();
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                let salt = entry::salt(&data_key(key)?, &fields.chain, fields.seq, index);
                entry::leaf(&salt, entry)
            }
        })
    }
}

/// A stored commit.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommitRow {
    pub(crate) header: Vec<u8>,
    pub(crate) leaves: Vec<LeafRow>,
}

impl CommitRow {
    /// The header, as it was signed.
    pub(crate) fn header(&self) -> Result<Header> {
        Header::parse(&self.header)
    }

    /// About how many bytes its entries are as they travel: not compressed, each sealed by itself.
    pub(crate) fn travels(&self) -> usize {
        let size = |leaf: &LeafRow| match leaf {
            LeafRow::Withheld(hash) => hash.len(),
            LeafRow::Item(bytes) => bytes.len(),
            LeafRow::Sealed { body, .. } => body.len(),
            LeafRow::Change { entry, change, .. } => entry.len() + change.len(),
        };
        let sizes = self.leaves.iter().map(|leaf| size(leaf) + LEAF_TRAVELS);
        sizes.sum()
    }

    /// Whether certificates, revocations or packs are among its entries.
    pub(crate) fn has_items(&self) -> bool {
        let item = |leaf: &LeafRow| matches!(leaf, LeafRow::Item(_));
        self.leaves.iter().any(item)
    }

    /// Whether no entry was withheld.
    pub(crate) fn is_whole(&self) -> bool {
        let withheld = |leaf: &LeafRow| matches!(leaf, LeafRow::Withheld(_));
        !self.leaves.iter().any(withheld)
    }

    /// Whether nothing else is.
    pub(crate) fn only_items(&self) -> bool {
        let item = |leaf: &LeafRow| matches!(leaf, LeafRow::Item(_));
        self.leaves.iter().all(item)
    }

    /// The row's bytes: compressed where that pays.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let plain = postcard::to_allocvec(self).expect("a row has no maps of unknown length");
        if plain.len() >= COMPRESS_FROM
            && let Ok(packed) = with_packer(|p| p.pack.compress(&plain))
        {
            let len = u32::try_from(plain.len()).unwrap_or(u32::MAX).to_le_bytes();
            if packed.len() + 5 < plain.len() {
                return [&[ZSTD][..], &len, &packed].concat();
            }
        }
        [&[PLAIN][..], &plain].concat()
    }

    /// Reads a row.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        const BAD: Error = Error::integrity("a commit's row is damaged");
        let (format, rest) = bytes.split_first().ok_or(BAD)?;
        let unpacked;
        let plain = match *format {
            PLAIN => rest,
            ZSTD => {
                let (len, packed) = rest.split_first_chunk::<4>().ok_or(BAD)?;
                let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| BAD)?;
                let most = len.min(ROW_MAX);
                unpacked = with_packer(|p| p.unpack.decompress(packed, most)).map_err(|_| BAD)?;
                &unpacked
            }
            found => {
                let what = "a commit's row";
                return Err(Error::TooNew {
                    what,
                    found: found.into(),
                    known: ZSTD.into(),
                });
            }
        };
        postcard::from_bytes(plain).map_err(|_| BAD)
    }

    /// The change of one record.
    pub(crate) fn change_of(&self, record: &RecordId) -> Result<Option<(ChangeEntry, &[u8])>> {
        for leaf in &self.leaves {
            if let Some((entry, change)) = leaf.change()?
                && entry.record == *record
            {
                return Ok(Some((entry, change)));
            }
        }
        Ok(None)
    }
}
