//! What a vault takes up: pieces as they come, batches once they are whole, by the gate.

use crate::error::{Error, Result};
use crate::ids::{DataKeyId, DeviceKey};
use crate::ledger::batch::SignedHeader;
use crate::ledger::wire::{SEALED_BYTES_MAX, SealedBatch, VerifiedBatch};
use crate::sync::effect::{Chunk, Done, Partial};
use crate::sync::hello::PARTIALS_MAX;
use crate::vault::Vault;
use crate::vault::branches::is_whole;
use crate::vault::commit_row::{CommitRow, LeafRow};
use crate::vault::connect::block::{read_commits, read_keys};
use crate::vault::connect::log::reference;
use crate::vault::connect::{Connection, peer};
use crate::vault::core::{DataKey, Work, load_data_key};
use crate::vault::exchange::seal_commit;
use crate::vault::intake;
use crate::vault::rows::{Rows, kind};
use std::collections::HashMap;

const TORN: &str = "a piece of a batch does not follow the one before it";

fn staged_of(peer: &DeviceKey, handle: &[u8; 8]) -> Vec<u8> {
    [&[kind::STAGED][..], &peer.0, handle].concat()
}

fn staged_key(peer: &DeviceKey, chunk: &Chunk) -> Vec<u8> {
    let place = [&chunk.part.to_be_bytes()[..], &chunk.offset.to_be_bytes()].concat();
    [staged_of(peer, &chunk.handle), place].concat()
}

/// Where a staged batch goes on: the value of a row begins with 1 where its block ends.
fn next_of(key: &[u8], row: &[u8]) -> Option<(u32, u64)> {
    let place = key.get(41..)?;
    let (part, offset) = place.split_first_chunk::<4>()?;
    let (part, offset) = (u32::from_be_bytes(*part), offset.try_into().ok()?);
    let offset = u64::from_be_bytes(offset);
    let (ends, bytes) = row.split_first()?;
    Some(match ends {
        1 => (part.checked_add(1)?, 0),
        _ => (part, offset.checked_add(bytes.len() as u64)?),
    })
}

/// The batches of which a peer's sessions brought a part.
pub(super) fn partials(rows: &dyn Rows, peer: &DeviceKey) -> Result<Vec<Partial>> {
    let mut partials: Vec<Partial> = Vec::new();
    let prefix = [&[kind::STAGED][..], &peer.0].concat();
    rows.scan(&prefix, &prefix, &mut |key, row| {
        let handle = key.get(33..41).and_then(|handle| handle.try_into().ok());
        if let (Some(handle), Some((part, offset))) = (handle, next_of(key, row)) {
            partials.retain(|partial| partial.handle != handle);
            partials.push(Partial {
                handle,
                part,
                offset,
            });
        }
        Ok(true)
    })?;
    partials.truncate(PARTIALS_MAX);
    Ok(partials)
}

fn forget(work: &mut Work, peer: &DeviceKey, handle: &[u8; 8]) -> Result<()> {
    for (key, _) in work.all(&staged_of(peer, handle))? {
        work.txn.delete(key);
    }
    Ok(())
}

impl Connection {
    /// Makes pieces durable, and the batches that they complete.
    pub(super) fn store(
        &mut self,
        vault: &mut Vault,
        peer: DeviceKey,
        epoch: [u8; 8],
        chunks: Vec<Chunk>,
    ) -> Result<Vec<Done>> {
        let made = vault.work(|work, _| {
            let mut done = Vec::with_capacity(chunks.len());
            for chunk in chunks {
                let handle = chunk.handle;
                match self.take(work, peer, epoch, chunk) {
                    Ok(stored) => done.push(stored),
                    Err(Error::Integrity { what, .. } | Error::Invalid { what, .. }) => {
                        forget(work, &peer, &handle)?;
                        done.push(Done::Rejected(what));
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(done)
        });
        if made.is_err() {
            // The log in memory may say more than became durable.
            self.log = super::log::Log::catch_up(vault)?;
        }
        made
    }

    fn take(
        &mut self,
        work: &mut Work,
        peer: DeviceKey,
        epoch: [u8; 8],
        chunk: Chunk,
    ) -> Result<Done> {
        if chunk.total > SEALED_BYTES_MAX as u64 {
            return Err(Error::integrity("a block is too long"));
        }
        let staged = work.all(&staged_of(&peer, &chunk.handle))?;
        let next = staged.last().and_then(|(key, row)| next_of(key, row));
        let place = (chunk.part, chunk.offset);
        if place == (0, 0) && next.is_some() {
            forget(work, &peer, &chunk.handle)?;
        } else if next.unwrap_or((0, 0)) != place {
            return Err(Error::integrity(TORN));
        }
        self.counts.resumed |= place != (0, 0) && !self.began.contains(&chunk.handle);
        self.began.insert(chunk.handle);
        let row = [&[u8::from(chunk.ends_block())][..], &chunk.bytes].concat();
        work.txn.put(staged_key(&peer, &chunk), row);
        let (mut batch, mut duplicate) = (None, false);
        if chunk.ends_block() && chunk.last {
            let (signed, new) = self.complete(work, peer, &chunk.handle)?;
            duplicate = !new;
            batch = Some(reference(&signed)?);
            peer::got(work, &peer, epoch, chunk.position)?;
            self.began.remove(&chunk.handle);
        }
        let welcome = !work.core.membership.is_revoked(&peer.0);
        Ok(Done::Stored {
            batch,
            duplicate,
            welcome,
            evidence: Vec::new(),
        })
    }

    /// A batch is whole: it enters by the gate. Whether it is new.
    fn complete(
        &mut self,
        work: &mut Work,
        peer: DeviceKey,
        handle: &[u8; 8],
    ) -> Result<(SignedHeader, bool)> {
        const UNFIT: Error = Error::integrity("a batch is not what its pieces said");
        let (mut block, mut keys) = (Vec::new(), Vec::new());
        for (key, row) in work.all(&staged_of(&peer, handle))? {
            let is_commits = key.get(41..45) == Some(&[0; 4]);
            let bytes = row.get(1..).unwrap_or_default();
            if is_commits {
                block.extend_from_slice(bytes);
            } else {
                keys.extend(read_keys(bytes)?);
            }
            work.txn.delete(key);
        }
        let (signed, commits) = read_commits(&block)?;
        drop(block);
        let id = signed.id();
        if !id.0.starts_with(handle) {
            return Err(UNFIT);
        }
        if self.log.has(&id) {
            signed.verify_signature()?;
            return Ok((signed, false));
        }
        let sealed = verify(work, &signed, commits, keys)?;
        let header = *sealed.run().batch();
        if header.workspace != work.core.workspace()?.id {
            return Err(Error::integrity("a batch belongs to another workspace"));
        }
        let received = intake::receive(work, vec![sealed])?;
        self.counts.commits_received += received.commits;
        if !is_whole(work, &work.core, &header)? {
            return Err(Error::integrity("a batch came without all it needs"));
        }
        self.log.enter(work, &signed, peer)?;
        Ok((signed, true))
    }
}

/// Verifies a batch, and keeps the keys that came with it. The gate takes sealed batches: this one
/// is sealed for it with the same keys.
fn verify(
    work: &mut Work,
    signed: &SignedHeader,
    commits: Vec<CommitRow>,
    keys: Vec<DataKey>,
) -> Result<VerifiedBatch> {
    let mut known: HashMap<DataKeyId, DataKey> = HashMap::new();
    for key in keys {
        known.insert(key.id, key);
    }
    let leaves = commits.iter().flat_map(|commit| &commit.leaves);
    let mut used = Vec::new();
    for leaf in leaves {
        if let LeafRow::Change { key, .. } = leaf {
            used.push(*key);
        }
    }
    let mut new = Vec::new();
    for id in used {
        match (load_data_key(work, &id)?, known.get(&id)) {
            // What is here opens what is here: another key of that name is none.
            (Some(here), _) => drop(known.insert(id, here)),
            (None, Some(key)) => new.push(key.clone()),
            (None, None) => return Err(Error::integrity("a batch came without its data keys")),
        }
    }
    let env = work.env.clone();
    let seal = |row: CommitRow| seal_commit(&*env, row, &known);
    let commits = commits.into_iter().map(seal).collect::<Result<Vec<_>>>()?;
    let sealed = SealedBatch {
        signed: signed.clone(),
        commits,
    };
    let verified = sealed.verify()?;
    // Only now: the leaves that they salt are signed.
    new.iter().for_each(|key| work.put_data_key(key));
    Ok(verified)
}
