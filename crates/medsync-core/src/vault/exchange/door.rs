//! The parsers of the folder's files, for fuzzing: what they read lies below a signature and is
//! private otherwise.

use crate::crypto::key::Secret;
use crate::crypto::sign::SigningKey;
use crate::error::Result;
use crate::ids::{AuthorKey, ChainId, CommitId, DataKeyId, DeviceKey, ReplicaId, WorkspaceId};
use crate::ledger::cbor::{Reader, encode};
use crate::time::Timestamp;
use crate::vault::core::DataKey;
use crate::vault::exchange::claim::{CLAIM_BYTES_MAX, Claim, SignedClaim};
use crate::vault::exchange::files::Name;
use crate::vault::exchange::incoming::split;
use crate::vault::exchange::keys::{self, KeyFile};
use crate::vault::exchange::manifest::{self, Carried, FORMAT, FileMark, LABEL, Marks};
use crate::vault::marks::{Held, Tips};
use std::sync::Arc;

/// One kind of file in a device's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Marks, but for their head.
    Marks,
    /// The head of marks.
    Claim,
    /// Data keys.
    Keys,
    /// Batches.
    Batches,
}

fn device() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

fn claim() -> Claim {
    Claim {
        workspace: WorkspaceId([6; 32]),
        device: DeviceKey(device().public()),
        replica: ReplicaId([7; 16]),
        former: vec![ReplicaId([5; 16])],
        counter: 8,
        hlc: Timestamp(9),
    }
}

/// Signs the body of a file as the device that wrote the [`sample`]s; batches need no signature.
pub fn sign(kind: FileKind, body: &[u8]) -> Vec<u8> {
    let context = match kind {
        FileKind::Marks => {
            let claim = claim().sign(body, &device());
            return encode(|e| {
                e.array(3)?.bytes(&claim.bytes)?.bytes(&claim.signature)?;
                e.bytes(body)?.ok()
            });
        }
        FileKind::Claim => manifest::CONTEXT,
        FileKind::Keys => keys::CONTEXT,
        FileKind::Batches => return body.to_vec(),
    };
    let signature = device().sign(context, body);
    encode(|e| e.array(2)?.bytes(body)?.bytes(&signature)?.ok())
}

/// Reads a file and writes what it said.
///
/// # Errors
/// As the exchange has them.
pub fn reread(kind: FileKind, bytes: &[u8]) -> Result<Vec<u8>> {
    match kind {
        FileKind::Marks => Marks::open(bytes).map(|(marks, _)| marks.body()),
        FileKind::Claim => {
            let mut r = Reader::new(bytes, 2 * CLAIM_BYTES_MAX, "a signed head is malformed")?;
            r.array(2)?;
            let (bytes, signature) = (r.bytes(CLAIM_BYTES_MAX)?.to_vec(), r.fixed()?);
            r.end()?;
            let (claim, body) = SignedClaim { bytes, signature }.open()?;
            Ok(claim.write(&body))
        }
        FileKind::Keys => KeyFile::open(bytes).map(|file| file.body().to_vec()),
        FileKind::Batches => {
            let mut batches: Vec<Vec<u8>> = Vec::new();
            split(bytes, &mut |batch| batches.push(batch.to_vec()))?;
            Ok(write_batches(&batches))
        }
    }
}

/// A file of batches, before it is sealed.
pub fn write_batches(batches: &[Vec<u8>]) -> Vec<u8> {
    encode(|e| {
        e.array(3)?.str(LABEL)?.u32(FORMAT)?;
        e.array(batches.len() as u64)?;
        batches.iter().try_for_each(|b| e.bytes(b)?.ok())
    })
}

/// The body of a small file of each kind.
pub fn sample(kind: FileKind) -> Vec<u8> {
    let (workspace, device) = (WorkspaceId([6; 32]), DeviceKey(device().public()));
    let chain = |no| ChainId {
        author: AuthorKey([no; 32]),
        replica: ReplicaId([2; 16]),
    };
    let mut held = Held::default();
    held.insert(chain(1), 1, 64);
    held.insert(chain(1), 70, 70);
    held.insert(chain(2), 1, 3);
    let mut carries = Carried::default();
    carries.insert(chain(1), (1, 64, CommitId([8; 32])));
    carries.insert(chain(2), (1, 3, CommitId([9; 32])));
    let file = FileMark {
        name: Name::Batches(3),
        hash: [4; 32],
        recipients: [5; 32],
        carries,
    };
    let marks = Marks {
        claim: claim(),
        recipients: [5; 32],
        held,
        tips: Tips::from([(chain(1), vec![(64, CommitId([8; 32]))])]),
        files: vec![file],
        claims: vec![claim().sign(b"other marks", &self::device())],
    };
    let key = |no, patient| DataKey {
        id: DataKeyId([no; 16]),
        patient,
        key: Arc::new(Secret::fill_with(|out| out.fill(no))),
    };
    match kind {
        FileKind::Marks => marks.body(),
        FileKind::Claim => claim().write(&[4; 32]),
        FileKind::Keys => {
            let keys = vec![key(1, None), key(2, "Patient/p2".parse().ok())];
            let file = KeyFile {
                workspace,
                device,
                keys,
            };
            file.body().to_vec()
        }
        FileKind::Batches => write_batches(&[b"a batch".to_vec(), Vec::new()]),
    }
}
