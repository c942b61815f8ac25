//! Every row of the vault: one ordered table, its first byte the kind of row.
//!
//! `docs/format.md` lists them. Ledger rows (commits, batches, chains, keys, people, evidence) are
//! the truth; the rest is derived from them and `verify --rebuild` makes it again, byte for byte.

use crate::error::Result;
use crate::ids::{CommitId, DataKeyId, RecordId};

/// One row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Called with key and value of a row; `false` ends the walk.
pub type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool>;

/// Reading rows, inside a read or a write.
pub trait Rows {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Calls `each` with the rows of a prefix, in order, from `from` (a full key) on, until it
    /// says `false`.
    fn scan(&self, prefix: &[u8], from: &[u8], each: Each<'_>) -> Result<()>;

    /// All rows of a prefix. For prefixes that hold few.
    fn all(&self, prefix: &[u8]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.scan(prefix, prefix, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(true)
        })?;
        Ok(rows)
    }
}

/// Kinds of rows, by first byte. Upper case: the truth. Lower case: derived.
pub mod kind {
    /// Settings of the vault: meta, counts, clock.
    pub const META: u8 = b'M';
    /// A chain of commits: its number to its author, replica and tip.
    pub const CHAIN: u8 = b'H';
    /// A commit.
    pub const COMMIT: u8 = b'C';
    /// A batch's signature.
    pub const BATCH: u8 = b'B';
    /// A commit that contradicts itself, kept with the reason.
    pub const QUARANTINE: u8 = b'Q';
    /// A proof that an author signed two different commits at one place.
    pub const EVIDENCE: u8 = b'E';
    /// A data key by its id.
    pub const DATA_KEY: u8 = b'K';
    /// A person whose signing key is kept here, sealed.
    pub const PERSON: u8 = b'P';
    /// What a peer has, as far as it said.
    pub const MARKS: u8 = b'T';
    /// An audit log: its number to its device and incarnation.
    pub const AUDIT_LOG: u8 = b'L';
    /// An entry of an audit log.
    pub const AUDIT: u8 = b'A';
    /// A signed head of an audit log.
    pub const AUDIT_HEAD: u8 = b'G';
    /// A batch by its position in this store's log.
    pub const LOG: u8 = b'O';
    /// A data key to the position of the first batch that uses it.
    pub const KEY_USE: u8 = b'J';
    /// What sessions know of a peer.
    pub const PEER: u8 = b'Y';
    /// A piece of a batch that a session began to bring.
    pub const STAGED: u8 = b'U';
    /// A receipt, given or got.
    pub const RECEIPT: u8 = b'R';
    /// A record's state row.
    pub const STATE: u8 = b's';
    /// A record's merged view.
    pub const VIEW: u8 = b'v';
    /// An open question on a record.
    pub const QUESTION: u8 = b'q';
    /// A commit that waits for its causes or keys.
    pub const PENDING: u8 = b'w';
    /// An index entry.
    pub const INDEX: u8 = b'i';
    /// A rule's group entry.
    pub const RULE: u8 = b'r';
    /// A patient's data keys.
    pub const PATIENT_KEY: u8 = b'k';
    /// A certificate, revocation or pack in the ledger, by its place.
    pub const ITEM: u8 = b'm';
    /// A commit that holds something only a newer engine understands.
    pub const NEWER: u8 = b'n';
}

/// Kinds of rows that follow from the ledger.
pub const DERIVED: [u8; 8] = [
    kind::STATE,
    kind::VIEW,
    kind::QUESTION,
    kind::PENDING,
    kind::INDEX,
    kind::RULE,
    kind::ITEM,
    kind::NEWER,
];

/// `M` + name.
pub fn meta(name: &str) -> Vec<u8> {
    [&[kind::META], name.as_bytes()].concat()
}

/// Kind + chain number + place in the chain, big-endian, so that rows stand in chain order.
pub fn in_chain(kind: u8, chain: u32, seq: u64) -> Vec<u8> {
    [&[kind][..], &chain.to_be_bytes(), &seq.to_be_bytes()].concat()
}

/// Kind + chain number.
pub fn of_chain(kind: u8, chain: u32) -> Vec<u8> {
    [&[kind][..], &chain.to_be_bytes()].concat()
}

/// Reads chain number and place from a key of [`in_chain`].
pub fn place(key: &[u8]) -> Option<(u32, u64)> {
    let chain = key.get(1..5)?.try_into().ok()?;
    let seq = key.get(5..13)?.try_into().ok()?;
    Some((u32::from_be_bytes(chain), u64::from_be_bytes(seq)))
}

/// Kind + record.
pub fn of_record(kind: u8, record: &RecordId) -> Vec<u8> {
    [&[kind], record.as_str().as_bytes()].concat()
}

/// Open question: `q` + record + 0 + key.
pub fn question(record: &RecordId, key: &str) -> Vec<u8> {
    [
        &[kind::QUESTION],
        record.as_str().as_bytes(),
        &[0],
        key.as_bytes(),
    ]
    .concat()
}

/// Kind + id of a commit.
pub fn of_commit(kind: u8, commit: &CommitId) -> Vec<u8> {
    [&[kind][..], &commit.0].concat()
}

/// `K` + id of a data key.
pub fn data_key(id: &DataKeyId) -> Vec<u8> {
    [&[kind::DATA_KEY][..], &id.0].concat()
}

/// `k` + patient (nothing for the workspace's own) + 0 + id of a data key.
pub fn patient_key(patient: Option<&RecordId>, id: Option<&DataKeyId>) -> Vec<u8> {
    let patient = patient.map_or("", RecordId::as_str).as_bytes();
    let id = id.map_or(&[][..], |id| &id.0);
    [&[kind::PATIENT_KEY][..], patient, &[0], id].concat()
}

/// The first key after all that start with a prefix. Prefixes start with a row's kind, which is
/// ASCII, so there always is one.
pub fn after(prefix: &[u8]) -> Vec<u8> {
    let mut after = prefix.to_vec();
    while after.last() == Some(&u8::MAX) {
        after.pop();
    }
    if let Some(last) = after.last_mut() {
        *last += 1;
    }
    after
}
