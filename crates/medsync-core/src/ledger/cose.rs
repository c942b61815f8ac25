//! COSE_Sign1 over CWT claims (RFC 9052, RFC 8392), with one form of each statement.

use crate::crypto::sign::{self, Signature, SigningKey};
use crate::error::{Error, Result};
use crate::ids::{CommitId, ReplicaId, WorkspaceId, hex, unhex};
use crate::time::Timestamp;
use coset::cbor::value::Value;
use coset::cwt::{ClaimName, ClaimsSet, Timestamp as Seconds};
use coset::iana::Algorithm;
use coset::{CborSerializable as _, CoseSign1, CoseSign1Builder, HeaderBuilder};
use std::collections::BTreeMap;

/// Private claims (RFC 8392 section 9.1.1). `docs/format.md` lists them.
pub(crate) mod claim {
    pub(crate) const HLC: i64 = -70_001;
    pub(crate) const KIND: i64 = -70_002;
    pub(crate) const NAME: i64 = -70_003;
    pub(crate) const ROLES: i64 = -70_004;
    pub(crate) const RECIPIENT: i64 = -70_005;
    pub(crate) const CUTS: i64 = -70_006;
    pub(crate) const BECAUSE: i64 = -70_007;
    pub(crate) const FROM: i64 = -70_008;
    pub(crate) const KEEPS: i64 = -70_009;
    pub(crate) const EPOCH: i64 = -70_010;
    pub(crate) const RANGES: i64 = -70_011;
    pub(crate) const ROOT: i64 = -70_012;
    pub(crate) const LEVEL: i64 = -70_013;
    pub(crate) const PREVIOUS: i64 = -70_014;
}

/// What every statement says: who says it, about whom, where and when.
pub(crate) struct Statement {
    pub(crate) issuer: [u8; 32],
    pub(crate) subject: [u8; 32],
    pub(crate) workspace: WorkspaceId,
    pub(crate) issued: Timestamp,
    pub(crate) expires_ms: Option<i64>,
    pub(crate) more: BTreeMap<i64, Value>,
}

/// Signs a statement. The issuer is the key that signs.
///
/// The context is COSE's external data: it tells the uses apart and takes no room.
pub(crate) fn sign(key: &SigningKey, context: &str, statement: Statement) -> Result<Vec<u8>> {
    let issuer = key.public();
    CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(Algorithm::EdDSA).build())
        .payload(payload(&Statement {
            issuer,
            ..statement
        })?)
        .create_signature(context.as_bytes(), |message| {
            key.sign_bare(message).to_vec()
        })
        .build()
        .to_vec()
        .map_err(|_| UNFIT)
}

/// A statement with a signature that was made elsewhere: whoever knows what it says needs only the
/// signature to have it. Not verified: [`open`] does that.
pub(crate) fn assemble(statement: &Statement, signature: &Signature) -> Result<Vec<u8>> {
    CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(Algorithm::EdDSA).build())
        .payload(payload(statement)?)
        .signature(signature.to_vec())
        .build()
        .to_vec()
        .map_err(|_| UNFIT)
}

/// The signature of a signed statement.
pub(crate) fn signature(bytes: &[u8]) -> Option<Signature> {
    let cose = CoseSign1::from_slice(bytes).ok()?;
    cose.signature.as_slice().try_into().ok()
}

const UNFIT: Error = Error::invalid("a statement does not fit its form");

fn payload(statement: &Statement) -> Result<Vec<u8>> {
    let mut claims = ClaimsSet {
        issuer: Some(hex(&statement.issuer)),
        subject: Some(hex(&statement.subject)),
        audience: Some(statement.workspace.to_string()),
        expiration_time: statement
            .expires_ms
            .map(|ms| Seconds::WholeSeconds(ms.div_euclid(1000))),
        issued_at: Some(Seconds::WholeSeconds(
            statement.issued.ms().div_euclid(1000),
        )),
        ..ClaimsSet::default()
    };
    let mut more = statement.more.clone();
    more.insert(claim::HLC, statement.issued.0.into());
    // Deterministic CBOR wants -70001 before -70002.
    let private = more.into_iter().rev();
    claims.rest = private
        .map(|(key, value)| (ClaimName::PrivateUse(key), value))
        .collect();
    claims.to_vec().map_err(|_| UNFIT)
}

/// Reads a statement and checks that the issuer it names signed it.
pub(crate) fn open(
    bytes: &[u8],
    context: &str,
    max: usize,
    what: &'static str,
) -> Result<Statement> {
    let fault = || Error::integrity(what);
    if bytes.len() > max {
        return Err(Error::integrity_at(
            what,
            format!("longer than {max} bytes"),
        ));
    }
    let cose = CoseSign1::from_slice(bytes).map_err(|_| fault())?;
    let payload = cose.payload.as_deref().ok_or_else(fault)?;
    let claims = ClaimsSet::from_slice(payload).map_err(|_| fault())?;
    let issuer = claims
        .issuer
        .as_deref()
        .and_then(|t| unhex(t).ok())
        .ok_or_else(fault)?;
    let signature = cose.signature.as_slice().try_into().map_err(|_| fault())?;
    sign::verify_bare(&issuer, &cose.tbs_data(context.as_bytes()), &signature)?;
    // The signature covers neither the outer encoding nor the unprotected header: with one form
    // only, one statement has one hash.
    let form = CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(Algorithm::EdDSA).build())
        .payload(payload.to_vec())
        .signature(signature.to_vec())
        .build();
    if form.to_vec().map_err(|_| fault())? != bytes {
        return Err(fault());
    }
    statement(issuer, claims).ok_or_else(fault)
}

fn statement(issuer: [u8; 32], claims: ClaimsSet) -> Option<Statement> {
    let mut more = BTreeMap::new();
    for (name, value) in claims.rest {
        // Claims of a newer engine stay in the bytes and mean nothing here.
        if let ClaimName::PrivateUse(key) = name {
            more.insert(key, value);
        }
    }
    let issued = Timestamp(more.remove(&claim::HLC)?.as_integer()?.try_into().ok()?);
    let whole = |seconds: Seconds| match seconds {
        Seconds::WholeSeconds(s) => Some(s),
        Seconds::FractionalSeconds(_) => None,
    };
    let expires_ms = match claims.expiration_time {
        None => None,
        Some(seconds) => Some(whole(seconds)?.checked_mul(1000)?),
    };
    if issued.0 < 0 || whole(claims.issued_at?)? != issued.ms().div_euclid(1000) {
        return None;
    }
    Some(Statement {
        issuer,
        subject: unhex(&claims.subject?).ok()?,
        workspace: claims.audience?.parse().ok()?,
        issued,
        expires_ms,
        more,
    })
}

impl Statement {
    pub(crate) fn text(&mut self, key: i64) -> Option<String> {
        self.more.remove(&key)?.into_text().ok()
    }

    pub(crate) fn number(&mut self, key: i64) -> Option<u8> {
        self.more.remove(&key)?.as_integer()?.try_into().ok()
    }

    pub(crate) fn array(&mut self, key: i64) -> Option<Vec<Value>> {
        self.more.remove(&key)?.into_array().ok()
    }

    /// 32 bytes; `Ok(None)` when the claim is not there.
    pub(crate) fn key(&mut self, key: i64) -> std::result::Result<Option<[u8; 32]>, ()> {
        match self.more.remove(&key) {
            None => Ok(None),
            Some(value) => {
                let bytes = value.into_bytes().map_err(|_| ())?;
                bytes.as_slice().try_into().map(Some).map_err(|_| ())
            }
        }
    }
}

/// `[replica, seq]`.
pub(crate) fn cut(value: &Value) -> Option<(ReplicaId, u64, CommitId)> {
    match value.as_array()?.as_slice() {
        [replica, seq, commit] => Some((
            ReplicaId::from_slice(replica.as_bytes()?).ok()?,
            seq.as_integer()?.try_into().ok()?,
            CommitId::from_slice(commit.as_bytes()?).ok()?,
        )),
        _ => None,
    }
}
