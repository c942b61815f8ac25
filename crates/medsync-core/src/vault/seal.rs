//! Sealing: one signature over a run of commits, before they leave the device.

use crate::error::Result;
use crate::ledger::batch::{self, BatchHeader, SignedHeader};
use crate::ledger::commit::Header;
use crate::vault::Vault;
use crate::vault::core::{Chain, Work, load_commit};
use crate::vault::rows::{self, kind};
use crate::vault::write::Signer;

/// A batch closes at about this many commits ..
const BATCH_COMMITS: usize = 64;
/// .. or bytes as stored; a larger commit stands alone. A setting, not format.
const BATCH_BYTES: usize = 32 * 1024;

impl Vault {
    /// Seals what the unlocked person wrote. Returns how many batches.
    ///
    /// # Errors
    /// [`crate::error::Error::Storage`] if the seals cannot be stored.
    pub fn seal(&mut self) -> Result<usize> {
        let Some(author) = self.author() else {
            return Ok(0);
        };
        // Those of earlier incarnations too: a vault that came from a backup took a new one.
        let open = |c: &Chain| c.id.author == author && c.sealed < c.seq;
        let waiting = |(no, chain)| open(chain).then_some(no);
        let waiting: Vec<u32> = (0u32..)
            .zip(&self.core.chains)
            .filter_map(waiting)
            .collect();
        if waiting.is_empty() || self.core.meta.workspace.is_none() {
            return Ok(0);
        }
        self.authored(|work, signer| {
            let batches = waiting.into_iter().map(|no| seal_chain(work, signer, no));
            batches.sum()
        })
    }
}

fn seal_chain(work: &mut Work, signer: &Signer, no: u32) -> Result<usize> {
    let workspace = work.core.workspace()?.id;
    let (mut run, mut bytes, mut batches): (Vec<Header>, usize, usize) = (Vec::new(), 0, 0);
    let chain = *work.core.chain(no)?;
    for seq in chain.sealed + 1..=chain.seq {
        let Some(row) = work.txn.get(&rows::in_chain(kind::COMMIT, no, seq))? else {
            break;
        };
        let size = row.len();
        if !run.is_empty() && (run.len() >= BATCH_COMMITS || bytes + size > BATCH_BYTES) {
            put_batch(work, no, &batch::seal(&signer.key, workspace, &run)?, &run)?;
            batches += 1;
            run.clear();
            bytes = 0;
        }
        bytes += size;
        if let Some(commit) = load_commit(work, no, seq)? {
            run.push(commit.header()?);
        }
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
    let place = rows::in_chain(kind::BATCH, chain, first.fields().seq);
    let there = work.txn.get(&place)?.and_then(|row| batch_row(&row));
    if let Some(there) = there
        && BatchHeader::parse(&there.header)?.last >= last.fields().seq
    {
        return Ok(());
    }
    work.txn
        .put(place, [&signed.signature[..], &signed.header].concat());
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
