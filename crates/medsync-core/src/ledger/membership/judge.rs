//! How membership is judged: which authority, which revocations, which certificates count.
//!
//! All of it follows from the set of items. Who is no admin by any reading costs nothing here, and
//! what admins can make others work is bounded: see [`VISITS_MAX`].

use super::{Carrier, Key, MemberItem, Membership, Place};
use crate::ledger::certificate::{Certificate, Role, Subject};
use crate::ledger::cuts::{self, Cuts};
use crate::ledger::forks::Forks;
use crate::ledger::revocation::Revocation;
use crate::ledger::rotation::Rotation;
use std::collections::{BTreeMap, BTreeSet};

/// Most certificates looked at while revocations by admins are weighed against each other; what is
/// left is then taken as it stands, so that more of them counts and never less. Reached only by
/// thousands of admins who revoke each other.
const VISITS_MAX: usize = 20_000_000;
/// Most pairs of votes tried for the next authority.
const PAIRS_MAX: usize = 64;

/// What the authority signed and counts, whoever carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Roots {
    /// Every authority there was, this one included.
    authorities: BTreeSet<Key>,
    /// The one whose signature counts on everything.
    current: Option<Key>,
    /// What the others signed and still counts, by its hash.
    kept: BTreeSet<Key>,
}

impl Roots {
    pub(super) fn founding(authority: Key) -> Self {
        Self {
            authorities: BTreeSet::from([authority]),
            current: Some(authority),
            kept: BTreeSet::new(),
        }
    }

    fn signed(&self, issuer: &Key, (_, hash): &Place) -> bool {
        self.current.as_ref() == Some(issuer)
            || (self.kept.contains(hash) && self.authorities.contains(issuer))
    }

    /// Only what both votes keep: by this alone their voters have to be admins, so that nothing the
    /// old authority signs later decides whether it was replaced.
    fn only(&self, kept: BTreeSet<Key>) -> Self {
        Self {
            authorities: self.authorities.clone(),
            current: None,
            kept,
        }
    }

    fn followed_by(mut self, next: Key) -> Self {
        self.authorities.insert(next);
        self.current = Some(next);
        self
    }
}

/// Certificates by who signed them, in the order of their carriers' times.
struct Index<'a> {
    roots: Vec<(Place, &'a Certificate)>,
    issued: BTreeMap<Key, Vec<(Place, &'a Certificate)>>,
    count: usize,
    forks: &'a Forks,
}

/// What counts under a set of revocations.
struct Judged<'a> {
    cuts: Cuts,
    admins: BTreeMap<Key, Vec<&'a Certificate>>,
    forks: &'a Forks,
}

impl Judged<'_> {
    /// Whether what this issuer signed counts when `carrier` carries it.
    fn stands(&self, carrier: &Carrier, issuer: &Key) -> bool {
        let certificates = self.admins.get(issuer);
        certificates.is_some_and(|all| {
            all.iter()
                .any(|admin| vouches(admin, carrier, &self.cuts, self.forks))
        })
    }
}

impl<'a> Index<'a> {
    fn counted(&self, cuts: &Cuts) -> BTreeMap<Place, &'a Certificate> {
        let mut counted: BTreeMap<Place, &Certificate> = self.roots.iter().copied().collect();
        let mut next: Vec<&Certificate> = counted.values().copied().collect();
        // How far each issuer's list was gone through: a longer term goes on from there.
        let mut reached: BTreeMap<Key, usize> = BTreeMap::new();
        while let Some(certificate) = next.pop() {
            let terms = certificate.terms();
            let Subject::Person(key) = terms.subject else {
                continue;
            };
            let Some(issued) = self.issued.get(&key.0) else {
                continue;
            };
            if !terms.roles.contains(&Role::Admin) {
                continue;
            }
            let at = reached.entry(key.0).or_default();
            while let Some((place, certificate)) = issued.get(*at) {
                if terms.expires_ms.is_some_and(|ms| place.0.hlc.ms() >= ms) {
                    break;
                }
                *at += 1;
                if is_own(&place.0, &key.0, cuts, self.forks) && !counted.contains_key(place) {
                    counted.insert(*place, certificate);
                    next.push(certificate);
                }
            }
        }
        counted
    }

    fn judged<'r>(&self, accepted: impl Iterator<Item = &'r Revocation>) -> Judged<'a> {
        let cuts = Cuts::of(accepted, self.forks);
        let mut admins: BTreeMap<Key, Vec<&Certificate>> = BTreeMap::new();
        for certificate in self.counted(&cuts).into_values() {
            let key = *certificate.terms().subject.key();
            admins.entry(key).or_default().push(certificate);
        }
        Judged {
            cuts,
            admins,
            forks: self.forks,
        }
    }
}

impl Membership {
    /// The certificates that count under these cuts: what the authority reaches through admins.
    pub(super) fn counted(&self, roots: &Roots, cuts: &Cuts) -> BTreeMap<Place, &Certificate> {
        self.index(roots, |_| true).counted(cuts)
    }

    fn index(&self, roots: &Roots, wanted: impl Fn(&Certificate) -> bool) -> Index<'_> {
        let mut index = Index {
            roots: Vec::new(),
            issued: BTreeMap::new(),
            count: 0,
            forks: &self.forks,
        };
        for (place, item) in &self.items {
            let MemberItem::Certificate(certificate) = item else {
                continue;
            };
            if !wanted(certificate) {
                continue;
            }
            index.count += 1;
            if roots.signed(certificate.issuer(), place) {
                index.roots.push((*place, certificate));
            }
            let issued = index.issued.entry(*certificate.issuer()).or_default();
            issued.push((*place, certificate));
        }
        index
    }

    fn admin_index(&self, roots: &Roots) -> Index<'_> {
        self.index(roots, |c| c.terms().roles.contains(&Role::Admin))
    }

    /// The revocations that count. The authority's do; those of admins in the order of their
    /// commits' times, and one whose issuer turns out to be cut off before it falls out again.
    pub(super) fn accepted_revocations(&self, roots: &Roots) -> BTreeMap<Place, &Revocation> {
        let index = self.admin_index(roots);
        // More revocations never make more admins: who is none without any is none.
        let most = index.judged(std::iter::empty());
        let mut first = BTreeMap::new();
        let mut others = Vec::new();
        for (place, item) in &self.items {
            let MemberItem::Revocation(revocation) = item else {
                continue;
            };
            if roots.signed(revocation.issuer(), place) {
                first.insert(*place, revocation);
            } else if most.stands(&place.0, revocation.issuer()) {
                others.push((*place, revocation));
            }
        }
        // Only a cut of an admin's chain takes anything from anybody's power to revoke.
        let matters = |r: &Revocation| most.admins.contains_key(&r.terms().subject);
        let mut left = VISITS_MAX;
        let mut afford = |accepted: usize| {
            left = left.saturating_sub(index.count.max(1).saturating_mul(accepted.max(1)));
            left > 0
        };
        let mut fallen = BTreeSet::new();
        // Each round lets one more fall for good, so this ends.
        loop {
            let mut accepted: BTreeMap<Place, &Revocation> = first.clone();
            let mut judged = index.judged(accepted.values().copied());
            for (place, revocation) in &others {
                let stands = judged.stands(&place.0, revocation.issuer());
                if fallen.contains(place) || !stands {
                    continue;
                }
                accepted.insert(*place, revocation);
                if matters(revocation) && afford(accepted.len()) {
                    judged = index.judged(accepted.values().copied());
                }
            }
            // None is held against itself: an admin may revoke the own lost key.
            let falls = others.iter().find(|(place, revocation)| {
                let issuer = revocation.issuer();
                let beside = || accepted.iter().filter(|(other, _)| *other != place);
                accepted.contains_key(place)
                    && !judged.stands(&place.0, issuer)
                    && afford(accepted.len())
                    && !index
                        .judged(beside().map(|(_, r)| *r))
                        .stands(&place.0, issuer)
            });
            match falls {
                Some((place, _)) => fallen.insert(*place),
                None => return accepted,
            };
        }
    }

    /// The authority now: the founding one, or that which two admins put in its place.
    pub(super) fn roots(&self) -> Roots {
        let mut roots = Roots::founding(self.authority);
        let is_vote = |item: &MemberItem| matches!(item, MemberItem::Rotation(_));
        if self.items.values().any(is_vote) {
            while let Some(next) = self.next_authority(&roots) {
                roots = next;
            }
        }
        roots
    }

    fn next_authority(&self, roots: &Roots) -> Option<Roots> {
        let most = self.admin_index(roots).judged(std::iter::empty());
        // The first vote of each admin for a successor of this authority.
        let mut voted = BTreeSet::new();
        let mut votes: Vec<(&Carrier, &Rotation)> = Vec::new();
        for (place, item) in &self.items {
            let MemberItem::Rotation(vote) = item else {
                continue;
            };
            let terms = vote.terms();
            if Some(terms.from) == roots.current
                && !roots.authorities.contains(&terms.to)
                && most.stands(&place.0, vote.issuer())
                && voted.insert(*vote.issuer())
            {
                votes.push((&place.0, vote));
            }
        }
        let mut tried = 0;
        for (n, later) in votes.iter().enumerate() {
            for earlier in votes.iter().take(n) {
                if earlier.1.terms().to != later.1.terms().to {
                    continue;
                }
                tried += 1;
                if tried > PAIRS_MAX {
                    return None;
                }
                let (a, b) = (earlier.1.terms(), later.1.terms());
                let trial = roots.only(a.keeps.intersection(&b.keeps).copied().collect());
                let accepted = self.accepted_revocations(&trial);
                let judged = self.admin_index(&trial).judged(accepted.into_values());
                let both = [earlier, later];
                if both
                    .iter()
                    .all(|(at, vote)| judged.stands(at, vote.issuer()))
                {
                    return Some(trial.followed_by(later.1.terms().to));
                }
            }
        }
        None
    }

    /// What the present authority and those before it signed and counts, by hash: what a successor
    /// is to keep.
    pub(crate) fn rooted(&self) -> BTreeSet<Key> {
        let roots = &self.roots;
        let signed = |(place, item): &(&Place, &MemberItem)| match item {
            MemberItem::Certificate(c) => roots.signed(c.issuer(), place),
            MemberItem::Revocation(r) => roots.signed(r.issuer(), place),
            MemberItem::Rotation(_) => false,
        };
        self.items.iter().filter(signed).map(|(p, _)| p.1).collect()
    }

    /// The present authority's public key.
    pub fn current_authority(&self) -> [u8; 32] {
        // Nothing judges by a trial's roots but the trial.
        self.roots.current.unwrap_or(self.authority)
    }

    /// Votes for a successor of the present authority that admins cast: who, and for which key.
    pub fn votes(&self) -> impl Iterator<Item = ([u8; 32], &Rotation)> {
        let current = self.current_authority();
        self.items
            .iter()
            .filter_map(move |(place, item)| match item {
                MemberItem::Rotation(vote) if vote.terms().from == current => {
                    let standing = self.role_of(&place.0.chain, place.0.seq, &place.0.commit);
                    let own = place.0.chain.author.0 == *vote.issuer();
                    (own && standing.has(Role::Admin)).then(|| (*vote.issuer(), vote))
                }
                _ => None,
            })
    }
}

/// Whether what this subject signed counts when `carrier` carries it.
fn vouches(admin: &Certificate, carrier: &Carrier, cuts: &Cuts, forks: &Forks) -> bool {
    let terms = admin.terms();
    let Subject::Person(key) = terms.subject else {
        return false;
    };
    terms.roles.contains(&Role::Admin)
        && terms.expires_ms.is_none_or(|ms| carrier.hlc.ms() < ms)
        && is_own(carrier, &key.0, cuts, forks)
}

/// Whether a commit is this admin's own, and before any cut.
fn is_own(carrier: &Carrier, key: &Key, cuts: &Cuts, forks: &Forks) -> bool {
    let judged = cuts::Judged {
        chain: &carrier.chain,
        seq: carrier.seq,
        commit: &carrier.commit,
    };
    carrier.chain.author.0 == *key && cuts.allow(judged, forks)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
