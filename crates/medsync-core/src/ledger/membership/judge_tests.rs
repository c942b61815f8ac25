//! Judging compared with its definition, and rotations of the authority.

use super::*;
use crate::crypto::sign::SigningKey;
use crate::ids::{AuthorKey, ChainId, CommitId, ReplicaId};
use crate::ledger::certificate::Terms;
use crate::ledger::membership::Standing;
use crate::ledger::revocation::{Cut, RevocationTerms};
use crate::ledger::rotation::RotationTerms;
use crate::phi::Phi;
use crate::time::Timestamp;
use proptest::prelude::*;

const PEOPLE: u8 = 5;

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n + 1; 32])
}

fn person(n: u8) -> AuthorKey {
    AuthorKey(key(n).public())
}

/// Key 100 founds.
fn empty() -> Membership {
    Membership::new(key(100).public())
}

fn carrier(by: u8, seq: u64, at_s: i64) -> Carrier {
    Carrier {
        hlc: at(at_s),
        chain: ChainId {
            author: person(by),
            replica: ReplicaId([by; 16]),
        },
        seq,
        commit: id(by, seq),
    }
}

fn id(by: u8, seq: u64) -> CommitId {
    let mut id = [by; 32];
    id[..8].copy_from_slice(&seq.to_be_bytes());
    CommitId(id)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp((seconds * 1000) << 16)
}

fn certify(by: u8, whom: u8, role: Role, at_s: i64, expires_s: Option<i64>) -> MemberItem {
    let mut terms = Terms::new(
        *empty().workspace(),
        Subject::Person(person(whom)),
        "N",
        [role],
        at(at_s),
    );
    terms.expires_ms = expires_s.map(|s| s * 1000);
    MemberItem::Certificate(Certificate::issue(&key(by), &terms).expect("a certificate"))
}

fn revoke(by: u8, whom: u8, cut: u64, at_s: i64) -> MemberItem {
    let last = Cut {
        seq: cut,
        commit: id(whom, cut),
    };
    let terms = RevocationTerms {
        workspace: *empty().workspace(),
        subject: person(whom).0,
        cuts: BTreeMap::from([(ReplicaId([whom; 16]), BTreeSet::from([last]))]),
        because: Phi::new(String::new()),
        issued: at(at_s),
    };
    MemberItem::Revocation(Revocation::issue(&key(by), &terms).expect("a revocation"))
}

/// The definition that judging was first written as: everything anew after every step.
fn defined(m: &Membership, roots: &Roots) -> BTreeSet<Place> {
    let all: Vec<(Place, &Revocation)> = (m.items.iter())
        .filter_map(|(place, item)| match item {
            MemberItem::Revocation(revocation) => Some((*place, revocation)),
            _ => None,
        })
        .collect();
    let of_root = |(place, r): &&(Place, &Revocation)| roots.signed(r.issuer(), place);
    let first: BTreeMap<Place, &Revocation> = all.iter().filter(of_root).copied().collect();
    let others: Vec<_> = all.iter().filter(|x| !of_root(x)).copied().collect();
    let stands =
        |accepted: &BTreeMap<Place, &Revocation>, but: Option<&Place>, x: &(Place, &Revocation)| {
            let beside = accepted.iter().filter(|(place, _)| Some(*place) != but);
            let cuts = Cuts::of(beside.map(|(_, r)| *r), &m.forks);
            let counted = naive(m, roots, &cuts);
            let of = |c: &&Certificate| c.terms().subject.key() == x.1.issuer();
            counted
                .values()
                .copied()
                .filter(of)
                .any(|c| vouches(c, &x.0.0, &cuts, &m.forks))
        };
    let mut fallen = BTreeSet::new();
    loop {
        let mut accepted = first.clone();
        for x in &others {
            if !fallen.contains(&x.0) && stands(&accepted, None, x) {
                accepted.insert(x.0, x.1);
            }
        }
        let falls = (others.iter())
            .find(|x| accepted.contains_key(&x.0) && !stands(&accepted, Some(&x.0), x));
        match falls {
            Some((place, _)) => fallen.insert(*place),
            None => return accepted.into_keys().collect(),
        };
    }
}

/// What counts, by going over all certificates until nothing is added.
fn naive<'a>(m: &'a Membership, roots: &Roots, cuts: &Cuts) -> BTreeMap<Place, &'a Certificate> {
    let all: Vec<(&Place, &Certificate)> = (m.items.iter())
        .filter_map(|(place, item)| match item {
            MemberItem::Certificate(certificate) => Some((place, certificate)),
            _ => None,
        })
        .collect();
    let mut counted: BTreeMap<Place, &Certificate> = BTreeMap::new();
    loop {
        let before = counted.len();
        for (place, certificate) in &all {
            let vouched = counted.values().any(|admin| {
                admin.terms().subject.key() == certificate.issuer()
                    && vouches(admin, &place.0, cuts, &m.forks)
            });
            if roots.signed(certificate.issuer(), place) || vouched {
                counted.insert(**place, certificate);
            }
        }
        if counted.len() == before {
            return counted;
        }
    }
}

fn item() -> impl Strategy<Value = (MemberItem, Carrier)> {
    let by = prop_oneof![1 => Just(100), 6 => 0..PEOPLE];
    let numbers = (by, 0..PEOPLE, 0..PEOPLE, 1..6_u64, 0..12_i64, 0..6_u64);
    (numbers, 0..5_u8).prop_map(|((by, carried, whom, seq, at_s, cut), what)| {
        // Mostly an issuer's own commit.
        let carried = if by < PEOPLE && carried > 0 {
            by
        } else {
            carried
        };
        let item = match what {
            0 => certify(by, whom, Role::Admin, at_s, None),
            1 => certify(by, whom, Role::Admin, at_s, Some(at_s + 4)),
            2 => certify(by, whom, Role::Clinician, at_s, None),
            _ => revoke(by, whom, cut, at_s),
        };
        (item, carrier(carried, seq, at_s))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Faster, and the same.
    #[test]
    fn judging_is_as_it_is_defined(items in proptest::collection::vec(item(), 0..24)) {
        let mut m = empty();
        let founder = [0, 1].map(|n| (certify(100, n, Role::Admin, 0, None), carrier(0, 1, 0)));
        m.extend(items.into_iter().chain(founder));
        let roots = Roots::founding(key(100).public());
        let accepted = m.accepted_revocations(&roots);
        let quick: BTreeSet<Place> = accepted.keys().copied().collect();
        prop_assert_eq!(&quick, &defined(&m, &roots));
        let cuts = Cuts::of(accepted.into_values(), &m.forks);
        prop_assert_eq!(m.counted(&roots, &cuts), naive(&m, &roots, &cuts));
    }
}

/// Thousands of puppets that revoke each other cost a bounded number of looks.
#[test]
fn admins_who_revoke_each_other_by_the_hundred_are_judged_within_the_limit() {
    let mut m = empty();
    let base = (certify(100, 0, Role::Admin, 0, None), carrier(0, 1, 0));
    let puppets = 1..90_u8;
    let made = puppets.clone().map(|n| {
        (
            certify(n - 1, n, Role::Admin, 1, None),
            carrier(n - 1, 2, i64::from(n)),
        )
    });
    let revoked = puppets.flat_map(|n| {
        let by = |whom: u8, seq| (revoke(n, whom, 0, 200), carrier(n, seq, 200 + i64::from(n)));
        [
            by((n + 7) % 90, 3),
            by((n + 31) % 90, 4),
            by((n + 1) % 90, 5),
        ]
    });
    m.extend(std::iter::once(base).chain(made).chain(revoked));
    // The authority still has the last word.
    m.extend([(revoke(100, 0, 0, 1), carrier(0, 1, 0))]);
    assert!(m.people().all(|p| p.key == person(0) && p.revoked));
}

fn vote(m: &Membership, by: u8, to: u8, at_s: i64) -> MemberItem {
    let terms = RotationTerms {
        workspace: *m.workspace(),
        from: m.current_authority(),
        to: key(to).public(),
        keeps: m.rooted(),
        issued: at(at_s),
    };
    MemberItem::Rotation(Rotation::issue(&key(by), &terms).expect("a vote"))
}

/// Admins 0 and 1 by the authority, 2 by admin 0, 3 no admin.
fn clinic() -> Membership {
    let mut m = empty();
    m.extend([
        (certify(100, 0, Role::Admin, 0, None), carrier(0, 1, 0)),
        (certify(100, 1, Role::Admin, 0, None), carrier(0, 1, 0)),
        (certify(0, 2, Role::Admin, 1, None), carrier(0, 2, 1)),
        (certify(0, 3, Role::Clinician, 1, None), carrier(0, 2, 1)),
    ]);
    m
}

fn is_admin(m: &Membership, n: u8) -> bool {
    let chain = carrier(n, 1, 0).chain;
    matches!(m.role_of(&chain, 50, &CommitId([0; 32])), Standing::Entitled(roles) if roles.contains(&Role::Admin))
}

#[test]
fn two_admins_put_another_authority_in_place_and_the_old_one_signs_nothing_new() {
    let mut m = clinic();
    let (one, two) = (vote(&m, 0, 101, 10), vote(&m, 2, 101, 11));
    m.extend([(one, carrier(0, 3, 10))]);
    assert_eq!(
        m.current_authority(),
        key(100).public(),
        "one is not enough"
    );
    assert_eq!(m.votes().count(), 1);
    let id = *m.workspace();
    m.extend([(two, carrier(2, 1, 11))]);
    assert_eq!(m.current_authority(), key(101).public());
    assert_eq!(*m.workspace(), id);
    assert_eq!(m.votes().count(), 0);
    // What it had signed counts further on; what it signs now does not, whatever time it names.
    for n in [0, 1, 2] {
        assert!(is_admin(&m, n), "{n}");
    }
    for time in [0, 5, 20] {
        m.extend([(
            certify(100, 4, Role::Admin, time, None),
            carrier(4, 1, time),
        )]);
        m.extend([(revoke(100, 0, 0, time), carrier(4, 2, time))]);
        m.extend([(revoke(100, 2, 0, time), carrier(4, 2, time))]);
    }
    assert!(!is_admin(&m, 4) && is_admin(&m, 0) && is_admin(&m, 2));
    assert_eq!(m.current_authority(), key(101).public());
    // The new one does.
    m.extend([(certify(101, 3, Role::Admin, 20, None), carrier(3, 1, 20))]);
    m.extend([(revoke(101, 1, 0, 21), carrier(0, 4, 21))]);
    assert!(is_admin(&m, 3) && !is_admin(&m, 1));
    // And can be followed by another.
    let (one, two) = (vote(&m, 0, 102, 30), vote(&m, 3, 102, 31));
    m.extend([(one, carrier(0, 5, 30)), (two, carrier(3, 2, 31))]);
    assert_eq!(m.current_authority(), key(102).public());
    assert!(is_admin(&m, 0) && is_admin(&m, 3) && !is_admin(&m, 1));
}

#[test]
fn votes_of_one_admin_of_strangers_and_of_the_revoked_do_not_count() {
    let m = clinic();
    let stays = |items: Vec<(MemberItem, Carrier)>| {
        let mut m = m.clone();
        m.extend(items);
        assert_eq!(m.current_authority(), key(100).public());
    };
    let (one, two) = (vote(&m, 0, 101, 10), vote(&m, 1, 101, 11));
    let good = [
        (one.clone(), carrier(0, 3, 10)),
        (two.clone(), carrier(1, 1, 11)),
    ];
    // Twice the same person, a clinician, two keys, somebody else's commit.
    stays(vec![
        good[0].clone(),
        (vote(&m, 0, 101, 12), carrier(0, 4, 12)),
    ]);
    stays(vec![
        good[0].clone(),
        (vote(&m, 3, 101, 11), carrier(3, 1, 11)),
    ]);
    stays(vec![
        good[0].clone(),
        (vote(&m, 1, 102, 11), carrier(1, 1, 11)),
    ]);
    stays(vec![good[0].clone(), (two.clone(), carrier(0, 4, 11))]);
    // An admin who changed their mind has voted already.
    let again = (vote(&m, 1, 101, 12), carrier(1, 2, 12));
    stays(vec![
        good[0].clone(),
        (vote(&m, 1, 102, 11), carrier(1, 1, 11)),
        again,
    ]);
    // Revoked with a cut before the vote, by an admin, before or after it arrives.
    let cut = (revoke(0, 1, 0, 5), carrier(0, 5, 5));
    stays([&good[..], &[cut]].concat());
    // With a cut after it, it counts.
    let mut late = m.clone();
    late.extend([&good[..], &[(revoke(0, 1, 1, 20), carrier(0, 6, 20))]].concat());
    assert_eq!(late.current_authority(), key(101).public());
}

#[test]
fn of_two_rotations_the_same_one_counts_in_every_order_of_arrival() {
    let m = clinic();
    // Four admins, two and two; 0 and 2 were first.
    let mut all = vec![
        (certify(0, 4, Role::Admin, 1, None), carrier(0, 3, 1)),
        (vote(&m, 0, 101, 10), carrier(0, 4, 10)),
        (vote(&m, 2, 101, 12), carrier(2, 1, 12)),
        (vote(&m, 1, 102, 11), carrier(1, 1, 11)),
        (vote(&m, 4, 102, 13), carrier(4, 1, 13)),
        // Signed after it by the old authority: falls whichever was first.
        (certify(100, 3, Role::Admin, 0, None), carrier(3, 1, 0)),
    ];
    for _ in 0..all.len() {
        all.rotate_left(1);
        for reversed in [false, true] {
            let mut items = all.clone();
            if reversed {
                items.reverse();
            }
            let mut m = m.clone();
            for item in items {
                m.extend([item]);
            }
            assert_eq!(m.current_authority(), key(101).public());
            assert!(!is_admin(&m, 3));
        }
    }
}
