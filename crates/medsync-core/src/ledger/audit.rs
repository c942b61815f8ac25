//! The audit log: who did what on a device, and when; each entry chained to the one before it.
//!
//! Entries are not signed one by one: a [`Head`] signs the chain up to one of them with the
//! device's key. What an entry is about is a commit's id, or the root of salted leaves: so a log
//! proves itself without its names, and stays whole when a patient's data key is destroyed.

use crate::crypto::sign::{Signature, SigningKey, verify};
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, CommitId, DeviceKey, RECORD_ID_MAX, RecordId, ReplicaId, WorkspaceId};
use crate::ledger::cbor::{Reader, What, encode};
use crate::ledger::merkle::{self, Hash};
use crate::time::Timestamp;
use std::fmt;

/// The format of entries and heads.
pub const AUDIT_FORMAT: u32 = 1;
/// What a head is signed as.
pub const HEAD_CONTEXT: &str = "medsync v1 audit head";
/// Longest entry, in bytes.
pub const EVENT_BYTES_MAX: usize = 160;
/// Longest head, in bytes, without its signature.
pub const HEAD_BYTES_MAX: usize = 256;
/// Longest detail, in bytes.
pub const DETAIL_BYTES_MAX: usize = 8 * 1024;
/// Longest text of a detail, in bytes.
pub const DETAIL_TEXT_MAX: usize = 4096;
/// Most details of an entry.
pub const DETAILS_MAX: usize = 4096;

const ENTRY: &str = "medsync v1 audit entry";
const START: &str = "medsync v1 audit log";
const SALT: &str = "medsync v1 audit salt";

/// A log: one device's, in one incarnation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct LogId {
    /// The device.
    pub device: DeviceKey,
    /// Its incarnation.
    pub replica: ReplicaId,
}

impl LogId {
    /// What the first entry is chained to: no entry fits into another device's log.
    pub fn start(&self) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key(START);
        hasher.update(&self.device.0).update(&self.replica.0);
        *hasher.finalize().as_bytes()
    }
}

/// What was done. A number that no name stands for comes from a newer engine and is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action(pub u8);

impl Action {
    /// The vault was opened, with nobody's key.
    pub const OPEN: Self = Self(1);
    /// A person's key was unlocked, or was not.
    pub const UNLOCK: Self = Self(2);
    /// A person left.
    pub const LEAVE: Self = Self(3);
    /// Records were read.
    pub const READ: Self = Self(4);
    /// Records were searched for or listed.
    pub const SEARCH: Self = Self(5);
    /// Records were changed.
    pub const CHANGE: Self = Self(6);
    /// Records were imported.
    pub const IMPORT: Self = Self(7);
    /// A question was decided.
    pub const DECIDE: Self = Self(8);
    /// People or devices were admitted.
    pub const ADMIT: Self = Self(9);
    /// A person or device was revoked.
    pub const REVOKE: Self = Self(10);
    /// A policy pack was put into force.
    pub const PACK: Self = Self(11);
    /// Records left the vault in clear.
    pub const EXPORT: Self = Self(12);
    /// The vault met others over a folder.
    pub const EXCHANGE: Self = Self(13);
    /// Somebody read in an emergency, without their own key.
    pub const BREAK_GLASS: Self = Self(14);
    /// Somebody looked into such an emergency.
    pub const ACKNOWLEDGE: Self = Self(15);
    /// The log itself was given away.
    pub const PROVE: Self = Self(16);

    /// Its name in lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OPEN => "open",
            Self::UNLOCK => "unlock",
            Self::LEAVE => "leave",
            Self::READ => "read",
            Self::SEARCH => "search",
            Self::CHANGE => "change",
            Self::IMPORT => "import",
            Self::DECIDE => "decide",
            Self::ADMIT => "admit",
            Self::REVOKE => "revoke",
            Self::PACK => "pack",
            Self::EXPORT => "export",
            Self::EXCHANGE => "exchange",
            Self::BREAK_GLASS => "break-glass",
            Self::ACKNOWLEDGE => "acknowledge",
            Self::PROVE => "prove",
            _ => "of a newer medsync",
        }
    }
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// Whoever opened the vault: nobody's own key was unlocked.
    Nobody,
    /// A person, by their key.
    Person(AuthorKey),
    /// Whoever broke the glass in this entry of the log.
    Emergency(u64),
}

/// What it was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Nothing in particular.
    Nothing,
    /// A commit of the actor on this replica, by its place and id.
    Commit(u64, CommitId),
    /// What the details say, by the root of their leaves.
    Details(Hash),
}

/// One entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditEvent {
    /// Its place, from 1.
    pub seq: u64,
    /// When; never before the entry before it.
    pub hlc: Timestamp,
    /// What was done.
    pub action: Action,
    /// Whether it was done, or only tried.
    pub done: bool,
    /// Who did it.
    pub actor: Actor,
    /// What it was done to.
    pub subject: Subject,
}

impl AuditEvent {
    /// The bytes that are chained.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(|e| {
            e.array(7)?.u32(AUDIT_FORMAT)?.u64(self.seq)?;
            e.i64(self.hlc.0)?.u8(self.action.0)?.bool(self.done)?;
            match &self.actor {
                Actor::Nobody => e.null()?,
                Actor::Person(key) => e.bytes(&key.0)?,
                Actor::Emergency(seq) => e.u64(*seq)?,
            };
            match &self.subject {
                Subject::Nothing => e.null()?.ok(),
                Subject::Commit(seq, id) => e.array(2)?.u64(*seq)?.bytes(&id.0)?.ok(),
                Subject::Details(root) => e.bytes(root)?.ok(),
            }
        })
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`Error::Integrity`] for anything but the one form of an entry, [`Error::TooNew`] for a
    /// newer format.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(
            bytes,
            EVENT_BYTES_MAX,
            "an entry of an audit log is malformed",
        )?;
        r.array(7)?;
        r.format(AUDIT_FORMAT)?;
        let event = Self {
            seq: r.value()?,
            hlc: Timestamp(r.value()?),
            action: Action(r.value()?),
            done: r.value()?,
            actor: match r.what()? {
                What::Null => Actor::Nobody,
                What::Number => Actor::Emergency(r.value()?),
                _ => Actor::Person(r.value()?),
            },
            subject: match r.what()? {
                What::Null => Subject::Nothing,
                What::List => {
                    r.array(2)?;
                    Subject::Commit(r.value()?, r.value()?)
                }
                _ => Subject::Details(r.fixed()?),
            },
        };
        if event.seq == 0 || event.hlc.0 < 0 {
            return Err(r.fault());
        }
        r.end_as(&event.to_bytes())?;
        Ok(event)
    }

    /// The chain's hash after this entry.
    pub fn chain(before: &Hash, bytes: &[u8]) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key(ENTRY);
        hasher.update(before).update(bytes);
        *hasher.finalize().as_bytes()
    }
}

/// One thing an entry is about.
#[derive(Clone, PartialEq, Eq)]
pub enum Detail {
    /// A record, the version that was in view as far as it was known, and how many times.
    Record {
        /// The record.
        record: RecordId,
        /// The first bytes of the hash of its heads.
        version: Option<[u8; 16]>,
        /// How many times.
        times: u64,
    },
    /// A text under a name: a search, a reason, a place.
    Text(String, String),
    /// A number under a name.
    Count(String, u64),
    /// Of a newer engine.
    Unknown(Vec<u8>),
}

// Records and texts are patients' data.
impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { record, times, .. } => write!(f, "Record({record:?}, {times})"),
            Self::Text(name, _) => write!(f, "Text({name}, ..)"),
            Self::Count(name, count) => write!(f, "Count({name}, {count})"),
            Self::Unknown(_) => f.write_str("Unknown(..)"),
        }
    }
}

impl Detail {
    /// The record it names.
    pub const fn record(&self) -> Option<&RecordId> {
        match self {
            Self::Record { record, .. } => Some(record),
            _ => None,
        }
    }

    /// The bytes of its leaf; texts are cut to their limit.
    pub fn to_bytes(&self) -> Vec<u8> {
        let cut = |text: &str, max: usize| -> String {
            let end = (0..=max.min(text.len()))
                .rev()
                .find(|i| text.is_char_boundary(*i));
            text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
        };
        match self {
            Self::Record {
                record,
                version,
                times,
            } => encode(|e| {
                e.array(4)?.u8(0)?.str(record.as_str())?;
                match version {
                    Some(version) => e.bytes(version)?,
                    None => e.null()?,
                };
                e.u64(*times)?.ok()
            }),
            Self::Text(name, text) => encode(|e| {
                let (name, text) = (cut(name, RECORD_ID_MAX), cut(text, DETAIL_TEXT_MAX));
                e.array(3)?.u8(1)?.str(&name)?.str(&text)?.ok()
            }),
            Self::Count(name, count) => encode(|e| {
                let name = cut(name, RECORD_ID_MAX);
                e.array(3)?.u8(2)?.str(&name)?.u64(*count)?.ok()
            }),
            Self::Unknown(bytes) => bytes.clone(),
        }
    }

    /// Reads a leaf's bytes.
    ///
    /// # Errors
    /// [`Error::Integrity`] for anything but the one form of a detail.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(
            bytes,
            DETAIL_BYTES_MAX,
            "a detail of an audit log is malformed",
        )?;
        let items = r.list(16)?;
        let kind: u64 = r.value()?;
        let detail = match (kind, items) {
            (0, 4) => Self::Record {
                record: r.value()?,
                version: r.optional(Reader::fixed)?,
                times: r.value()?,
            },
            (1, 3) => {
                let name = r.text(RECORD_ID_MAX)?.to_owned();
                Self::Text(name, r.text(DETAIL_TEXT_MAX)?.to_owned())
            }
            (2, 3) => Self::Count(r.text(RECORD_ID_MAX)?.to_owned(), r.value()?),
            (0..=2, _) => return Err(r.fault()),
            _ => return Ok(Self::Unknown(bytes.to_vec())),
        };
        r.end_as(&detail.to_bytes())?;
        Ok(detail)
    }
}

/// The salt of a detail, from the data key of whom it is about.
pub fn salt(data_key: &[u8; 32], log: &LogId, seq: u64, index: u32) -> [u8; 32] {
    let key = zeroize::Zeroizing::new(blake3::derive_key(SALT, data_key));
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&log.device.0).update(&log.replica.0);
    hasher
        .update(&seq.to_be_bytes())
        .update(&index.to_be_bytes());
    *hasher.finalize().as_bytes()
}

/// The root over an entry's leaves.
pub fn root(leaves: &[Hash]) -> Hash {
    merkle::root(leaves)
}

/// What a device says its log is, up to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeadTerms {
    /// The workspace; `None` before the device joined one.
    pub workspace: Option<WorkspaceId>,
    /// The log.
    pub log: LogId,
    /// The last entry that is covered.
    pub seq: u64,
    /// The chain's hash after it.
    pub hash: Hash,
    /// When it was signed.
    pub hlc: Timestamp,
}

/// A head whose device signed it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    terms: HeadTerms,
    signature: Signature,
}

impl HeadTerms {
    fn to_bytes(self) -> Vec<u8> {
        encode(|e| {
            e.array(7)?.u32(AUDIT_FORMAT)?;
            match &self.workspace {
                Some(id) => e.bytes(&id.0)?,
                None => e.null()?,
            };
            e.bytes(&self.log.device.0)?.bytes(&self.log.replica.0)?;
            e.u64(self.seq)?.bytes(&self.hash)?.i64(self.hlc.0)?.ok()
        })
    }
}

impl Head {
    /// Signs the log of the device whose key it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another device's.
    pub fn sign(key: &SigningKey, terms: HeadTerms) -> Result<Self> {
        if key.public() != terms.log.device.0 {
            return Err(Error::invalid("only the device itself signs its audit log"));
        }
        let signature = key.sign(HEAD_CONTEXT, &terms.to_bytes());
        Ok(Self { terms, signature })
    }

    /// Reads a head and checks its signature.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a malformed one or one that its device did not sign.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let (terms, signature, body) = Self::claims(bytes)?;
        verify(&terms.log.device.0, HEAD_CONTEXT, body, signature)?;
        Ok(Self {
            terms,
            signature: *signature,
        })
    }

    /// What a head claims to be, its signature, and what that is over.
    pub(crate) fn claims(bytes: &[u8]) -> Result<(HeadTerms, &Signature, &[u8])> {
        const WHAT: &str = "a head of an audit log is malformed";
        let (signature, body) = bytes
            .split_first_chunk::<64>()
            .ok_or(Error::integrity(WHAT))?;
        let mut r = Reader::new(body, HEAD_BYTES_MAX, WHAT)?;
        r.array(7)?;
        r.format(AUDIT_FORMAT)?;
        let terms = HeadTerms {
            workspace: r.optional(Reader::value)?,
            log: LogId {
                device: r.value()?,
                replica: r.value()?,
            },
            seq: r.value()?,
            hash: r.fixed()?,
            hlc: Timestamp(r.value()?),
        };
        r.end_as(&terms.to_bytes())?;
        Ok((terms, signature, body))
    }

    /// Signature, then what was signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.signature[..], &self.terms.to_bytes()].concat()
    }

    /// What it says.
    pub const fn terms(&self) -> &HeadTerms {
        &self.terms
    }
}
