//! Membership: who had authority where, as a pure function of the delivered set.
//!
//! Nothing here refuses data. The answer depends on which items were delivered and by which
//! commits, never on the order. Three rules:
//!
//! - A certificate counts if the authority signed it, or an admin did whose own certificate counts
//!   and had not expired at the time of the commit that carries it. What an admin signs counts only
//!   when the admin's own commit carries it: so a cut of the admin's chain cuts it too.
//! - A revocation counts by the same rule. The authority's count first; those of admins are
//!   taken in the order of their commits' times, and one whose issuer turns out to be cut off
//!   before it falls out again.
//! - A revoked key stays revoked. Whoever comes back gets a new one.
//! - Two admins' votes put another authority in the place of the present one. From then on the old
//!   one's signature counts only on what both votes keep.

mod judge;

use crate::error::Result;
use crate::ids::{AuthorKey, ChainId, CommitId, DeviceKey, WorkspaceId};
use crate::ledger::certificate::{Certificate, Role, Subject, workspace_id};
use crate::ledger::cuts::{self, Cuts};
use crate::ledger::entry::ItemKind;
use crate::ledger::forks::Forks;
use crate::ledger::revocation::Revocation;
use crate::ledger::rotation::Rotation;
use crate::phi::Phi;
use crate::time::Timestamp;
use judge::Roots;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long before the end of a certificate it warns, in milliseconds.
pub const WARN_BEFORE_MS: i64 = 30 * 24 * 3_600_000;

/// The commit that brought an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Carrier {
    /// Its time.
    pub hlc: Timestamp,
    /// Its chain.
    pub chain: ChainId,
    /// Its place in the chain.
    pub seq: u64,
    /// The commit; zeros where only its place is known, from a grant.
    pub commit: CommitId,
}

/// A certificate, a revocation or a vote for another authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberItem {
    /// A certificate.
    Certificate(Certificate),
    /// A revocation.
    Revocation(Revocation),
    /// A vote for another authority.
    Rotation(Rotation),
}

impl MemberItem {
    /// Reads an item of a commit; `None` for one that is not about membership.
    ///
    /// # Errors
    /// [`Error::Integrity`](crate::error::Error::Integrity) for a malformed or forged one.
    pub fn parse(kind: ItemKind, bytes: &[u8]) -> Result<Option<Self>> {
        match kind {
            ItemKind::CERTIFICATE => Certificate::parse(bytes).map(Self::Certificate).map(Some),
            ItemKind::REVOCATION => Revocation::parse(bytes).map(Self::Revocation).map(Some),
            ItemKind::ROTATION => Rotation::parse(bytes).map(Self::Rotation).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether an item of this kind is about membership.
    pub(crate) fn is_of(kind: ItemKind) -> bool {
        [
            ItemKind::CERTIFICATE,
            ItemKind::REVOCATION,
            ItemKind::ROTATION,
        ]
        .contains(&kind)
    }

    /// What it is, for a commit's entry.
    pub const fn kind(&self) -> ItemKind {
        match self {
            Self::Certificate(_) => ItemKind::CERTIFICATE,
            Self::Revocation(_) => ItemKind::REVOCATION,
            Self::Rotation(_) => ItemKind::ROTATION,
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Certificate(c) => c.bytes(),
            Self::Revocation(r) => r.bytes(),
            Self::Rotation(r) => r.bytes(),
        }
    }

    const fn workspace(&self) -> &WorkspaceId {
        match self {
            Self::Certificate(c) => &c.terms().workspace,
            Self::Revocation(r) => &r.terms().workspace,
            Self::Rotation(r) => &r.terms().workspace,
        }
    }
}

/// What an author's commit had at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Authority, in these roles.
    Entitled(BTreeSet<Role>),
    /// None: the author's key was revoked and this commit lies after the cut, or on a branch that
    /// was not let count.
    Revoked {
        /// The last place of the chain that can still count.
        last_accepted: u64,
    },
    /// None: no certificate that counts has been delivered.
    Uncertified,
}

impl Standing {
    /// Whether the commit has authority in this role.
    pub fn has(&self, role: Role) -> bool {
        matches!(self, Self::Entitled(roles) if roles.contains(&role))
    }
}

/// A person with a certificate that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The person's key.
    pub key: AuthorKey,
    /// The person's name, by the newest certificate.
    pub name: Phi<String>,
    /// All roles certified.
    pub roles: BTreeSet<Role>,
    /// Whether the key is revoked.
    pub revoked: bool,
}

/// A device with a certificate that counts and no revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The device's key.
    pub key: DeviceKey,
    /// The X25519 key to seal for it, by the newest certificate.
    pub recipient: Option<[u8; 32]>,
    /// The device's name, by the newest certificate.
    pub name: Phi<String>,
    /// All roles certified.
    pub roles: BTreeSet<Role>,
}

/// A certificate that ends soon or has ended, with nothing to take its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Whose.
    pub subject: Subject,
    /// The subject's name.
    pub name: Phi<String>,
    /// When it ends or ended.
    pub expires_ms: i64,
    /// Whether it has ended.
    pub expired: bool,
}

impl Person {
    fn new(key: AuthorKey, revoked: bool) -> Self {
        Self {
            key,
            name: Phi::default(),
            roles: BTreeSet::new(),
            revoked,
        }
    }
}

impl Device {
    fn new(key: DeviceKey) -> Self {
        Self {
            key,
            recipient: None,
            name: Phi::default(),
            roles: BTreeSet::new(),
        }
    }
}

type Key = [u8; 32];
/// An item's place in the set: its carrier first, so that iterating goes by time.
type Place = (Carrier, Key);

/// Who belongs to a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    authority: Key,
    workspace: WorkspaceId,
    roots: Roots,
    items: BTreeMap<Place, MemberItem>,
    /// Certificates that count, oldest first.
    certificates: Vec<Certificate>,
    people: BTreeMap<AuthorKey, Person>,
    devices: BTreeMap<DeviceKey, Device>,
    cuts: Cuts,
    /// Which commit follows which where a chain forked.
    forks: Arc<Forks>,
}

impl Membership {
    /// The membership of an authority's workspace, with nobody in it yet.
    pub fn new(authority: [u8; 32]) -> Self {
        Self {
            authority,
            workspace: workspace_id(&authority),
            roots: Roots::founding(authority),
            items: BTreeMap::new(),
            certificates: Vec::new(),
            people: BTreeMap::new(),
            devices: BTreeMap::new(),
            cuts: Cuts::default(),
            forks: Arc::default(),
        }
    }

    /// The workspace.
    pub const fn workspace(&self) -> &WorkspaceId {
        &self.workspace
    }

    /// The public key of the authority that founded the workspace, after which it is named.
    pub const fn authority(&self) -> &[u8; 32] {
        &self.authority
    }

    /// Adds delivered items. One of another workspace counts for nothing.
    pub fn extend(&mut self, items: impl IntoIterator<Item = (MemberItem, Carrier)>) {
        let before = self.items.len();
        for (item, carrier) in items {
            if *item.workspace() == self.workspace {
                let place = (carrier, *blake3::hash(item.bytes()).as_bytes());
                self.items.insert(place, item);
            }
        }
        // Judging takes long where there are many; what is known already changes nothing.
        if self.items.len() != before {
            self.judge();
        }
    }

    /// Says which chains forked, and how. Returns whether that can change what counts.
    pub fn set_forks(&mut self, forks: Arc<Forks>) -> bool {
        self.forks = forks;
        // Of chains of keys that nobody revoked all branches count.
        let revoked = |item: &MemberItem| matches!(item, MemberItem::Revocation(_));
        let matters = !self.forks.is_empty() && self.items.values().any(revoked);
        if matters {
            self.judge();
        }
        matters
    }

    /// The chains that forked.
    pub const fn forks(&self) -> &Arc<Forks> {
        &self.forks
    }

    /// Every item with its carrier, oldest first: what a newcomer needs.
    pub fn items(&self) -> impl Iterator<Item = (&MemberItem, &Carrier)> {
        self.items
            .iter()
            .map(|((carrier, _), item)| (item, carrier))
    }

    /// What a commit at a place of a chain has. Zeros for a commit that is not known: where the
    /// chain forked, the place decides.
    pub fn role_of(&self, chain: &ChainId, seq: u64, commit: &CommitId) -> Standing {
        let key = chain.author.0;
        let judged = cuts::Judged { chain, seq, commit };
        if !self.cuts.allow(judged, &self.forks) {
            let last_accepted = self.cuts.last(chain).unwrap_or(0);
            return Standing::Revoked { last_accepted };
        }
        if key == self.current_authority() {
            return Standing::Entitled(BTreeSet::from([Role::Admin]));
        }
        match self.people.get(&chain.author) {
            Some(person) => Standing::Entitled(person.roles.clone()),
            None => Standing::Uncertified,
        }
    }

    /// Everybody who was ever admitted, revoked or not.
    pub fn people(&self) -> impl Iterator<Item = &Person> {
        self.people.values()
    }

    /// The devices that belong to the workspace now.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// Whether a device belongs to the workspace now. Sessions with others are refused.
    pub fn is_current_device(&self, key: &DeviceKey) -> bool {
        self.devices.contains_key(key)
    }

    /// Whether a key was revoked by someone who could.
    pub fn is_revoked(&self, key: &[u8; 32]) -> bool {
        self.cuts.has(key)
    }

    /// Whether a key may admit others now: the authority's, or an admin's that was not revoked.
    pub fn admits(&self, key: &[u8; 32]) -> bool {
        let person = self.people.get(&AuthorKey(*key));
        let admin = person.is_some_and(|p| !p.revoked && p.roles.contains(&Role::Admin));
        !self.is_revoked(key) && (admin || *key == self.current_authority())
    }

    /// Whether a device was ever admitted, revoked since or not.
    pub fn was_certified(&self, key: &DeviceKey) -> bool {
        let of = |c: &Certificate| matches!(c.terms().subject, Subject::Device { key: k, .. } if k == *key);
        self.certificates.iter().any(of)
    }

    /// The name of a person or device, by the newest certificate; revoked keys keep theirs.
    pub fn name_of(&self, key: &[u8; 32]) -> Option<&Phi<String>> {
        let mut newest = self.certificates.iter().rev();
        newest
            .find(|c| c.terms().subject.key() == key)
            .map(|c| &c.terms().name)
    }

    /// Certificates that end within [`WARN_BEFORE_MS`] or have ended, unless another one of the
    /// same subject grants as much for longer.
    pub fn warnings(&self, now_ms: i64) -> Vec<Warning> {
        let mut out = Vec::new();
        for terms in self.certificates.iter().map(Certificate::terms) {
            let Some(expires_ms) = terms.expires_ms else {
                continue;
            };
            let renewed = self
                .certificates
                .iter()
                .map(Certificate::terms)
                .any(|other| {
                    other.subject.key() == terms.subject.key()
                        && other.roles.is_superset(&terms.roles)
                        && other.expires_ms.is_none_or(|ms| ms > expires_ms)
                });
            let soon = expires_ms <= now_ms.saturating_add(WARN_BEFORE_MS);
            if soon && !renewed && !self.cuts.has(terms.subject.key()) {
                out.push(Warning {
                    subject: terms.subject,
                    name: terms.name.clone(),
                    expires_ms,
                    expired: expires_ms <= now_ms,
                });
            }
        }
        out
    }
}

// How items are judged.
impl Membership {
    fn judge(&mut self) {
        self.roots = self.roots();
        let accepted = self.accepted_revocations(&self.roots);
        self.cuts = Cuts::of(accepted.values().copied(), &self.forks);
        let mut counted: Vec<(Timestamp, Place)> = self
            .counted(&self.roots, &self.cuts)
            .into_iter()
            .map(|(place, certificate)| (certificate.terms().issued, place))
            .collect();
        counted.sort_by_key(|(issued, (carrier, hash))| (*issued, *hash, *carrier));
        // One certificate may have come by several commits.
        counted.dedup_by_key(|(_, (_, hash))| *hash);
        let get = |(_, place): (Timestamp, Place)| match self.items.get(&place) {
            Some(MemberItem::Certificate(certificate)) => Some(certificate.clone()),
            _ => None,
        };
        self.certificates = counted.into_iter().filter_map(get).collect();
        self.people.clear();
        self.devices.clear();
        for terms in self.certificates.iter().map(Certificate::terms) {
            let revoked = self.cuts.has(terms.subject.key());
            match terms.subject {
                Subject::Person(key) => {
                    let fresh = Person::new(key, revoked);
                    let person = self.people.entry(key).or_insert(fresh);
                    person.name = terms.name.clone();
                    person.roles.extend(&terms.roles);
                }
                Subject::Device { key, recipient } if !revoked => {
                    let device = self.devices.entry(key).or_insert_with(|| Device::new(key));
                    device.recipient = recipient;
                    device.name = terms.name.clone();
                    device.roles.extend(&terms.roles);
                }
                Subject::Device { .. } => {}
            }
        }
    }
}
