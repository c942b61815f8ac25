//! Equivocation: proof, for anybody, that one chain has two commits at one place.

use crate::error::{Error, Result};
use crate::ids::{ChainId, CommitId};
use crate::ledger::batch::{
    BATCH_HEADER_BYTES_MAX, BatchHeader, COMMITS_MAX, SignedHeader, VerifiedRun, check_chain,
};
use crate::ledger::cbor::{Reader, encode};
use crate::ledger::commit::{HEADER_BYTES_MAX, Header};

/// Format of a proof.
pub const EQUIVOCATION_FORMAT: u32 = 1;
/// Longest proof, in bytes.
pub const EQUIVOCATION_BYTES_MAX: usize = 2 * (COMMITS_MAX + 2) * (HEADER_BYTES_MAX + 8);

const WHAT: &str = "a proof of equivocation is malformed";

/// What a verified proof says. Only verification makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivocation {
    chain: ChainId,
    seq: u64,
    commits: [CommitId; 2],
    bytes: Vec<u8>,
}

/// One side of a proof: a signed batch and the headers that lead from its end back to the place.
struct Branch<'a> {
    signed: &'a SignedHeader,
    batch: BatchHeader,
    /// The commits after the place.
    later: &'a [Header],
}

impl Equivocation {
    /// Compares two runs. `None` when they do not contradict each other, or do not touch.
    ///
    /// Each commit names the one before it, so the last place both runs reach decides: if they
    /// agree there, they agree on everything before it.
    pub fn between(a: &VerifiedRun, b: &VerifiedRun) -> Option<Self> {
        let (x, y) = (a.batch(), b.batch());
        let seq = x.last.min(y.last);
        let reaches = |run: &BatchHeader| run.first <= seq.saturating_add(1);
        if (x.workspace, x.chain) != (y.workspace, y.chain) || !reaches(x) || !reaches(y) {
            return None;
        }
        let mut branches = [Branch::of(a, seq), Branch::of(b, seq)];
        branches.sort_by_key(Branch::commit);
        let commits = [branches[0].commit(), branches[1].commit()];
        if commits[0] == commits[1] {
            return None;
        }
        let bytes = write(seq, &branches);
        Some(Self {
            chain: x.chain,
            seq,
            commits,
            bytes,
        })
    }

    /// Reads and verifies a proof from anywhere.
    ///
    /// # Errors
    /// [`Error::Integrity`] when it proves nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes, EQUIVOCATION_BYTES_MAX, WHAT)?;
        r.array(4)?;
        r.format(EQUIVOCATION_FORMAT)?;
        let seq: u64 = r.value()?;
        let (left, left_later) = read_side(&mut r)?;
        let (right, right_later) = read_side(&mut r)?;
        let sides = [
            Branch::check(&left, &left_later, seq)?,
            Branch::check(&right, &right_later, seq)?,
        ];
        let [x, y] = &sides;
        let same = (x.batch.workspace, x.batch.chain) == (y.batch.workspace, y.batch.chain);
        let commits = [x.commit(), y.commit()];
        if !same || commits[0] >= commits[1] {
            return Err(Error::integrity("a proof of equivocation proves nothing"));
        }
        r.end_as(&write(seq, &sides))?;
        Ok(Self {
            chain: x.batch.chain,
            seq,
            commits,
            bytes: bytes.to_vec(),
        })
    }

    /// The proof's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The chain that forked.
    pub const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// A place at which it has two commits; the fork may lie before it.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// The two commits at that place, the lower id first.
    pub const fn commits(&self) -> &[CommitId; 2] {
        &self.commits
    }
}

impl<'a> Branch<'a> {
    fn of(run: &'a VerifiedRun, seq: u64) -> Self {
        let headers = run.headers();
        let from = headers.partition_point(|h| h.fields().seq <= seq);
        Self {
            signed: run.signed(),
            batch: *run.batch(),
            later: &headers[from..],
        }
    }

    fn check(signed: &'a SignedHeader, later: &'a [Header], seq: u64) -> Result<Self> {
        let batch = signed.verify_signature()?;
        let next = later
            .first()
            .map_or(batch.last, |h| h.fields().seq.saturating_sub(1));
        if next != seq {
            return Err(Error::integrity(
                "a proof of equivocation is of another place",
            ));
        }
        if !later.is_empty() {
            check_chain(&batch, later)?;
        }
        Ok(Self {
            signed,
            batch,
            later,
        })
    }

    /// The commit at the place, which the signature covers.
    fn commit(&self) -> CommitId {
        self.later
            .first()
            .map_or(self.batch.last_id, |h| h.fields().previous)
    }
}

fn write(seq: u64, branches: &[Branch<'_>; 2]) -> Vec<u8> {
    encode(|e| {
        e.array(4)?.u32(EQUIVOCATION_FORMAT)?.u64(seq)?;
        for branch in branches {
            e.array(3)?
                .bytes(&branch.signed.header)?
                .bytes(&branch.signed.signature)?;
            e.array(branch.later.len() as u64)?;
            for header in branch.later {
                e.bytes(header.bytes())?;
            }
        }
        Ok(())
    })
}

fn read_side(r: &mut Reader<'_>) -> Result<(SignedHeader, Vec<Header>)> {
    r.array(3)?;
    let header = r.bytes(BATCH_HEADER_BYTES_MAX)?.to_vec();
    let signature = r.fixed()?;
    let count = r.list(COMMITS_MAX)?;
    let later = (0..count)
        .map(|_| Header::parse(r.bytes(HEADER_BYTES_MAX)?))
        .collect::<Result<Vec<_>>>()?;
    Ok((SignedHeader { header, signature }, later))
}
