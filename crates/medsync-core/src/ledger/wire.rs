//! The sealed form of a batch: what lies in exchange folders, backups and a hub's segments.

use crate::env::Env;
use crate::error::{Error, Result};
use crate::ids::DataKeyId;
use crate::ledger::batch::{
    BATCH_ENTRIES_MAX, BATCH_HEADER_BYTES_MAX, COMMITS_MAX, SignedHeader, VerifiedRun,
};
use crate::ledger::cbor::{Reader, encode};
use crate::ledger::commit::{Commit, ENTRIES_MAX, HEADER_BYTES_MAX, Header};
use crate::ledger::entry::{self, ANY_ENTRY_BYTES_MAX, ENTRY_BYTES_MAX, Entry, NO_SALT};
use crate::ledger::merkle::{self, Hash};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use std::fmt;
use zeroize::Zeroizing;

/// Format of a sealed batch.
pub const SEALED_FORMAT: u32 = 1;
/// Longest sealed batch, in bytes.
pub const SEALED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest change, in bytes.
pub const CHANGE_BYTES_MAX: usize = 1024 * 1024;
/// Longest sealed body, in bytes.
pub const BODY_BYTES_MAX: usize = CHANGE_BYTES_MAX + ENTRY_BYTES_MAX + 64;

const WHAT: &str = "a sealed batch is malformed";
const LEAF_KEY: &str = "medsync v1 sealed leaf";

/// A leaf as it travels.
#[derive(Clone, PartialEq, Eq)]
pub enum WireLeaf {
    /// Only its hash: the entry is not for the receiver.
    Withheld(Hash),
    /// An item, which everybody may read: the entry's bytes.
    Item(Vec<u8>),
    /// A change, sealed under a data key.
    Sealed {
        /// Which data key.
        key: DataKeyId,
        /// The leaf's hash, so that who lacks the key can still verify the commit.
        leaf: Hash,
        /// The nonce.
        nonce: [u8; 24],
        /// `[entry bytes, change bytes]`, sealed.
        body: Vec<u8>,
    },
}

impl fmt::Debug for WireLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withheld(_) => f.write_str("Withheld"),
            Self::Item(bytes) => write!(f, "Item({} bytes)", bytes.len()),
            Self::Sealed { key, body, .. } => write!(f, "Sealed({key:?}, {} bytes)", body.len()),
        }
    }
}

impl WireLeaf {
    /// Its hash in the commit's tree. That of a sealed leaf is a claim until it is opened.
    pub fn hash(&self) -> Hash {
        match self {
            Self::Withheld(leaf) | Self::Sealed { leaf, .. } => *leaf,
            Self::Item(bytes) => entry::leaf(&NO_SALT, bytes),
        }
    }
}

/// Seals one change of a commit under a data key.
///
/// # Errors
/// [`Error::Invalid`] when the commit has no such entry, the entry is an item, the data key is
/// not the one it was salted with, or the change is too long.
pub fn seal_leaf(
    env: &dyn Env,
    commit: &Commit,
    index: u32,
    key: DataKeyId,
    data_key: &[u8; 32],
    change: &[u8],
) -> Result<WireLeaf> {
    let fields = commit.header.fields();
    let sealable = usize::try_from(index)
        .ok()
        .and_then(|i| commit.entries.get(i));
    let Some(sealable) = sealable else {
        return Err(Error::invalid("a commit has no such entry"));
    };
    if change.len() > CHANGE_BYTES_MAX || sealable.bytes.len() > ENTRY_BYTES_MAX {
        return Err(Error::invalid_at("a change is too long", CHANGE_BYTES_MAX));
    }
    let salt = entry::salt(data_key, &fields.chain, fields.seq, index);
    if entry::leaf(&salt, &sealable.bytes) != sealable.leaf {
        return Err(Error::invalid(
            "an entry is sealed with the data key it was salted with",
        ));
    }
    let plain = Zeroizing::new(encode(|e| {
        e.array(2)?.bytes(&sealable.bytes)?.bytes(change)?.ok()
    }));
    let mut nonce = [0; 24];
    env.fill(&mut nonce);
    let place = entry::place(&fields.chain, fields.seq, index);
    let body = cipher(data_key)
        .encrypt(
            &XNonce::from(nonce),
            Payload {
                msg: &plain,
                aad: &place,
            },
        )
        .map_err(|_| Error::invalid("a change is too long to be sealed"))?;
    Ok(WireLeaf::Sealed {
        key,
        leaf: sealable.leaf,
        nonce,
        body,
    })
}

fn cipher(data_key: &[u8; 32]) -> XChaCha20Poly1305 {
    // The data key itself keys the salts; one key has one use.
    let key = Zeroizing::new(blake3::derive_key(LEAF_KEY, data_key));
    XChaCha20Poly1305::new((&*key).into())
}

/// Unseals the change at a place of a commit.
///
/// # Errors
/// [`Error::NotFound`] where nothing is sealed; [`Error::Integrity`] when the seal is broken,
/// the data key is another, or what it holds is not what was committed.
pub fn open_leaf(
    header: &Header,
    index: u32,
    leaf: &WireLeaf,
    data_key: &[u8; 32],
) -> Result<OpenedLeaf> {
    let WireLeaf::Sealed {
        leaf, nonce, body, ..
    } = leaf
    else {
        return Err(Error::NotFound("sealed entry here"));
    };
    let (chain, seq) = (&header.fields().chain, header.fields().seq);
    let aad = entry::place(chain, seq, index);
    let plain = cipher(data_key)
        .decrypt(
            &XNonce::from(*nonce),
            Payload {
                msg: body,
                aad: &aad,
            },
        )
        .map_err(|_| Error::integrity("a sealed change is damaged or of another data key"))?;
    let plain = Zeroizing::new(plain);
    let mut r = Reader::new(&plain, BODY_BYTES_MAX, "a sealed change is malformed")?;
    r.array(2)?;
    let (bytes, change) = (r.bytes(ENTRY_BYTES_MAX)?, r.bytes(CHANGE_BYTES_MAX)?);
    r.end()?;
    let salt = entry::salt(data_key, chain, seq, index);
    if entry::leaf(&salt, bytes) != *leaf {
        return Err(Error::integrity(
            "a sealed change is not what was committed",
        ));
    }
    match Entry::parse(bytes)? {
        Entry::Item { .. } => Err(Error::integrity("an item travels under a seal")),
        entry => Ok(OpenedLeaf {
            entry,
            entry_bytes: bytes.to_vec(),
            change: change.to_vec(),
        }),
    }
}

/// A commit as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireCommit {
    /// The header's bytes.
    pub header: Vec<u8>,
    /// Every leaf, in order.
    pub leaves: Vec<WireLeaf>,
}

/// A batch as it travels. Not verified: it may say anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBatch {
    /// The signed header.
    pub signed: SignedHeader,
    /// Every commit, in order.
    pub commits: Vec<WireCommit>,
}

impl SealedBatch {
    /// The bytes to send or to store.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they are more than [`SEALED_BYTES_MAX`]: seal shorter runs.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes = self.write();
        if bytes.len() > SEALED_BYTES_MAX {
            return Err(Error::invalid_at(
                "a sealed batch is too long",
                SEALED_BYTES_MAX,
            ));
        }
        Ok(bytes)
    }

    fn write(&self) -> Vec<u8> {
        encode(|e| {
            e.array(4)?.u32(SEALED_FORMAT)?;
            e.bytes(&self.signed.header)?
                .bytes(&self.signed.signature)?;
            e.array(self.commits.len() as u64)?;
            for commit in &self.commits {
                e.array(2)?
                    .bytes(&commit.header)?
                    .array(commit.leaves.len() as u64)?;
                for leaf in &commit.leaves {
                    match leaf {
                        WireLeaf::Withheld(hash) => e.array(2)?.u8(0)?.bytes(hash)?,
                        WireLeaf::Item(bytes) => e.array(2)?.u8(1)?.bytes(bytes)?,
                        WireLeaf::Sealed {
                            key,
                            leaf,
                            nonce,
                            body,
                        } => e
                            .array(5)?
                            .u8(2)?
                            .encode(key)?
                            .bytes(leaf)?
                            .bytes(nonce)?
                            .bytes(body)?,
                    };
                }
            }
            Ok(())
        })
    }

    /// Reads a batch within the limits, without judging it.
    ///
    /// # Errors
    /// [`Error::Integrity`] for malformed bytes, [`Error::TooNew`] for a newer format.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes, SEALED_BYTES_MAX, WHAT)?;
        r.array(4)?;
        r.format(SEALED_FORMAT)?;
        let header = r.bytes(BATCH_HEADER_BYTES_MAX)?.to_vec();
        let signature = r.fixed()?;
        let count = r.list(COMMITS_MAX)?;
        let mut room = BATCH_ENTRIES_MAX;
        let commits = (0..count)
            .map(|_| read_commit(&mut r, &mut room))
            .collect::<Result<Vec<_>>>()?;
        r.end()?;
        Ok(Self {
            signed: SignedHeader { header, signature },
            commits,
        })
    }

    /// Verifies signature, chain, and every commit's leaves against its root.
    ///
    /// # Errors
    /// [`Error::Integrity`] says what contradicts what.
    pub fn verify(self) -> Result<VerifiedBatch> {
        let parse = |c: &WireCommit| Header::parse(&c.header);
        let headers = self.commits.iter().map(parse).collect::<Result<Vec<_>>>()?;
        let run = self.signed.verify(headers)?;
        let leaves: Vec<_> = self.commits.into_iter().map(|c| c.leaves).collect();
        for (header, leaves) in run.headers().iter().zip(&leaves) {
            check_leaves(header, leaves)?;
        }
        Ok(VerifiedBatch { run, leaves })
    }
}

fn check_leaves(header: &Header, leaves: &[WireLeaf]) -> Result<()> {
    let fields = header.fields();
    if usize::try_from(fields.count).ok() != Some(leaves.len()) {
        return Err(Error::integrity_at(
            "a commit has other entries than it says",
            fields.seq,
        ));
    }
    let hashes: Vec<Hash> = leaves.iter().map(WireLeaf::hash).collect();
    if merkle::root(&hashes) != fields.root {
        return Err(Error::integrity_at(
            "entries do not belong to their commit",
            fields.seq,
        ));
    }
    Ok(())
}

fn read_commit(r: &mut Reader<'_>, room: &mut usize) -> Result<WireCommit> {
    r.array(2)?;
    let header = r.bytes(HEADER_BYTES_MAX)?.to_vec();
    let count = r.list(ENTRIES_MAX.min(*room))?;
    *room -= count;
    let leaves = (0..count)
        .map(|_| read_leaf(r))
        .collect::<Result<Vec<_>>>()?;
    Ok(WireCommit { header, leaves })
}

fn read_leaf(r: &mut Reader<'_>) -> Result<WireLeaf> {
    match (r.list(5)?, r.value::<u8>()?) {
        (2, 0) => Ok(WireLeaf::Withheld(r.fixed()?)),
        (2, 1) => Ok(WireLeaf::Item(r.bytes(ANY_ENTRY_BYTES_MAX)?.to_vec())),
        (5, 2) => Ok(WireLeaf::Sealed {
            key: r.value()?,
            leaf: r.fixed()?,
            nonce: r.fixed()?,
            body: r.bytes(BODY_BYTES_MAX)?.to_vec(),
        }),
        _ => Err(r.fault()),
    }
}

/// A batch whose signature, chain and roots were verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBatch {
    run: VerifiedRun,
    leaves: Vec<Vec<WireLeaf>>,
}

/// A change that was unsealed and found in its commit.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenedLeaf {
    /// The entry.
    pub entry: Entry,
    /// The entry's bytes, as they were signed.
    pub entry_bytes: Vec<u8>,
    /// The change's bytes. That they hash to the entry's change id is for the gate to check.
    pub change: Vec<u8>,
}

impl fmt::Debug for OpenedLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "OpenedLeaf({:?}, {} bytes)",
            self.entry,
            self.change.len()
        )
    }
}

impl VerifiedBatch {
    /// The verified headers and the seal.
    pub const fn run(&self) -> &VerifiedRun {
        &self.run
    }

    /// The commits' headers and leaves, in order.
    pub fn commits(&self) -> impl Iterator<Item = (&Header, &[WireLeaf])> {
        self.run
            .headers()
            .iter()
            .zip(self.leaves.iter().map(Vec::as_slice))
    }

    fn leaf(&self, commit: usize, index: u32) -> Result<(&Header, &WireLeaf)> {
        let header = self.run.headers().get(commit);
        let leaves = self.leaves.get(commit);
        let leaf = leaves.and_then(|l| l.get(usize::try_from(index).ok()?));
        header
            .zip(leaf)
            .ok_or(Error::NotFound("entry in this batch"))
    }

    /// The item at a place of the `commit`th commit; `None` where no item travels in clear.
    ///
    /// # Errors
    /// [`Error::NotFound`] beyond the end, [`Error::Integrity`] for a malformed entry.
    pub fn item(&self, commit: usize, index: u32) -> Result<Option<Entry>> {
        match self.leaf(commit, index)?.1 {
            WireLeaf::Item(bytes) => match Entry::parse(bytes)? {
                Entry::Change(_) => Err(Error::integrity("a change travels without its seal")),
                entry => Ok(Some(entry)),
            },
            _ => Ok(None),
        }
    }

    /// Unseals the change at a place of the `commit`th commit.
    ///
    /// # Errors
    /// [`Error::NotFound`] where nothing is sealed; [`Error::Integrity`] when the seal is broken,
    /// the data key is another, or what it holds is not what was committed.
    pub fn open(&self, commit: usize, index: u32, data_key: &[u8; 32]) -> Result<OpenedLeaf> {
        let (header, leaf) = self.leaf(commit, index)?;
        open_leaf(header, index, leaf, data_key)
    }
}
