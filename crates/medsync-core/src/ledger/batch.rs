//! Batches: one signature over a run of whole commits of one chain.

use crate::crypto::sign::{self, Signature, SigningKey};
use crate::error::{Error, Result};
use crate::ids::{BatchId, ChainId, CommitId, WorkspaceId};
use crate::ledger::cbor::{Reader, encode};
use crate::ledger::commit::{Header, Tip, check_link};

/// Format of a batch's header.
pub const BATCH_FORMAT: u32 = 1;
/// Most commits of one batch.
pub const COMMITS_MAX: usize = 4096;
/// Most entries of one batch, over all its commits.
pub const BATCH_ENTRIES_MAX: usize = 65_536;
/// Longest header of a batch, in bytes.
pub const BATCH_HEADER_BYTES_MAX: usize = 256;
/// What a batch is signed as.
pub const BATCH_CONTEXT: &str = "medsync v1 batch";

const WHAT: &str = "a batch's header is malformed";

/// What a batch's header says. Commits are chained, so the last one's id covers the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Author and replica.
    pub chain: ChainId,
    /// Place of the first commit.
    pub first: u64,
    /// Place of the last commit.
    pub last: u64,
    /// The last commit.
    pub last_id: CommitId,
}

/// A batch's header with its author's signature. Not verified: it may say anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHeader {
    /// The header's bytes as received.
    pub header: Vec<u8>,
    /// The signature over them.
    pub signature: Signature,
}

/// Seals a run of commits with their author's key.
///
/// # Errors
/// [`Error::Invalid`] when the headers are no run of commits of this author.
pub fn seal(key: &SigningKey, workspace: WorkspaceId, headers: &[Header]) -> Result<SignedHeader> {
    const NO_RUN: Error = Error::invalid("a batch is a run of commits of the author who seals it");
    let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
        return Err(NO_RUN);
    };
    let batch = BatchHeader {
        workspace,
        chain: last.fields().chain,
        first: first.fields().seq,
        last: last.fields().seq,
        last_id: last.id(),
    };
    if batch.chain.author.0 != key.public() || check_run(&batch, headers).is_err() {
        return Err(NO_RUN);
    }
    let header = batch.to_bytes();
    let signature = key.sign(BATCH_CONTEXT, &header);
    Ok(SignedHeader { header, signature })
}

impl SignedHeader {
    /// The batch's name: what was signed, hashed. Two seals of one run of commits have one name.
    pub fn id(&self) -> BatchId {
        BatchId(blake3::derive_key("medsync v1 batch id", &self.header))
    }

    /// Checks the author's signature. What the header says of its commits is checked by
    /// [`SignedHeader::verify`].
    ///
    /// # Errors
    /// [`Error::Integrity`] for a malformed header or one that its author did not sign.
    pub fn verify_signature(&self) -> Result<BatchHeader> {
        let batch = BatchHeader::parse(&self.header)?;
        sign::verify(
            &batch.chain.author.0,
            BATCH_CONTEXT,
            &self.header,
            &self.signature,
        )?;
        Ok(batch)
    }

    /// Checks the signature and that `headers` are the run it covers.
    ///
    /// # Errors
    /// [`Error::Integrity`] says which check failed.
    pub fn verify(&self, headers: Vec<Header>) -> Result<VerifiedRun> {
        let batch = self.verify_signature()?;
        check_run(&batch, &headers)?;
        Ok(VerifiedRun {
            batch,
            signed: self.clone(),
            headers,
        })
    }
}

/// A run of commits whose author's signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRun {
    batch: BatchHeader,
    signed: SignedHeader,
    headers: Vec<Header>,
}

impl VerifiedRun {
    /// What the batch's header says.
    pub const fn batch(&self) -> &BatchHeader {
        &self.batch
    }

    /// The header and signature, to pass on.
    pub const fn signed(&self) -> &SignedHeader {
        &self.signed
    }

    /// The commits' headers, in order.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The commit that the run follows. The caller checks it against the chain it holds.
    pub fn previous(&self) -> CommitId {
        self.headers
            .first()
            .map_or(Tip::START.id, |h| h.fields().previous)
    }
}

impl BatchHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Error::Integrity`] for anything but the one encoding of a possible header,
    /// [`Error::TooNew`] for a newer format.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes, BATCH_HEADER_BYTES_MAX, WHAT)?;
        r.array(7)?;
        r.format(BATCH_FORMAT)?;
        let workspace = r.value()?;
        let chain = ChainId {
            author: r.value()?,
            replica: r.value()?,
        };
        let (first, last, last_id) = (r.value()?, r.value()?, r.value()?);
        let batch = Self {
            workspace,
            chain,
            first,
            last,
            last_id,
        };
        if batch.count().is_none() {
            return Err(r.fault());
        }
        r.end_as(&batch.to_bytes())?;
        Ok(batch)
    }

    /// The header with its author's signature.
    pub(crate) fn signed(self, signature: Signature) -> SignedHeader {
        let header = self.to_bytes();
        SignedHeader { header, signature }
    }

    fn to_bytes(self) -> Vec<u8> {
        encode(|e| {
            e.array(7)?.u32(BATCH_FORMAT)?.encode(self.workspace)?;
            e.encode(self.chain.author)?.encode(self.chain.replica)?;
            e.u64(self.first)?
                .u64(self.last)?
                .encode(self.last_id)?
                .ok()
        })
    }

    /// How many commits; `None` when the places are impossible.
    fn count(&self) -> Option<usize> {
        let count = self.last.checked_sub(self.first)?.checked_add(1)?;
        let count = usize::try_from(count).ok()?;
        (self.first >= 1 && count <= COMMITS_MAX).then_some(count)
    }
}

fn check_run(batch: &BatchHeader, headers: &[Header]) -> Result<()> {
    if batch.count() != Some(headers.len()) {
        return Err(Error::integrity("a batch has other commits than it says"));
    }
    let first = headers
        .first()
        .ok_or(Error::integrity("a batch is empty"))?;
    if first.fields().seq != batch.first {
        return Err(Error::integrity("a batch has other commits than it says"));
    }
    // Else a few bytes a leaf would grow to gigabytes in memory.
    let entries = headers
        .iter()
        .map(|h| u64::from(h.fields().count))
        .sum::<u64>();
    if entries > BATCH_ENTRIES_MAX as u64 {
        return Err(Error::integrity_at(
            "a batch has too many entries",
            BATCH_ENTRIES_MAX,
        ));
    }
    check_chain(batch, headers)
}

/// Whether `headers` are links of the batch's chain up to its last commit.
pub(crate) fn check_chain(batch: &BatchHeader, headers: &[Header]) -> Result<()> {
    if headers.iter().any(|h| h.fields().chain != batch.chain) {
        return Err(Error::integrity("a batch has a commit of another chain"));
    }
    for pair in headers.windows(2) {
        check_link(&pair[0].tip(), &pair[1])?;
    }
    match headers.last() {
        Some(last) if (last.fields().seq, last.id()) == (batch.last, batch.last_id) => Ok(()),
        _ => Err(Error::integrity(
            "a batch ends in another commit than it says",
        )),
    }
}
