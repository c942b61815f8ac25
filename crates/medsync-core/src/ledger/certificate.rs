//! Certificates: who a key belongs to and what it may do, signed by the authority or an admin.
//!
//! A [`Certificate`] was signed by the issuer it names. Whether that issuer could is for
//! [`Membership`](crate::ledger::membership::Membership) to say.

use crate::crypto::envelope::is_contributory;
use crate::crypto::sign::SigningKey;
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, DeviceKey, WorkspaceId};
use crate::ledger::cose::{self, Statement, claim};
use crate::phi::Phi;
use crate::time::Timestamp;
use coset::cbor::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use zeroize::Zeroizing;

/// What a certificate is signed as.
pub const CERTIFICATE_CONTEXT: &str = "medsync v1 certificate";
/// Longest certificate, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 1024;
/// Longest name of a person or device, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// How long an admin's certificate is good for unless the issuer says otherwise.
pub const ADMIN_TERM_MS: i64 = 400 * 24 * 3_600_000;

const WHAT: &str = "a certificate is malformed";

/// The workspace's authority, from the entropy of its 24 words.
pub fn authority_key(entropy: &[u8; 32]) -> SigningKey {
    let seed = Zeroizing::new(blake3::derive_key("medsync v1 authority", entropy));
    SigningKey::from_seed(&seed)
}

/// The workspace of an authority.
pub fn workspace_id(authority: &[u8; 32]) -> WorkspaceId {
    WorkspaceId(blake3::derive_key("medsync v1 workspace", authority))
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A person who treats patients.
    Clinician,
    /// A person who dispenses.
    Pharmacist,
    /// A person who decides escalations, and without another role nothing else.
    Reviewer,
    /// A person who admits and revokes others.
    Admin,
    /// A device whose receipts empty outboxes.
    Archive,
}

impl Role {
    const ALL: [Self; 5] = [
        Self::Clinician,
        Self::Pharmacist,
        Self::Reviewer,
        Self::Admin,
        Self::Archive,
    ];

    /// Its number in a certificate.
    pub const fn code(self) -> u8 {
        match self {
            Self::Clinician => 1,
            Self::Pharmacist => 2,
            Self::Reviewer => 3,
            Self::Admin => 4,
            Self::Archive => 5,
        }
    }

    /// From its number; `None` for a role of a newer engine.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }
}

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A person, by the key that signs commits.
    Person(AuthorKey),
    /// A device.
    Device {
        /// The key that signs for it.
        key: DeviceKey,
        /// The X25519 key to seal for it.
        recipient: Option<[u8; 32]>,
    },
}

impl Subject {
    /// The ed25519 key.
    pub const fn key(&self) -> &[u8; 32] {
        match self {
            Self::Person(key) => &key.0,
            Self::Device { key, .. } => &key.0,
        }
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The workspace it counts in.
    pub workspace: WorkspaceId,
    /// For whom.
    pub subject: Subject,
    /// The name people know the subject by.
    pub name: Phi<String>,
    /// What the subject may do. `Archive` is for devices, all others are for people.
    pub roles: BTreeSet<Role>,
    /// When it was issued.
    pub issued: Timestamp,
    /// Until when, in milliseconds since 1970, to the second; `None` for ever.
    pub expires_ms: Option<i64>,
}

impl Terms {
    /// Terms for `subject`; those of an admin end after [`ADMIN_TERM_MS`].
    pub fn new(
        workspace: WorkspaceId,
        subject: Subject,
        name: &str,
        roles: impl IntoIterator<Item = Role>,
        issued: Timestamp,
    ) -> Self {
        let roles: BTreeSet<Role> = roles.into_iter().collect();
        let expires_ms = roles
            .contains(&Role::Admin)
            .then(|| issued.ms().saturating_add(ADMIN_TERM_MS));
        Self {
            workspace,
            subject,
            name: Phi::new(name.to_owned()),
            roles,
            issued,
            expires_ms,
        }
    }

    fn check(&self) -> Result<()> {
        check_name(self.name.expose())?;
        let fits = |role: &Role| match self.subject {
            Subject::Person(_) => *role != Role::Archive,
            Subject::Device { .. } => *role == Role::Archive,
        };
        if !self.roles.iter().all(fits) {
            return Err(Error::invalid(
                "archive is a role of devices, all others are of people",
            ));
        }
        match self.subject {
            Subject::Device {
                recipient: Some(key),
                ..
            } if !is_contributory(&key) => Err(Error::invalid("a device's X25519 key is none")),
            _ => Ok(()),
        }
    }
}

/// A name people will read in lists: something, not too long, nothing invisible that breaks lines.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(Error::invalid(
            "a name has 1 to 128 bytes and no control characters",
        ))
    }
}

/// A certificate that was signed by the issuer it names.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    bytes: Box<[u8]>,
    issuer: [u8; 32],
    terms: Terms,
}

// The bytes hold in clear what the terms hide.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?})", self.terms)
    }
}

impl Certificate {
    /// Signs a certificate.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name beyond its limits or a role that does not fit the subject.
    pub fn issue(key: &SigningKey, terms: &Terms) -> Result<Self> {
        terms.check()?;
        let roles = terms.roles.iter().map(|role| role.code().into()).collect();
        let mut more = BTreeMap::from([
            (claim::NAME, Value::Text(terms.name.expose().clone())),
            (claim::ROLES, Value::Array(roles)),
        ]);
        match terms.subject {
            Subject::Person(_) => more.insert(claim::KIND, PERSON.into()),
            Subject::Device { recipient, .. } => {
                if let Some(key) = recipient {
                    more.insert(claim::RECIPIENT, Value::Bytes(key.to_vec()));
                }
                more.insert(claim::KIND, DEVICE.into())
            }
        };
        let statement = Statement {
            issuer: key.public(),
            subject: *terms.subject.key(),
            workspace: terms.workspace,
            issued: terms.issued,
            expires_ms: terms.expires_ms,
            more,
        };
        Self::parse(&cose::sign(key, CERTIFICATE_CONTEXT, statement)?)
    }

    /// Reads a certificate and checks its signature.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a malformed one or one that its issuer did not sign.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut said = cose::open(bytes, CERTIFICATE_CONTEXT, CERTIFICATE_BYTES_MAX, WHAT)?;
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
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }
}

const PERSON: u8 = 1;
const DEVICE: u8 = 2;

fn read_terms(said: &mut Statement) -> Option<Terms> {
    let recipient = said.key(claim::RECIPIENT).ok()?;
    let subject = match (said.number(claim::KIND)?, recipient) {
        (PERSON, None) => Subject::Person(AuthorKey(said.subject)),
        (DEVICE, recipient) => Subject::Device {
            key: DeviceKey(said.subject),
            recipient,
        },
        _ => return None,
    };
    let mut roles = BTreeSet::new();
    for value in said.array(claim::ROLES)? {
        let code = u8::try_from(value.as_integer()?).ok()?;
        // A role of a newer engine is none here; the rest of the certificate stands.
        roles.extend(Role::from_code(code));
    }
    Some(Terms {
        workspace: said.workspace,
        subject,
        name: Phi::new(said.text(claim::NAME)?),
        roles,
        issued: said.issued,
        expires_ms: said.expires_ms,
    })
}
