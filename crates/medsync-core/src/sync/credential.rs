//! Which device stands behind a handshake's static key, and whether it may come in.

use crate::crypto::key::Secret;
use crate::crypto::sign::SigningKey;
use crate::error::{Error, Result};
use crate::ids::{DeviceKey, WorkspaceId};
use crate::ledger::certificate::{Certificate, Subject};
use crate::ledger::cose::{self, Statement};
use crate::ledger::membership::Membership;
use crate::sync::sketch::SketchKey;
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// What a credential is signed as.
pub const CREDENTIAL_CONTEXT: &str = "medsync v1 session key";
/// Longest credential, in bytes.
pub const CREDENTIAL_BYTES_MAX: usize = 512;

/// A device's word that a static X25519 key is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    bytes: Box<[u8]>,
    device: DeviceKey,
    workspace: WorkspaceId,
    static_key: [u8; 32],
}

impl Credential {
    /// Signs the device's static key.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it does not fit its form, which it always does.
    pub fn issue(
        device: &SigningKey,
        workspace: WorkspaceId,
        static_key: &[u8; 32],
        issued: Timestamp,
    ) -> Result<Self> {
        let statement = Statement {
            issuer: device.public(),
            subject: *static_key,
            workspace,
            issued,
            expires_ms: None,
            more: BTreeMap::new(),
        };
        Self::parse(&cose::sign(device, CREDENTIAL_CONTEXT, statement)?)
    }

    /// Reads a credential and checks its signature.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a malformed one or one that its device did not sign.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "a session's credential is malformed";
        let said = cose::open(bytes, CREDENTIAL_CONTEXT, CREDENTIAL_BYTES_MAX, WHAT)?;
        Ok(Self {
            bytes: bytes.into(),
            device: DeviceKey(said.issuer),
            workspace: said.workspace,
            static_key: said.subject,
        })
    }

    /// The bytes that are kept and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whose it is.
    pub const fn device(&self) -> DeviceKey {
        self.device
    }

    /// The static key.
    pub const fn static_key(&self) -> &[u8; 32] {
        &self.static_key
    }
}

/// The static key of a device's sessions. It follows from the device's own key: nothing more has to
/// be kept, and a restored vault has it again.
pub fn static_key(device: &SigningKey) -> Secret<32> {
    let mut seed = blake3::derive_key("medsync v1 session static key", &*device.seed());
    Secret::take(&mut seed)
}

/// The public half of a static key.
pub fn static_public(secret: &Secret<32>) -> [u8; 32] {
    let secret = x25519_dalek::StaticSecret::from(*secret.expose());
    x25519_dalek::PublicKey::from(&secret).to_bytes()
}

/// What keys the sets of two devices: only these two can compute it.
pub(crate) fn pair_key(ours: &Secret<32>, theirs: &[u8; 32]) -> SketchKey {
    let secret = x25519_dalek::StaticSecret::from(*ours.expose());
    let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(*theirs));
    SketchKey::new(blake3::derive_key(
        "medsync v1 pair sets",
        shared.as_bytes(),
    ))
}

/// Why a device is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It was revoked.
    Revoked,
    /// Nobody here knows who admitted it.
    Stranger,
}

/// Whether a device may come in: because it belongs to the workspace by what was delivered here, or
/// because someone who may admit has certified it and that has not come here yet.
pub(crate) fn admit(
    membership: &Membership,
    device: &DeviceKey,
    certificate: Option<&[u8]>,
) -> std::result::Result<(), Refusal> {
    if membership.is_current_device(device) {
        return Ok(());
    }
    if membership.is_revoked(&device.0) || membership.was_certified(device) {
        return Err(Refusal::Revoked);
    }
    let certificate = certificate.ok_or(Refusal::Stranger)?;
    let certificate = Certificate::parse(certificate).map_err(|_| Refusal::Stranger)?;
    let terms = certificate.terms();
    let fits = matches!(terms.subject, Subject::Device { key, .. } if key == *device)
        && terms.workspace == *membership.workspace();
    if fits && membership.admits(certificate.issuer()) {
        Ok(())
    } else {
        Err(Refusal::Stranger)
    }
}

/// Reads a peer's credential: of this workspace, and for the key that the handshake proved.
pub(crate) fn check(
    bytes: &[u8],
    workspace: &WorkspaceId,
    static_key: &[u8; 32],
) -> Result<Credential> {
    let credential = Credential::parse(bytes)?;
    if credential.workspace != *workspace || credential.static_key != *static_key {
        return Err(Error::integrity(
            "a credential is of another key or workspace",
        ));
    }
    Ok(credential)
}
