//! Commits: a header that shows nothing of its records, and the entries under its root.

use crate::error::{Error, Result};
use crate::ids::{ChainId, CommitId};
use crate::ledger::cbor::{Reader, encode};
use crate::ledger::entry::{self, ChangeEntry, Entry, ItemKind};
use crate::ledger::merkle::{self, Hash};
use crate::model::pack::Lane;
use crate::time::Timestamp;
use std::sync::LazyLock;

/// Format of a commit's header.
pub const COMMIT_FORMAT: u32 = 1;
/// Most entries of one commit.
pub const ENTRIES_MAX: usize = 4096;
/// Most of them that are certificates, revocations, packs or other items.
pub const ITEMS_MAX: usize = 1000;
/// Longest header, in bytes.
pub const HEADER_BYTES_MAX: usize = 256;

const NO_COMMIT: CommitId = CommitId([0; 32]);
static COMMIT: LazyLock<blake3::Hasher> =
    LazyLock::new(|| blake3::Hasher::new_derive_key("medsync v1 commit"));

/// Why a commit was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Intent {
    /// A person edited records.
    Edit,
    /// Records came from another system.
    Import,
    /// A person decided an escalation.
    Review,
    /// Certificates or revocations.
    Membership,
    /// A policy pack.
    Pack,
    /// A reviewer accepted commits that a revocation had cut off.
    Acceptance,
    /// Of a newer engine; kept as it is.
    Unknown(u8),
}

impl Intent {
    /// Its number in a header.
    pub const fn code(self) -> u8 {
        match self {
            Self::Edit => 0,
            Self::Import => 1,
            Self::Review => 2,
            Self::Membership => 3,
            Self::Pack => 4,
            Self::Acceptance => 5,
            Self::Unknown(code) => code,
        }
    }

    /// From its number in a header.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Edit,
            1 => Self::Import,
            2 => Self::Review,
            3 => Self::Membership,
            4 => Self::Pack,
            5 => Self::Acceptance,
            code => Self::Unknown(code),
        }
    }
}

/// What a commit's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitHeader {
    /// Author and replica.
    pub chain: ChainId,
    /// Its place in the chain; the first is 1.
    pub seq: u64,
    /// The commit before it in the chain; zeros for the first.
    pub previous: CommitId,
    /// When, by the replica's hybrid clock.
    pub hlc: Timestamp,
    /// The most urgent lane of its records.
    pub lane: Lane,
    /// Why.
    pub intent: Intent,
    /// How many entries.
    pub count: u32,
    /// The root over the entries' leaves.
    pub root: Hash,
}

/// A header together with its bytes: what was signed is hashed as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    bytes: Box<[u8]>,
    id: CommitId,
    fields: CommitHeader,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Error::Integrity`] for anything but the one encoding of a possible header,
    /// [`Error::TooNew`] for a newer format.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes, HEADER_BYTES_MAX, "a commit's header is malformed")?;
        r.array(10)?;
        r.format(COMMIT_FORMAT)?;
        let chain = ChainId {
            author: r.value()?,
            replica: r.value()?,
        };
        let seq = r.value()?;
        let previous = r.value()?;
        let hlc = Timestamp(r.value()?);
        let lane = lane_from_code(r.value()?).ok_or_else(|| r.fault())?;
        let intent = Intent::from_code(r.value()?);
        let (count, root) = (r.value()?, r.fixed()?);
        let fields = CommitHeader {
            chain,
            seq,
            previous,
            hlc,
            lane,
            intent,
            count,
            root,
        };
        if !fields.is_possible() {
            return Err(Error::integrity("a commit's header contradicts itself"));
        }
        let header = Self::new(fields);
        r.end_as(&header.bytes)?;
        Ok(header)
    }

    /// The header that says this.
    ///
    /// # Errors
    /// [`Error::Integrity`] for what no header can say.
    pub(crate) fn of(fields: CommitHeader) -> Result<Self> {
        match fields.is_possible() {
            true => Ok(Self::new(fields)),
            false => Err(Error::integrity("a commit's header contradicts itself")),
        }
    }

    fn new(fields: CommitHeader) -> Self {
        let f = &fields;
        let bytes = encode(|e| {
            e.array(10)?
                .u32(COMMIT_FORMAT)?
                .encode(f.chain.author)?
                .encode(f.chain.replica)?;
            e.u64(f.seq)?.encode(f.previous)?.i64(f.hlc.0)?;
            e.u8(lane_code(f.lane))?
                .u8(f.intent.code())?
                .u32(f.count)?
                .bytes(&f.root)?
                .ok()
        });
        let mut hasher = COMMIT.clone();
        let id = CommitId(*hasher.update(&bytes).finalize().as_bytes());
        Self {
            bytes: bytes.into(),
            id,
            fields,
        }
    }

    /// The bytes that are hashed, kept and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The commit's id.
    pub const fn id(&self) -> CommitId {
        self.id
    }

    /// What it says.
    pub const fn fields(&self) -> &CommitHeader {
        &self.fields
    }

    /// The end of the chain once this commit is its last.
    pub const fn tip(&self) -> Tip {
        Tip {
            seq: self.fields.seq,
            id: self.id,
            hlc: self.fields.hlc,
        }
    }
}

impl CommitHeader {
    fn is_possible(&self) -> bool {
        let starts = self.seq == 1;
        let counted = usize::try_from(self.count).is_ok_and(|n| (1..=ENTRIES_MAX).contains(&n));
        // Positions are stored as signed numbers in places: the top bit stays free.
        self.seq >= 1
            && i64::try_from(self.seq).is_ok()
            && starts == (self.previous == NO_COMMIT)
            && self.hlc.0 >= 0
            && counted
    }
}

pub(crate) const fn lane_code(lane: Lane) -> u8 {
    match lane {
        Lane::P0 => 0,
        Lane::P1 => 1,
        Lane::P2 => 2,
        Lane::P3 => 3,
    }
}

pub(crate) const fn lane_from_code(code: u8) -> Option<Lane> {
    match code {
        0 => Some(Lane::P0),
        1 => Some(Lane::P1),
        2 => Some(Lane::P2),
        3 => Some(Lane::P3),
        _ => None,
    }
}

/// The end of a chain: what the next commit builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// The last commit's place; 0 before the first.
    pub seq: u64,
    /// The last commit.
    pub id: CommitId,
    /// Its time.
    pub hlc: Timestamp,
}

impl Tip {
    /// Before the first commit of a chain.
    pub const START: Self = Self {
        seq: 0,
        id: NO_COMMIT,
        hlc: Timestamp(0),
    };
}

/// Whether `next` is the commit that follows `previous` in its chain.
///
/// # Errors
/// [`Error::Integrity`] when the place, the hash or the time contradicts the chain.
pub fn check_link(previous: &Tip, next: &Header) -> Result<()> {
    let fields = next.fields();
    let at = fields.seq;
    if previous.seq.checked_add(1) != Some(at) {
        return Err(Error::integrity_at("a chain has a gap", at));
    }
    if fields.previous != previous.id {
        return Err(Error::integrity_at(
            "a commit follows another than it says",
            at,
        ));
    }
    if fields.hlc < previous.hlc {
        return Err(Error::integrity_at("a chain goes back in time", at));
    }
    Ok(())
}

/// A commit with its entries, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The header.
    pub header: Header,
    /// The entries in order.
    pub entries: Vec<Sealable>,
}

/// One entry of a commit that was built here: its bytes and its leaf.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealable {
    /// The entry's bytes.
    pub bytes: Vec<u8>,
    /// Its leaf in the tree.
    pub leaf: Hash,
}

impl std::fmt::Debug for Sealable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealable({} bytes)", self.bytes.len())
    }
}

/// Builds a commit entry by entry.
#[derive(Debug)]
pub struct CommitBuilder {
    chain: ChainId,
    tip: Tip,
    hlc: Timestamp,
    lane: Lane,
    intent: Intent,
    entries: Vec<Sealable>,
    items: usize,
}

impl CommitBuilder {
    /// A commit that follows `tip` in its chain.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the time lies before that of `tip`.
    pub fn new(
        chain: ChainId,
        tip: Tip,
        hlc: Timestamp,
        lane: Lane,
        intent: Intent,
    ) -> Result<Self> {
        if hlc < tip.hlc || hlc.0 < 0 {
            return Err(Error::invalid(
                "a commit cannot be earlier than the one before it",
            ));
        }
        Ok(Self {
            chain,
            tip,
            hlc,
            lane,
            intent,
            entries: Vec::new(),
            items: 0,
        })
    }

    /// Adds a record's change, salted with the data key of its patient or of the workspace.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an entry beyond the limits, or one too many.
    pub fn change(&mut self, entry: &ChangeEntry, data_key: &[u8; 32]) -> Result<()> {
        let bytes = Entry::Change(entry.clone()).to_bytes()?;
        let index = self.room()?;
        let salt = entry::salt(data_key, &self.chain, self.seq(), index);
        self.push(bytes, &salt);
        Ok(())
    }

    /// Adds a certificate, a revocation or a pack.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an item beyond the limits, or one too many.
    pub fn item(&mut self, kind: ItemKind, bytes: &[u8]) -> Result<()> {
        let bytes = Entry::Item {
            kind,
            bytes: bytes.to_vec(),
        }
        .to_bytes()?;
        self.room()?;
        self.items += 1;
        if self.items > ITEMS_MAX {
            return Err(Error::invalid_at("a commit has too many items", ITEMS_MAX));
        }
        self.push(bytes, &entry::NO_SALT);
        Ok(())
    }

    /// The finished commit.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a commit without entries.
    pub fn build(self) -> Result<Commit> {
        let leaves: Vec<Hash> = self.entries.iter().map(|e| e.leaf).collect();
        let fields = CommitHeader {
            chain: self.chain,
            seq: self.seq(),
            previous: self.tip.id,
            hlc: self.hlc,
            lane: self.lane,
            intent: self.intent,
            count: u32::try_from(leaves.len()).map_err(|_| TOO_MANY)?,
            root: merkle::root(&leaves),
        };
        if !fields.is_possible() {
            return Err(Error::invalid(
                "a commit needs an entry and a possible place",
            ));
        }
        Ok(Commit {
            header: Header::new(fields),
            entries: self.entries,
        })
    }

    fn seq(&self) -> u64 {
        self.tip.seq.saturating_add(1)
    }

    fn room(&self) -> Result<u32> {
        let index = self.entries.len();
        if index >= ENTRIES_MAX {
            return Err(TOO_MANY);
        }
        u32::try_from(index).map_err(|_| TOO_MANY)
    }

    fn push(&mut self, bytes: Vec<u8>, salt: &[u8; 32]) {
        let leaf = entry::leaf(salt, &bytes);
        self.entries.push(Sealable { bytes, leaf });
    }
}

const TOO_MANY: Error = Error::invalid("a commit has at most 4096 entries");
