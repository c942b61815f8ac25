//! Sealing: one signature over a run of commits, before they leave the device.

use crate::error::Result;
use crate::ids::AuthorKey;
use crate::ledger::batch::{self, BatchHeader, SignedHeader};
use crate::ledger::commit::Header;
use crate::vault::Vault;
use crate::vault::branches;
use crate::vault::commit_row::CommitRow;
use crate::vault::core::{Chain, Core, Work};
use crate::vault::rows::{self, kind};
use crate::vault::write::Signer;

/// A batch closes at about this many commits ..
const BATCH_COMMITS: usize = 64;
/// .. or bytes as stored; a larger commit stands alone. A setting, not format.
const BATCH_BYTES: usize = 32 * 1024;
/// .. or bytes as they travel: a thousand times as many, where records repeat themselves.
const BATCH_TRAVELS: usize = 4 * 1024 * 1024;

impl Vault {
    /// Seals what the unlocked person wrote. Returns how many batches.
    ///
    /// # Errors
    /// [`crate::error::Error::Storage`] if the seals cannot be stored.
    pub fn seal(&mut self) -> Result<usize> {
        let Some(author) = self.author() else {
            return Ok(0);
        };
        if self.core.meta.workspace.is_none() || unsealed(&self.core, &author).is_empty() {
            return Ok(0);
        }
        self.authored(seal_all)
    }
}

/// Chains of an author with commits that no batch seals. Those of earlier incarnations too: a vault
/// that came from a backup took a new one.
fn unsealed(core: &Core, author: &AuthorKey) -> Vec<u32> {
    let open = |c: &Chain| c.id.author == *author && c.sealed < c.seq;
    let all = (0u32..).zip(&core.chains);
    all.filter(|(_, c)| open(c)).map(|(no, _)| no).collect()
}

/// Seals all that the signer wrote.
pub(crate) fn seal_all(work: &mut Work, signer: &Signer) -> Result<usize> {
    let waiting = unsealed(&work.core, &signer.author);
    let batches = waiting.into_iter().map(|no| seal_chain(work, signer, no));
    batches.sum()
}

fn seal_chain(work: &mut Work, signer: &Signer, no: u32) -> Result<usize> {
    let workspace = work.core.workspace()?.id;
    let mut run: Vec<Header> = Vec::new();
    let (mut bytes, mut travels, mut batches) = (0, 0, 0);
    let chain = *work.core.chain(no)?;
    for seq in chain.sealed + 1..=chain.seq {
        let Some(row) = work.txn.get(&rows::in_chain(kind::COMMIT, no, seq))? else {
            break;
        };
        let commit = CommitRow::from_bytes(&row)?;
        let (size, plain) = (row.len(), commit.travels());
        let full = run.len() >= BATCH_COMMITS
            || bytes + size > BATCH_BYTES
            || travels + plain > BATCH_TRAVELS;
        if !run.is_empty() && full {
            put_batch(work, no, &batch::seal(&signer.key, workspace, &run)?, &run)?;
            batches += 1;
            run.clear();
            (bytes, travels) = (0, 0);
        }
        (bytes, travels) = (bytes + size, travels + plain);
        run.push(commit.header()?);
    }
    if !run.is_empty() {
        put_batch(work, no, &batch::seal(&signer.key, workspace, &run)?, &run)?;
        batches += 1;
    }
    work.chain_mut(no)?.sealed = chain.seq;
    Ok(batches)
}

/// Stores a batch's seal under the place of its first commit; a longer one that is there stays.
pub(crate) fn put_batch(
    work: &mut Work,
    chain: u32,
    signed: &SignedHeader,
    run: &[Header],
) -> Result<()> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return Ok(());
    };
    let batch = BatchHeader::parse(&signed.header)?;
    let row = [&signed.signature[..], &signed.header].concat();
    let there = work
        .txn
        .get(&rows::in_chain(kind::BATCH, chain, first.fields().seq))?;
    // It may have come before the chain forked.
    if there.as_ref() == Some(&row) {
        return Ok(());
    }
    if !work.core.forks.has(&batch.chain)
        && let Some(there) = there.and_then(|row| batch_row(&row))
        && BatchHeader::parse(&there.header)?.last >= last.fields().seq
    {
        return Ok(());
    }
    let place = branches::batch_key(&work.core, chain, &batch);
    work.txn.put(place, row);
    Ok(())
}

/// Reads a batch's row.
pub(crate) fn batch_row(row: &[u8]) -> Option<SignedHeader> {
    let (signature, header) = row.split_first_chunk::<64>()?;
    Some(SignedHeader {
        header: header.to_vec(),
        signature: *signature,
    })
}
