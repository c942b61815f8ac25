//! Rotation of the workspace's authority: an admin's vote for a key that takes its place.
//!
//! Two votes of two admins for the same key make it the authority; see
//! [`Membership`](crate::ledger::membership::Membership) for when they count.

use crate::crypto::sign::SigningKey;
use crate::error::{Error, Result};
use crate::ids::WorkspaceId;
use crate::ledger::cose::{self, Statement, claim};
use crate::time::Timestamp;
use coset::cbor::value::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a rotation is signed as.
pub const ROTATION_CONTEXT: &str = "medsync v1 rotation";
/// Longest rotation, in bytes.
pub const ROTATION_BYTES_MAX: usize = 12 * 1024;
/// Most items a rotation keeps.
pub const KEEPS_MAX: usize = 256;

const WHAT: &str = "a rotation is malformed";

/// What a rotation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationTerms {
    /// The workspace, which keeps its id.
    pub workspace: WorkspaceId,
    /// The authority that is to go.
    pub from: [u8; 32],
    /// The one that takes its place.
    pub to: [u8; 32],
    /// BLAKE3 of what the old one and those before it signed and is to count further on. Everything
    /// else that it signed, or may yet sign, does not.
    pub keeps: BTreeSet<[u8; 32]>,
    /// When.
    pub issued: Timestamp,
}

impl RotationTerms {
    fn check(&self) -> Result<()> {
        if self.from == self.to {
            return Err(Error::invalid("an authority does not follow itself"));
        }
        if self.keeps.len() > KEEPS_MAX {
            return Err(Error::invalid_at(
                "the authority signed too much to be kept",
                KEEPS_MAX,
            ));
        }
        Ok(())
    }
}

/// A rotation that was signed by the admin it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    bytes: Box<[u8]>,
    issuer: [u8; 32],
    terms: RotationTerms,
}

impl Rotation {
    /// Signs a rotation.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too many items or one key twice.
    pub fn issue(key: &SigningKey, terms: &RotationTerms) -> Result<Self> {
        terms.check()?;
        let keeps = terms.keeps.iter().map(|hash| Value::Bytes(hash.to_vec()));
        let more = BTreeMap::from([
            (claim::FROM, Value::Bytes(terms.from.to_vec())),
            (claim::KEEPS, Value::Array(keeps.collect())),
        ]);
        let statement = Statement {
            issuer: key.public(),
            subject: terms.to,
            workspace: terms.workspace,
            issued: terms.issued,
            expires_ms: None,
            more,
        };
        Self::parse(&cose::sign(key, ROTATION_CONTEXT, statement)?)
    }

    /// Reads a rotation and checks its signature.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a malformed one or one that its issuer did not sign.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut said = cose::open(bytes, ROTATION_CONTEXT, ROTATION_BYTES_MAX, WHAT)?;
        let terms = read_terms(&mut said).ok_or(Error::integrity(WHAT))?;
        terms.check().map_err(|_| Error::integrity(WHAT))?;
        Ok(Self {
            bytes: bytes.into(),
            issuer: said.issuer,
            terms,
        })
    }

    /// The bytes that are kept and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Who signed it.
    pub const fn issuer(&self) -> &[u8; 32] {
        &self.issuer
    }

    /// What it says.
    pub const fn terms(&self) -> &RotationTerms {
        &self.terms
    }
}

fn read_terms(said: &mut Statement) -> Option<RotationTerms> {
    let from = said.key(claim::FROM).ok()??;
    let mut keeps = BTreeSet::new();
    let mut last = None;
    for value in said.array(claim::KEEPS)? {
        let hash: [u8; 32] = value.into_bytes().ok()?.try_into().ok()?;
        // In order and once each: one statement has one form.
        if last.is_some_and(|last| last >= hash) {
            return None;
        }
        last = Some(hash);
        keeps.insert(hash);
    }
    Some(RotationTerms {
        workspace: said.workspace,
        from,
        to: said.subject,
        keeps,
        issued: said.issued,
    })
}
