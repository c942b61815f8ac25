//! The entries of a commit: what each of its leaves stands for.

use crate::error::{Error, Result};
use crate::ids::{ChainId, ChangeId, RECORD_ID_MAX, RecordId};
use crate::ledger::cbor::{Reader, encode};
use crate::ledger::merkle::Hash;
use std::fmt;

/// Longest change entry, in bytes.
pub const ENTRY_BYTES_MAX: usize = 16 * 1024;
/// Longest item, in bytes: a policy pack is one.
pub const ITEM_BYTES_MAX: usize = 1024 * 1024;
/// Longest entry of any type, in bytes.
pub const ANY_ENTRY_BYTES_MAX: usize = ITEM_BYTES_MAX + 64;
/// Most changes a `seen` names.
pub const SEEN_MAX: usize = 200;
/// Longest reason, in bytes.
pub const BECAUSE_BYTES_MAX: usize = 4096;
/// Longest name of an import's source, in bytes.
pub const SOURCE_BYTES_MAX: usize = 128;

/// The salt of items: what everybody may read needs none.
pub const NO_SALT: [u8; 32] = [0; 32];

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKind(pub u8);

impl ItemKind {
    /// A certificate.
    pub const CERTIFICATE: Self = Self(0);
    /// A revocation.
    pub const REVOCATION: Self = Self(1);
    /// A policy pack.
    pub const PACK: Self = Self(2);
    /// A vote for another authority.
    pub const ROTATION: Self = Self(3);
}

/// Which import a change came with.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportMark {
    /// The name the caller gives the source.
    pub source: String,
    /// What was imported, hashed.
    pub digest: [u8; 16],
}

/// One record's part of a commit.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangeEntry {
    /// The record.
    pub record: RecordId,
    /// The patient it belongs to.
    pub patient: Option<RecordId>,
    /// The version its author had in view, ascending; `None` when equal to the dependencies.
    pub seen: Option<Vec<ChangeId>>,
    /// The change.
    pub change: ChangeId,
    /// Why, in the author's words.
    pub because: Option<String>,
    /// The import it came with.
    pub source: Option<ImportMark>,
}

/// One entry of a commit.
#[derive(Clone, PartialEq, Eq)]
pub enum Entry {
    /// A change of a record.
    Change(ChangeEntry),
    /// A certificate, a revocation, a pack.
    Item {
        /// What it is.
        kind: ItemKind,
        /// The thing itself.
        bytes: Vec<u8>,
    },
    /// Of a newer engine: kept as it is, and marked as not understood.
    Unknown(Vec<u8>),
}

impl fmt::Debug for ImportMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImportMark(hidden)")
    }
}

impl fmt::Debug for ChangeEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeEntry")
            .field("record", &self.record)
            .field("change", &self.change)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(change) => change.fmt(f),
            Self::Item { kind, bytes } => write!(f, "Item({}, {} bytes)", kind.0, bytes.len()),
            Self::Unknown(bytes) => write!(f, "Unknown({} bytes)", bytes.len()),
        }
    }
}

const WHAT: &str = "a commit's entry is malformed";

impl Entry {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`Error::Integrity`] for anything but the one encoding of an entry within the limits.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes, ANY_ENTRY_BYTES_MAX, WHAT)?;
        let parts = r.list(16)?;
        match (parts, r.value::<u64>()?) {
            (7, 0) if bytes.len() <= ENTRY_BYTES_MAX => {
                let entry = ChangeEntry::read(&mut r)?;
                entry.check().map_err(|_| r.fault())?;
                r.end_as(&entry.write())?;
                Ok(Self::Change(entry))
            }
            (3, 1) => {
                let kind = ItemKind(r.value()?);
                let item = r.bytes(ITEM_BYTES_MAX)?;
                r.end_as(&write_item(kind, item))?;
                Ok(Self::Item {
                    kind,
                    bytes: item.to_vec(),
                })
            }
            (1.., 2..) if bytes.len() <= ENTRY_BYTES_MAX => {
                for _ in 1..parts {
                    r.skip()?;
                }
                r.end()?;
                Ok(Self::Unknown(bytes.to_vec()))
            }
            _ => Err(r.fault()),
        }
    }

    /// The entry's bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the limit that is exceeded.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        match self {
            Self::Change(change) => {
                change.check()?;
                Ok(change.write())
            }
            Self::Item { bytes, .. } if bytes.len() > ITEM_BYTES_MAX => {
                Err(Error::invalid_at("an item is too long", ITEM_BYTES_MAX))
            }
            Self::Item { kind, bytes } => Ok(write_item(*kind, bytes)),
            Self::Unknown(bytes) => Ok(bytes.clone()),
        }
    }
}

impl ChangeEntry {
    fn check(&self) -> Result<()> {
        let over = |what, max: usize| Err(Error::invalid_at(what, format!("at most {max}")));
        if let Some(seen) = &self.seen {
            if seen.len() > SEEN_MAX {
                return over("the version in view names too many changes", SEEN_MAX);
            }
            if !seen.is_sorted_by(|a, b| a < b) {
                return Err(Error::invalid("the version in view is not in order"));
            }
        }
        if self
            .because
            .as_ref()
            .is_some_and(|b| b.len() > BECAUSE_BYTES_MAX)
        {
            return over("a reason is too long, in bytes", BECAUSE_BYTES_MAX);
        }
        let source = self.source.as_ref().map(|s| s.source.len());
        if source.is_some_and(|len| !(1..=SOURCE_BYTES_MAX).contains(&len)) {
            return over(
                "the name of a source is empty or too long, in bytes",
                SOURCE_BYTES_MAX,
            );
        }
        Ok(())
    }

    fn write(&self) -> Vec<u8> {
        encode(|e| {
            e.array(7)?
                .u8(0)?
                .encode(&self.record)?
                .encode(&self.patient)?;
            match &self.seen {
                None => e.null()?,
                Some(seen) => e.encode(seen)?,
            };
            e.encode(self.change)?.encode(self.because.as_deref())?;
            match &self.source {
                None => e.null()?,
                Some(mark) => e.array(2)?.str(&mark.source)?.bytes(&mark.digest)?,
            };
            Ok(())
        })
    }

    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let name = record(r)?;
        let patient = r.optional(record)?;
        let seen = r.optional(|r| {
            let n = r.list(SEEN_MAX)?;
            (0..n).map(|_| r.value()).collect::<Result<Vec<ChangeId>>>()
        })?;
        let change = r.value()?;
        let because = r.optional(|r| r.text(BECAUSE_BYTES_MAX).map(str::to_owned))?;
        let source = r.optional(|r| {
            r.array(2)?;
            let source = r.text(SOURCE_BYTES_MAX)?.to_owned();
            Ok(ImportMark {
                source,
                digest: r.fixed()?,
            })
        })?;
        Ok(Self {
            record: name,
            patient,
            seen,
            change,
            because,
            source,
        })
    }
}

fn record(r: &mut Reader<'_>) -> Result<RecordId> {
    let text = r.text(RECORD_ID_MAX)?;
    text.parse().map_err(|_| r.fault())
}

fn write_item(kind: ItemKind, bytes: &[u8]) -> Vec<u8> {
    encode(|e| e.array(3)?.u8(1)?.u8(kind.0)?.bytes(bytes)?.ok())
}

/// Where an entry stands: `author || replica || seq || index`, numbers big-endian. Salts and seals
/// are bound to it.
pub(crate) fn place(chain: &ChainId, seq: u64, index: u32) -> [u8; 60] {
    let mut out = [0; 60];
    out[..32].copy_from_slice(&chain.author.0);
    out[32..48].copy_from_slice(&chain.replica.0);
    out[48..56].copy_from_slice(&seq.to_be_bytes());
    out[56..].copy_from_slice(&index.to_be_bytes());
    out
}

/// The salt of a change's leaf. Who lacks the data key cannot guess what a leaf stands for.
pub fn salt(data_key: &[u8; 32], chain: &ChainId, seq: u64, index: u32) -> [u8; 32] {
    *blake3::keyed_hash(data_key, &place(chain, seq, index)).as_bytes()
}

/// The leaf of an entry's bytes.
pub fn leaf(salt: &[u8; 32], bytes: &[u8]) -> Hash {
    *blake3::keyed_hash(salt, bytes).as_bytes()
}
