//! The blocks of a batch as this vault writes them: part 0 its commits, the parts after it the data
//! keys that the peer lacks.
//!
//! Inside a session changes travel unsealed by their data keys: the session's own keys protect them.
//! Part 0 is the same bytes each time, so that it can be resumed anywhere.

use crate::crypto::key::Secret;
use crate::error::{Error, Result};
use crate::ids::{DataKeyId, RecordId};
use crate::ledger::batch::{COMMITS_MAX, SignedHeader};
use crate::vault::commit_row::CommitRow;
use crate::vault::core::DataKey;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Longest part 0 before it is compressed: what a sealed batch may be.
pub(super) const RAW_BYTES_MAX: usize = crate::ledger::wire::SEALED_BYTES_MAX;
const FORMAT: u8 = 1;
const LEVEL: i32 = 9;
const BAD: Error = Error::integrity("a block is malformed");

#[derive(Serialize, Deserialize)]
struct Commits {
    header: Vec<u8>,
    /// In two halves: serde knows arrays of up to 32.
    signature: ([u8; 32], [u8; 32]),
    commits: Vec<CommitRow>,
}

/// A data key as it travels.
#[derive(Serialize, Deserialize)]
struct Key {
    id: DataKeyId,
    key: [u8; 32],
    patient: Option<RecordId>,
}

/// Part 0 of a batch.
///
/// # Errors
/// [`Error::Invalid`] for a batch that is too long to travel.
pub(super) fn write_commits(signed: &SignedHeader, commits: Vec<CommitRow>) -> Result<Vec<u8>> {
    const LONG: Error = Error::invalid("a batch is too long to travel in a session");
    let (first, second) = signed.signature.split_at(32);
    let half = |half: &[u8]| <[u8; 32]>::try_from(half).unwrap_or_default();
    let plain = postcard::to_allocvec(&Commits {
        header: signed.header.clone(),
        signature: (half(first), half(second)),
        commits,
    });
    let plain = Zeroizing::new(plain.map_err(|_| LONG)?);
    let len = u32::try_from(plain.len()).map_err(|_| LONG)?;
    if plain.len() > RAW_BYTES_MAX {
        return Err(LONG);
    }
    let packed = zstd::bulk::compress(&plain, LEVEL).map_err(|_| LONG)?;
    Ok([&[FORMAT][..], &len.to_le_bytes(), &packed].concat())
}

/// Reads part 0 of a batch. Nothing of it is verified.
///
/// # Errors
/// [`Error::Integrity`] for a malformed one.
pub(super) fn read_commits(bytes: &[u8]) -> Result<(SignedHeader, Vec<CommitRow>)> {
    let (format, rest) = bytes.split_first().ok_or(BAD)?;
    let (len, packed) = rest.split_first_chunk::<4>().ok_or(BAD)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| BAD)?;
    if *format != FORMAT || len > RAW_BYTES_MAX {
        return Err(BAD);
    }
    let plain = Zeroizing::new(zstd::bulk::decompress(packed, len).map_err(|_| BAD)?);
    let commits: Commits = postcard::from_bytes(&plain).map_err(|_| BAD)?;
    if commits.commits.len() > COMMITS_MAX {
        return Err(BAD);
    }
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&commits.signature.0);
    signature[32..].copy_from_slice(&commits.signature.1);
    let header = commits.header;
    Ok((SignedHeader { header, signature }, commits.commits))
}

/// Writes as many keys as fit, and says how many; at least one.
pub(super) fn write_keys(keys: &[DataKey], room: usize) -> (Zeroizing<Vec<u8>>, usize) {
    let mut out = Zeroizing::new(Vec::new());
    let mut count = 0;
    for key in keys {
        let bytes = postcard::to_allocvec(&Key {
            id: key.id,
            key: *key.key.expose(),
            patient: key.patient.clone(),
        });
        let bytes = Zeroizing::new(bytes.expect("a key has no maps of unknown length"));
        if count > 0 && out.len() + bytes.len() > room {
            break;
        }
        out.extend_from_slice(&bytes);
        count += 1;
    }
    // An empty block would be none.
    if out.is_empty() {
        out.push(0);
    }
    (out, count)
}

/// Reads keys.
///
/// # Errors
/// [`Error::Integrity`] for malformed ones.
pub(super) fn read_keys(mut bytes: &[u8]) -> Result<Vec<DataKey>> {
    let mut keys = Vec::new();
    if bytes == [0] {
        return Ok(keys);
    }
    while !bytes.is_empty() {
        let (mut key, rest): (Key, _) = postcard::take_from_bytes(bytes).map_err(|_| BAD)?;
        bytes = rest;
        keys.push(DataKey {
            id: key.id,
            patient: key.patient,
            key: Arc::new(Secret::take(&mut key.key)),
        });
    }
    Ok(keys)
}
