//! Receipts: a device's signed word that it holds batches durably. Chained, a log of their own.

use crate::crypto::sign::{Signature, SigningKey};
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, BatchId, ChainId, DeviceKey, ReplicaId, WorkspaceId};
use crate::ledger::cose::{self, Statement, claim};
use crate::ledger::merkle;
use crate::time::Timestamp;
use coset::cbor::value::Value;
use std::collections::BTreeMap;

/// What a receipt is signed as.
pub const RECEIPT_CONTEXT: &str = "medsync v1 receipt";
/// Longest receipt, in bytes.
pub const RECEIPT_BYTES_MAX: usize = 128 * 1024;
/// Most ranges of commits that a receipt names.
pub const RANGES_MAX: usize = 1024;

const WHAT: &str = "a receipt is malformed";

/// What the receiver did with the batches before it signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// They are durable.
    Stored,
    /// And their changes passed the gate.
    Validated,
    /// And a person has seen them.
    Reviewed,
}

impl Level {
    /// Its number in a receipt.
    pub const fn code(self) -> u8 {
        match self {
            Self::Stored => 1,
            Self::Validated => 2,
            Self::Reviewed => 3,
        }
    }

    /// From its number; `None` for a level of a newer engine.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Stored),
            2 => Some(Self::Validated),
            3 => Some(Self::Reviewed),
            _ => None,
        }
    }
}

/// Which batch: its name and the commits it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchRef {
    /// Author and replica.
    pub chain: ChainId,
    /// Place of the first commit.
    pub first: u64,
    /// Place of the last commit.
    pub last: u64,
    /// The batch.
    pub id: BatchId,
}

/// Commits by chain: ranges of places, ascending, apart from each other.
pub type Ranges = BTreeMap<ChainId, Vec<(u64, u64)>>;

/// What a receipt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptTerms {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Who holds the batches.
    pub receiver: DeviceKey,
    /// From whom they came.
    pub sender: DeviceKey,
    /// The epoch of the receiver's store: in another one the receipt proves nothing.
    pub epoch: [u8; 16],
    /// The commits.
    pub ranges: Ranges,
    /// The root over the batches' ids, ascending.
    pub root: [u8; 32],
    /// What was done with them.
    pub level: Level,
    /// When.
    pub issued: Timestamp,
    /// The hash of the receiver's receipt before it; zeros for the first.
    pub previous: [u8; 32],
}

impl ReceiptTerms {
    /// The ranges and the root of these batches.
    pub fn cover(batches: &[BatchRef]) -> (Ranges, [u8; 32]) {
        let mut sorted = batches.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut ranges = Ranges::new();
        for batch in &sorted {
            let ranges = ranges.entry(batch.chain).or_default();
            match ranges.last_mut() {
                Some((_, last)) if batch.first <= last.saturating_add(1) => {
                    *last = batch.last.max(*last);
                }
                _ => ranges.push((batch.first, batch.last)),
            }
        }
        let mut ids: Vec<[u8; 32]> = sorted.iter().map(|batch| batch.id.0).collect();
        ids.sort_unstable();
        (ranges, merkle::root(&ids))
    }

    fn statement(&self) -> Result<Statement> {
        let ranges = self.ranges.iter();
        let ranges = ranges.flat_map(|(chain, ranges)| ranges.iter().map(move |r| (chain, r)));
        let ranges: Vec<Value> = ranges
            .map(|(chain, (first, last))| {
                Value::Array(vec![
                    Value::Bytes(chain.author.0.to_vec()),
                    Value::Bytes(chain.replica.0.to_vec()),
                    (*first).into(),
                    (*last).into(),
                ])
            })
            .collect();
        if ranges.len() > RANGES_MAX {
            return Err(Error::invalid_at(
                "a receipt names too many ranges",
                RANGES_MAX,
            ));
        }
        let more = BTreeMap::from([
            (claim::EPOCH, Value::Bytes(self.epoch.to_vec())),
            (claim::RANGES, Value::Array(ranges)),
            (claim::ROOT, Value::Bytes(self.root.to_vec())),
            (claim::LEVEL, self.level.code().into()),
            (claim::PREVIOUS, Value::Bytes(self.previous.to_vec())),
        ]);
        Ok(Statement {
            issuer: self.receiver.0,
            subject: self.sender.0,
            workspace: self.workspace,
            issued: self.issued,
            expires_ms: None,
            more,
        })
    }
}

/// A receipt that the device it names signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    bytes: Box<[u8]>,
    terms: ReceiptTerms,
}

impl Receipt {
    /// Signs a receipt. Only for what is durable.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too many ranges, or a key that is not the receiver's.
    pub fn issue(key: &SigningKey, terms: &ReceiptTerms) -> Result<Self> {
        if key.public() != terms.receiver.0 {
            return Err(Error::invalid("only the receiver signs a receipt"));
        }
        Self::parse(&cose::sign(key, RECEIPT_CONTEXT, terms.statement()?)?)
    }

    /// The receipt of these terms with its signature: on the wire nothing else travels that both
    /// sides know.
    ///
    /// # Errors
    /// [`Error::Integrity`] when the receiver did not sign these terms.
    pub fn assemble(terms: &ReceiptTerms, signature: &Signature) -> Result<Self> {
        Self::parse(&cose::assemble(&terms.statement()?, signature)?)
    }

    /// Reads a receipt and checks its signature.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a malformed one or one that the receiver did not sign.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut said = cose::open(bytes, RECEIPT_CONTEXT, RECEIPT_BYTES_MAX, WHAT)?;
        let terms = read_terms(&mut said).ok_or(Error::integrity(WHAT))?;
        Ok(Self {
            bytes: bytes.into(),
            terms,
        })
    }

    /// The bytes that are kept and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says.
    pub const fn terms(&self) -> &ReceiptTerms {
        &self.terms
    }

    /// What the next receipt of the same receiver names as the one before it.
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key("medsync v1 receipt id", &self.bytes)
    }

    /// The signature alone.
    pub fn signature(&self) -> Signature {
        cose::signature(&self.bytes).expect("a receipt was read with its signature")
    }
}

fn fixed<const N: usize>(said: &mut Statement, key: i64) -> Option<[u8; N]> {
    let bytes = said.more.remove(&key)?.into_bytes().ok()?;
    bytes.as_slice().try_into().ok()
}

fn read_terms(said: &mut Statement) -> Option<ReceiptTerms> {
    let listed = said.array(claim::RANGES)?;
    if listed.len() > RANGES_MAX {
        return None;
    }
    let mut ranges = Ranges::new();
    let mut before = None;
    for value in &listed {
        let (chain, first, last) = range(value)?;
        let apart = match before {
            None => true,
            Some((c, l)) if c == chain => first > u64::saturating_add(l, 1),
            Some((c, _)) => chain > c,
        };
        if !apart || first < 1 || last < first {
            return None;
        }
        before = Some((chain, last));
        ranges.entry(chain).or_default().push((first, last));
    }
    Some(ReceiptTerms {
        workspace: said.workspace,
        receiver: DeviceKey(said.issuer),
        sender: DeviceKey(said.subject),
        epoch: fixed(said, claim::EPOCH)?,
        ranges,
        root: fixed(said, claim::ROOT)?,
        level: Level::from_code(said.number(claim::LEVEL)?)?,
        issued: said.issued,
        previous: fixed(said, claim::PREVIOUS)?,
    })
}

/// `[author, replica, first, last]`.
fn range(value: &Value) -> Option<(ChainId, u64, u64)> {
    let [author, replica, first, last] = value.as_array()?.as_slice() else {
        return None;
    };
    let chain = ChainId {
        author: AuthorKey::from_slice(author.as_bytes()?).ok()?,
        replica: ReplicaId::from_slice(replica.as_bytes()?).ok()?,
    };
    let first = first.as_integer()?.try_into().ok()?;
    Some((chain, first, last.as_integer()?.try_into().ok()?))
}
