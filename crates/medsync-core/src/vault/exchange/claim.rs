//! The signed head of marks: which copy of a device gave them, and which of its marks they are.
//!
//! It is small, so that every device passes on the newest ones it knows. A vault that finds a claim
//! of its own beyond its last marks was put back from a backup, or has a twin; and one whose name
//! another copy gave up finds that copy's claim. Nobody but the device can make it do so.

use crate::crypto::sign::{self, SigningKey};
use crate::error::{Error, Result};
use crate::ids::{DeviceKey, ReplicaId, WorkspaceId};
use crate::ledger::cbor::{Reader, encode};
use crate::time::Timestamp;
use crate::vault::exchange::manifest::{CONTEXT, FORMAT, LABEL, read_label};
use crate::vault::incarnation::FORMER_MAX;

/// Longest claim, in bytes.
pub(super) const CLAIM_BYTES_MAX: usize = 2048;
const WHAT: &str = "the head of marks is malformed";

/// What a device says of itself at the head of its marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) workspace: WorkspaceId,
    pub(super) device: DeviceKey,
    pub(super) replica: ReplicaId,
    /// The names that this copy gave up, oldest first: whoever still bears one takes another.
    pub(super) former: Vec<ReplicaId>,
    /// Rises with each marks of this copy.
    pub(super) counter: u64,
    pub(super) hlc: Timestamp,
}

impl Claim {
    /// The claim over the rest of its marks, signed by the device.
    pub(super) fn sign(&self, body: &[u8], key: &SigningKey) -> SignedClaim {
        let bytes = self.write(blake3::hash(body).as_bytes());
        let signature = key.sign(CONTEXT, &bytes);
        SignedClaim { bytes, signature }
    }

    /// The claim over the rest of its marks, by its hash.
    pub(super) fn write(&self, body: &[u8; 32]) -> Vec<u8> {
        encode(|e| {
            e.array(9)?.str(LABEL)?.u32(FORMAT)?;
            e.encode(self.workspace)?
                .encode(self.device)?
                .encode(self.replica)?;
            e.array(self.former.len().min(FORMER_MAX) as u64)?;
            for name in self.former.iter().take(FORMER_MAX) {
                e.encode(name)?;
            }
            e.u64(self.counter)?.i64(self.hlc.0)?;
            e.bytes(body)?.ok()
        })
    }

    /// Reads a claim, which nobody has to have signed, and the hash of the rest of its marks.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Self, [u8; 32])> {
        let mut r = Reader::new(bytes, CLAIM_BYTES_MAX, WHAT)?;
        let parts = r.list(64)?;
        read_label(&mut r)?;
        if parts != 9 {
            return Err(r.fault());
        }
        let (workspace, device, replica) = (r.value()?, r.value()?, r.value()?);
        let mut former = Vec::new();
        for _ in 0..r.list(FORMER_MAX)? {
            former.push(r.value()?);
        }
        let (counter, hlc) = (r.value()?, Timestamp(r.value()?));
        let body = r.fixed()?;
        r.end()?;
        let claim = Self {
            workspace,
            device,
            replica,
            former,
            counter,
            hlc,
        };
        Ok((claim, body))
    }
}

/// A claim as its device signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignedClaim {
    pub(super) bytes: Vec<u8>,
    pub(super) signature: [u8; 64],
}

impl SignedClaim {
    /// What the device that is named signed.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a malformed or forged claim, [`Error::TooNew`] for a newer format.
    pub(super) fn open(&self) -> Result<(Claim, [u8; 32])> {
        let (claim, body) = Claim::parse(&self.bytes)?;
        sign::verify(&claim.device.0, CONTEXT, &self.bytes, &self.signature)?;
        Ok((claim, body))
    }

    /// A claim of stored bytes; `None` if they are of another length.
    pub(super) fn stored(bytes: &[u8], signature: &[u8]) -> Option<Self> {
        let signature = signature.try_into().ok()?;
        (!bytes.is_empty()).then(|| Self {
            bytes: bytes.to_vec(),
            signature,
        })
    }

    /// What one device signed; `None` if it is another's, or forged.
    pub(super) fn of(&self, device: &DeviceKey, workspace: &WorkspaceId) -> Option<Claim> {
        // Most claims are of others: those cost no signature to check.
        let (claim, _) = Claim::parse(&self.bytes).ok()?;
        let theirs = claim.device == *device && claim.workspace == *workspace;
        (theirs && self.open().is_ok()).then_some(claim)
    }

    /// Refuses what does not fit the rest of its marks.
    pub(super) fn open_over(&self, body: &[u8]) -> Result<Claim> {
        let (claim, hash) = self.open()?;
        if hash != *blake3::hash(body).as_bytes() {
            return Err(Error::integrity("marks are not those of their head"));
        }
        Ok(claim)
    }
}
