//! Batches whose headers, chain and signature fit whatever leaves a mutation left them with.

use crate::{ADMIN, encode, key, workspace};
use medsync_core::ids::{AuthorKey, ChainId, CommitId, ReplicaId};
use medsync_core::ledger::batch::{BATCH_CONTEXT, BATCH_FORMAT, SignedHeader};
use medsync_core::ledger::commit::{COMMIT_FORMAT, Header};
use medsync_core::ledger::merkle;
use medsync_core::ledger::wire::{SealedBatch, WireLeaf};

/// The data key of the seeds.
pub const DATA_KEY: [u8; 32] = [0xda; 32];

/// The chain of the admin.
pub fn chain() -> ChainId {
    ChainId {
        author: AuthorKey(key(ADMIN).public()),
        replica: ReplicaId([2; 16]),
    }
}

/// Signs a batch's header as it is.
pub fn sign(mut batch: SealedBatch) -> SealedBatch {
    batch.signed.signature = key(ADMIN).sign(BATCH_CONTEXT, &batch.signed.header);
    batch
}

/// Gives each commit the header that its leaves ask for, and the batch a header that fits them.
/// What a readable header says of time, lane and intent stays.
pub fn refit(mut batch: SealedBatch) -> SealedBatch {
    let chain = chain();
    let (mut previous, mut hlc) = (CommitId([0; 32]), 1_i64);
    for (seq, commit) in (1_u64..).zip(&mut batch.commits) {
        let said = Header::parse(&commit.header).ok();
        let intent = said.as_ref().map_or(0, |h| h.fields().intent.code());
        let asked = said.as_ref().map_or(0, |h| h.fields().hlc.0);
        hlc = asked.max(hlc.saturating_add(1));
        let hashes: Vec<_> = commit.leaves.iter().map(WireLeaf::hash).collect();
        commit.header = encode(|e| {
            e.array(10)?.u32(COMMIT_FORMAT)?.encode(chain.author)?;
            e.encode(chain.replica)?.u64(seq)?.encode(previous)?;
            e.i64(hlc)?.u8(1)?.u8(intent)?;
            e.u64(hashes.len() as u64)?
                .bytes(&merkle::root(&hashes))?
                .ok()
        });
        if let Ok(header) = Header::parse(&commit.header) {
            previous = header.id();
        }
    }
    let header = encode(|e| {
        e.array(7)?.u32(BATCH_FORMAT)?.encode(workspace())?;
        e.encode(chain.author)?.encode(chain.replica)?;
        e.u64(1)?
            .u64(batch.commits.len() as u64)?
            .encode(previous)?
            .ok()
    });
    let signature = [0; 64];
    batch.signed = SignedHeader { header, signature };
    sign(batch)
}
