use super::*;
use crate::ids::{CommitId, DeviceKey};
use crate::ledger::certificate::{ADMIN_TERM_MS, Certificate, Role, Subject, Terms};
use crate::ledger::forks::{Forks, Node};
use crate::ledger::membership::{Carrier, MemberItem, Membership, Standing};
use crate::ledger::revocation::{Cut, Revocation, RevocationTerms};
use crate::phi::Phi;
use proptest::prelude::*;
use std::sync::Arc;

const ALICE: u8 = 1;
const BOB: u8 = 2;
const CAROL: u8 = 3;
const DAVE: u8 = 4;
const TABLET: u8 = 9;
const DAY_MS: i64 = 24 * 3_600_000;

type Delivered = (MemberItem, Carrier);

/// Carried by `author`'s commit at `seq` on replica `author`, on day `seq`.
fn by(author: u8, seq: u64) -> Carrier {
    let day = i64::try_from(seq).unwrap();
    Carrier {
        hlc: at(day * DAY_MS),
        chain: chain(author, author),
        seq,
        commit: CommitId([0; 32]),
    }
}

fn signer(n: u8) -> SigningKey {
    if n == 0 { authority() } else { key(n) }
}

fn admit(issuer: u8, subject: u8, roles: &[Role], carrier: Carrier) -> Delivered {
    let person = Subject::Person(AuthorKey(key(subject).public()));
    let name = format!("person {subject}");
    let terms = Terms::new(
        workspace(),
        person,
        &name,
        roles.iter().copied(),
        carrier.hlc,
    );
    let certificate = Certificate::issue(&signer(issuer), &terms).unwrap();
    (MemberItem::Certificate(certificate), carrier)
}

fn admit_device(issuer: u8, carrier: Carrier) -> Delivered {
    let device = Subject::Device {
        key: tablet(),
        recipient: Some([9; 32]),
    };
    let terms = Terms::new(workspace(), device, "tablet", [Role::Archive], carrier.hlc);
    let certificate = Certificate::issue(&signer(issuer), &terms).unwrap();
    (MemberItem::Certificate(certificate), carrier)
}

fn tablet() -> DeviceKey {
    DeviceKey(key(TABLET).public())
}

/// Revokes a key, of which commits up to `last` on its own replica still count.
fn revoke(issuer: u8, subject: u8, last: u64, carrier: Carrier) -> Delivered {
    let terms = RevocationTerms {
        workspace: workspace(),
        subject: key(subject).public(),
        cuts: [(ReplicaId([subject; 16]), [cut(last)].into())].into(),
        because: Phi::new("lost".to_owned()),
        issued: carrier.hlc,
    };
    (
        MemberItem::Revocation(Revocation::issue(&signer(issuer), &terms).unwrap()),
        carrier,
    )
}

fn cut(seq: u64) -> Cut {
    Cut {
        seq,
        commit: CommitId([7; 32]),
    }
}

fn membership(items: impl IntoIterator<Item = Delivered>) -> Membership {
    let mut membership = Membership::new(authority().public());
    membership.extend(items);
    membership
}

fn standing(membership: &Membership, author: u8, seq: u64) -> Standing {
    membership.role_of(&chain(author, author), seq, &CommitId([0; 32]))
}

fn alice() -> Delivered {
    admit(0, ALICE, &[Role::Admin, Role::Reviewer], by(ALICE, 1))
}

#[test]
fn the_authority_admits_an_admin_and_an_admin_admits_others() {
    let m = membership([
        alice(),
        admit(ALICE, BOB, &[Role::Clinician], by(ALICE, 2)),
        admit_device(ALICE, by(ALICE, 3)),
    ]);
    assert!(standing(&m, ALICE, 1).has(Role::Admin));
    assert_eq!(
        standing(&m, BOB, 9),
        Standing::Entitled([Role::Clinician].into())
    );
    assert_eq!(standing(&m, CAROL, 1), Standing::Uncertified);
    let authority = ChainId {
        author: AuthorKey(authority().public()),
        replica: ReplicaId([0; 16]),
    };
    assert!(
        m.role_of(&authority, 1, &CommitId([0; 32]))
            .has(Role::Admin)
    );
    assert_eq!(m.people().count(), 2);
    let device = m.devices().next().unwrap();
    assert_eq!((device.key, device.recipient), (tablet(), Some([9; 32])));
    assert!(m.is_current_device(&tablet()));
    assert_eq!(m.name_of(&key(BOB).public()).unwrap().expose(), "person 2");
    assert_eq!(m.name_of(&key(CAROL).public()), None);
}

#[test]
fn nobody_admits_without_being_an_admin_and_only_in_the_own_chain() {
    let outsider = admit(CAROL, DAVE, &[Role::Clinician], by(CAROL, 1));
    let clinician = admit(ALICE, BOB, &[Role::Clinician], by(ALICE, 2));
    let by_clinician = admit(BOB, DAVE, &[Role::Clinician], by(BOB, 1));
    let by_himself = admit(DAVE, DAVE, &[Role::Admin], by(DAVE, 1));
    let carried_by_another = admit(ALICE, DAVE, &[Role::Clinician], by(BOB, 2));
    let all = [
        alice(),
        outsider,
        clinician,
        by_clinician,
        by_himself,
        carried_by_another,
    ];
    assert_eq!(standing(&membership(all), DAVE, 1), Standing::Uncertified);
}

#[test]
fn two_who_only_certify_each_other_are_nobody() {
    let m = membership([
        admit(BOB, CAROL, &[Role::Admin], by(BOB, 1)),
        admit(CAROL, BOB, &[Role::Admin], by(CAROL, 1)),
    ]);
    assert_eq!(m.people().count(), 0);
}

#[test]
fn an_admin_whose_certificate_had_ended_admits_nobody_but_those_before_stay() {
    let term = u64::try_from(ADMIN_TERM_MS / DAY_MS).unwrap();
    let m = membership([
        alice(),
        admit(ALICE, BOB, &[Role::Clinician], by(ALICE, term)),
        admit(ALICE, CAROL, &[Role::Clinician], by(ALICE, term + 1)),
    ]);
    assert!(standing(&m, BOB, 1).has(Role::Clinician));
    assert_eq!(standing(&m, CAROL, 1), Standing::Uncertified);
}

#[test]
fn a_revocation_cuts_from_its_place_on() {
    let m = membership([
        alice(),
        admit(ALICE, BOB, &[Role::Clinician], by(ALICE, 2)),
        revoke(ALICE, BOB, 7, by(ALICE, 3)),
    ]);
    assert!(standing(&m, BOB, 7).has(Role::Clinician));
    assert_eq!(standing(&m, BOB, 8), Standing::Revoked { last_accepted: 7 });
    // On a replica the revocation does not name, nothing counts.
    let elsewhere = m.role_of(&chain(BOB, 77), 1, &CommitId([0; 32]));
    assert_eq!(elsewhere, Standing::Revoked { last_accepted: 0 });
    assert!(
        m.people()
            .any(|p| p.revoked && p.name.expose() == "person 2")
    );
}

#[test]
fn two_revocations_count_as_the_stricter_of_both() {
    let m = membership([
        alice(),
        admit(ALICE, BOB, &[Role::Clinician], by(ALICE, 2)),
        revoke(ALICE, BOB, 7, by(ALICE, 3)),
        revoke(ALICE, BOB, 5, by(ALICE, 4)),
    ]);
    assert_eq!(standing(&m, BOB, 6), Standing::Revoked { last_accepted: 5 });
}

#[test]
fn what_a_revoked_admin_signed_after_the_cut_does_not_count() {
    let m = membership([
        alice(),
        admit(0, BOB, &[Role::Admin], by(BOB, 1)),
        admit(BOB, CAROL, &[Role::Clinician], by(BOB, 2)),
        admit(BOB, DAVE, &[Role::Clinician], by(BOB, 5)),
        revoke(ALICE, BOB, 4, by(ALICE, 9)),
    ]);
    assert!(standing(&m, CAROL, 1).has(Role::Clinician));
    assert_eq!(standing(&m, DAVE, 1), Standing::Uncertified);
}

#[test]
fn the_thief_of_an_admins_key_falls_when_another_admin_or_the_authority_says_so() {
    // Bob's key is stolen after his third commit and revokes Carol, an honest admin.
    let base = || {
        vec![
            alice(),
            admit(0, BOB, &[Role::Admin], by(BOB, 1)),
            admit(0, CAROL, &[Role::Admin], by(CAROL, 1)),
            revoke(BOB, CAROL, 0, by(BOB, 5)),
        ]
    };
    assert!(!standing(&membership(base()), CAROL, 1).has(Role::Admin));
    for honest in [
        revoke(ALICE, BOB, 3, by(ALICE, 9)),
        revoke(0, BOB, 3, by(DAVE, 1)),
    ] {
        let mut items = base();
        items.push(honest);
        let m = membership(items);
        assert!(standing(&m, CAROL, 1).has(Role::Admin));
        assert_eq!(standing(&m, BOB, 4), Standing::Revoked { last_accepted: 3 });
    }
}

#[test]
fn of_two_admins_who_revoke_each_other_the_earlier_stands_until_the_authority_decides() {
    let mut items = vec![
        alice(),
        admit(0, BOB, &[Role::Admin], by(BOB, 1)),
        revoke(BOB, ALICE, 1, by(BOB, 5)),
        revoke(ALICE, BOB, 3, by(ALICE, 9)),
    ];
    let m = membership(items.clone());
    assert_eq!(
        standing(&m, ALICE, 2),
        Standing::Revoked { last_accepted: 1 }
    );
    assert!(standing(&m, BOB, 9).has(Role::Admin));
    items.push(revoke(0, BOB, 3, by(CAROL, 1)));
    let m = membership(items);
    assert!(standing(&m, ALICE, 2).has(Role::Admin));
    assert_eq!(standing(&m, BOB, 4), Standing::Revoked { last_accepted: 3 });
}

#[test]
fn an_admin_can_revoke_the_own_lost_key() {
    let m = membership([alice(), revoke(ALICE, ALICE, 0, by(ALICE, 5))]);
    assert_eq!(
        standing(&m, ALICE, 1),
        Standing::Revoked { last_accepted: 0 }
    );
}

#[test]
fn a_revoked_device_is_no_device_any_more() {
    let m = membership([
        alice(),
        admit_device(ALICE, by(ALICE, 2)),
        revoke(ALICE, TABLET, 0, by(ALICE, 3)),
    ]);
    assert!(!m.is_current_device(&tablet()));
    assert_eq!(m.devices().count(), 0);
    assert_eq!(m.name_of(&tablet().0).unwrap().expose(), "tablet");
}

#[test]
fn the_end_of_a_certificate_warns_until_a_longer_one_comes() {
    let end = by(ALICE, 1).hlc.ms() + ADMIN_TERM_MS;
    let end = end - end % 1000;
    let m = membership([alice()]);
    assert!(m.warnings(end - 31 * DAY_MS).is_empty());
    assert!(!m.warnings(end - 29 * DAY_MS)[0].expired);
    assert!(m.warnings(end)[0].expired);
    assert!(
        standing(&m, ALICE, 1000).has(Role::Reviewer),
        "an end only warns"
    );
    let renewed = admit(0, ALICE, &[Role::Admin, Role::Reviewer], by(ALICE, 300));
    assert!(membership([alice(), renewed]).warnings(end).is_empty());
    let revoked = revoke(0, ALICE, 9, by(ALICE, 300));
    assert!(membership([alice(), revoked]).warnings(end).is_empty());
}

#[test]
fn items_of_another_workspace_count_for_nothing() {
    let mut other = Membership::new(key(7).public());
    other.extend([alice()]);
    assert_eq!(other.items().count(), 0);
}

#[test]
fn the_newest_name_and_all_roles_stand() {
    let rename = |name: &str, role, seq| {
        let person = Subject::Person(AuthorKey(key(BOB).public()));
        let terms = Terms::new(workspace(), person, name, [role], by(ALICE, seq).hlc);
        let certificate = Certificate::issue(&key(ALICE), &terms).unwrap();
        (MemberItem::Certificate(certificate), by(ALICE, seq))
    };
    let m = membership([
        rename("B. Married", Role::Reviewer, 9),
        alice(),
        rename("B. Maiden", Role::Clinician, 2),
    ]);
    assert_eq!(
        m.name_of(&key(BOB).public()).unwrap().expose(),
        "B. Married"
    );
    let both = Standing::Entitled([Role::Clinician, Role::Reviewer].into());
    assert_eq!(standing(&m, BOB, 1), both);
}

fn delivered() -> impl Strategy<Value = Delivered> {
    let roles = proptest::sample::select(vec![
        vec![Role::Admin],
        vec![Role::Admin, Role::Reviewer],
        vec![Role::Clinician],
    ]);
    (
        0u8..5,
        1u8..5,
        1u64..500,
        0u64..9,
        roles,
        0u8..4,
        any::<bool>(),
    )
        .prop_map(|(issuer, subject, seq, last, roles, kind, own)| {
            let carrier = by(
                if own { issuer } else { subject },
                seq % 12 + seq / 400 * 400,
            );
            match kind {
                0 => revoke(issuer, subject, last, carrier),
                1 => admit_device(issuer, carrier),
                _ => admit(issuer, subject, &roles, carrier),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_order_of_delivery_never_matters(
        (items, shuffled) in proptest::collection::vec(delivered(), 0..14)
            .prop_flat_map(|items| (Just(items.clone()), Just(items).prop_shuffle())),
        split in 0usize..14,
    ) {
        let at_once = membership(items);
        let mut in_parts = Membership::new(authority().public());
        let split = split.min(shuffled.len());
        in_parts.extend(shuffled[..split].iter().cloned());
        for item in &shuffled[split..] {
            in_parts.extend([item.clone()]);
        }
        in_parts.extend(shuffled.iter().take(3).cloned());
        prop_assert_eq!(at_once, in_parts);
    }

    #[test]
    fn without_the_authority_nobody_has_any_standing(
        items in proptest::collection::vec(delivered(), 0..14),
    ) {
        let from_authority = |item: &MemberItem| match item {
            MemberItem::Certificate(c) => *c.issuer() == authority().public(),
            MemberItem::Revocation(r) => *r.issuer() == authority().public(),
            MemberItem::Rotation(r) => *r.issuer() == authority().public(),
        };
        let m = membership(items.into_iter().filter(|(item, _)| !from_authority(item)));
        for author in 1..5 {
            prop_assert_eq!(standing(&m, author, 1), Standing::Uncertified);
        }
    }
}

#[test]
fn a_cut_names_a_branch_and_no_other_counts_below_it() {
    let mut forks = Forks::default();
    let branches = forks.open(chain(BOB, BOB));
    branches.set_trunk(2);
    // A trunk of two commits, branches of two and of three.
    for (id, previous, seq) in [
        (2, 1, 2),
        (13, 2, 3),
        (14, 13, 4),
        (23, 2, 3),
        (24, 23, 4),
        (25, 24, 5),
    ] {
        let previous = CommitId([previous; 32]);
        let number = u32::from(id > 20);
        branches.insert(
            CommitId([id; 32]),
            Node {
                seq,
                previous,
                number,
            },
        );
    }
    let cut = |id: u8, seq: u64| Cut {
        seq,
        commit: CommitId([id; 32]),
    };
    let at = |cuts: &[Cut], id: u8, seq: u64| {
        let terms = RevocationTerms {
            workspace: workspace(),
            subject: key(BOB).public(),
            cuts: [(ReplicaId([BOB; 16]), cuts.iter().copied().collect())].into(),
            because: Phi::new("stolen".to_owned()),
            issued: at(DAY_MS),
        };
        let revocation = Revocation::issue(&authority(), &terms).unwrap();
        let mut m = membership([
            alice(),
            admit(ALICE, BOB, &[Role::Clinician], by(ALICE, 2)),
            (MemberItem::Revocation(revocation), by(ALICE, 3)),
        ]);
        m.set_forks(Arc::new(forks.clone()));
        let standing = m.role_of(&chain(BOB, BOB), seq, &CommitId([id; 32]));
        standing.has(Role::Clinician)
    };
    // The place says it of the trunk, the links of the branches.
    assert!(at(&[cut(14, 4)], 1, 1) && at(&[cut(14, 4)], 2, 2));
    assert!(at(&[cut(14, 4)], 13, 3) && at(&[cut(14, 4)], 14, 4));
    assert!(!at(&[cut(14, 4)], 23, 3) && !at(&[cut(14, 4)], 24, 4));
    assert!(!at(&[cut(13, 3)], 14, 4));
    // Both branches may count, each up to its own end.
    let both = [cut(14, 4), cut(24, 4)];
    assert!(at(&both, 14, 4) && at(&both, 24, 4) && !at(&both, 25, 5));
    // A commit that carries its own author's revocation is known by the one before it.
    assert!(at(&[cut(13, 4)], 14, 4) && !at(&[cut(13, 4)], 24, 4));
    // Until the named commit is here the place decides.
    assert!(at(&[cut(99, 4)], 24, 4) && !at(&[cut(99, 4)], 25, 5));
}
