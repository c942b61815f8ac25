//! Revocations: from where on a key's commits have no authority, signed by the authority or an
//! admin.

use crate::crypto::sign::SigningKey;
use crate::error::{Error, Result};
use crate::ids::{CommitId, ReplicaId, WorkspaceId};
use crate::ledger::cose::{self, Statement, claim};
use crate::phi::Phi;
use crate::time::Timestamp;
use coset::cbor::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a revocation is signed as.
pub const REVOCATION_CONTEXT: &str = "medsync v1 revocation";
/// Longest revocation, in bytes.
pub const REVOCATION_BYTES_MAX: usize = 12 * 1024;
/// Most branches a revocation names, over all chains.
pub const CUTS_MAX: usize = 160;
/// Longest reason of a revocation, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

const WHAT: &str = "a revocation is malformed";

/// Up to where a chain still counts. Where the chain forked, only what the named commit descends
/// from does: a thief who grows a second branch below the place gains nothing. Several cuts of one
/// chain let several branches count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cut {
    /// The last place that counts.
    pub seq: u64,
    /// The commit there; of a revocation that its subject's own commit carries, the one before it,
    /// for a commit cannot name itself.
    pub commit: CommitId,
}

/// What a revocation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationTerms {
    /// The workspace it counts in.
    pub workspace: WorkspaceId,
    /// The key that is revoked: a person's or a device's.
    pub subject: [u8; 32],
    /// The last commits of the person that still count, by replica. On a replica that is not
    /// named, none does. A device writes no chains: its revocation needs no cuts.
    pub cuts: BTreeMap<ReplicaId, BTreeSet<Cut>>,
    /// Why.
    pub because: Phi<String>,
    /// When.
    pub issued: Timestamp,
}

impl RevocationTerms {
    fn check(&self) -> Result<()> {
        if self.cuts.values().map(BTreeSet::len).sum::<usize>() > CUTS_MAX {
            return Err(Error::invalid_at(
                "a revocation names too many branches",
                CUTS_MAX,
            ));
        }
        if self.because.expose().len() > REASON_BYTES_MAX {
            return Err(Error::invalid_at(
                "a reason is too long, in bytes",
                REASON_BYTES_MAX,
            ));
        }
        Ok(())
    }
}

/// A revocation that was signed by the issuer it names.
#[derive(Clone, PartialEq, Eq)]
pub struct Revocation {
    bytes: Box<[u8]>,
    issuer: [u8; 32],
    terms: RevocationTerms,
}

// The bytes hold in clear what the terms hide.
impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocation({:?})", self.terms)
    }
}

impl Revocation {
    /// Signs a revocation.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a reason or cuts beyond the limits.
    pub fn issue(key: &SigningKey, terms: &RevocationTerms) -> Result<Self> {
        terms.check()?;
        let cut = |(replica, cut): (&ReplicaId, &Cut)| {
            Value::Array(vec![
                Value::Bytes(replica.0.to_vec()),
                cut.seq.into(),
                Value::Bytes(cut.commit.0.to_vec()),
            ])
        };
        let cuts = terms.cuts.iter();
        let cuts = cuts.flat_map(|(replica, cuts)| cuts.iter().map(move |cut| (replica, cut)));
        let more = BTreeMap::from([
            (claim::CUTS, Value::Array(cuts.map(cut).collect())),
            (claim::BECAUSE, Value::Text(terms.because.expose().clone())),
        ]);
        let statement = Statement {
            issuer: key.public(),
            subject: terms.subject,
            workspace: terms.workspace,
            issued: terms.issued,
            expires_ms: None,
            more,
        };
        Self::parse(&cose::sign(key, REVOCATION_CONTEXT, statement)?)
    }

    /// Reads a revocation and checks its signature.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a malformed one or one that its issuer did not sign.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut said = cose::open(bytes, REVOCATION_CONTEXT, REVOCATION_BYTES_MAX, WHAT)?;
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
    pub const fn terms(&self) -> &RevocationTerms {
        &self.terms
    }
}

fn read_terms(said: &mut Statement) -> Option<RevocationTerms> {
    let listed = said.array(claim::CUTS)?;
    let mut cuts: BTreeMap<ReplicaId, BTreeSet<Cut>> = BTreeMap::new();
    for value in &listed {
        let (replica, seq, commit) = cose::cut(value)?;
        if !cuts.entry(replica).or_default().insert(Cut { seq, commit }) {
            return None;
        }
    }
    Some(RevocationTerms {
        workspace: said.workspace,
        subject: said.subject,
        cuts,
        because: Phi::new(said.text(claim::BECAUSE)?),
        issued: said.issued,
    })
}
