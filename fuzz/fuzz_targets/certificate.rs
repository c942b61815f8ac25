//! An input is read as a certificate, a revocation and a rotation, as it is and as claims that the authority
//! or the admin signed. Whatever is read joins a membership that has an admin.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::ids::{AuthorKey, ChainId, CommitId, ReplicaId};
use medsync_core::ledger::certificate::{CERTIFICATE_CONTEXT, Certificate, Role, Subject, Terms};
use medsync_core::ledger::membership::{Carrier, MemberItem, Membership};
use medsync_core::ledger::revocation::{REVOCATION_CONTEXT, Revocation};
use medsync_core::ledger::rotation::{ROTATION_CONTEXT, Rotation};
use medsync_core::time::Timestamp;
use medsync_fuzz::{ADMIN, authority, key, statement, workspace};

fuzz_target!(|input: &[u8]| {
    let mut items = read(input);
    for signer in [authority(), key(ADMIN)] {
        for context in [CERTIFICATE_CONTEXT, REVOCATION_CONTEXT, ROTATION_CONTEXT] {
            items.extend(read(&statement(&signer, context, input)));
        }
    }
    let mut membership = Membership::new(authority().public());
    membership.extend([(admin(), carrier(1))]);
    let all = (2..)
        .zip(&items)
        .map(|(seq, item)| (item.clone(), carrier(seq)));
    membership.extend(all.clone());
    let mut backwards = Membership::new(authority().public());
    backwards.extend(all.collect::<Vec<_>>().into_iter().rev());
    backwards.extend([(admin(), carrier(1))]);
    assert_eq!(membership, backwards);
    membership.warnings(i64::MAX);
    for person in membership.people() {
        let chain = ChainId {
            author: person.key,
            ..carrier(1).chain
        };
        membership.role_of(&chain, u64::MAX, &CommitId([0; 32]));
    }
});

fn read(bytes: &[u8]) -> Vec<MemberItem> {
    let certificate = Certificate::parse(bytes).map(MemberItem::Certificate);
    let revocation = Revocation::parse(bytes).map(MemberItem::Revocation);
    let rotation = Rotation::parse(bytes).map(MemberItem::Rotation);
    let all = [certificate, revocation, rotation];
    let items: Vec<_> = all.into_iter().flatten().collect();
    // The context tells them apart.
    assert!(items.len() < 2 && items.iter().all(|item| item.bytes() == bytes));
    items
}

fn admin() -> MemberItem {
    let person = Subject::Person(AuthorKey(key(ADMIN).public()));
    let terms = Terms::new(workspace(), person, "Ben", [Role::Admin], carrier(1).hlc);
    MemberItem::Certificate(Certificate::issue(&authority(), &terms).expect("a certificate"))
}

fn carrier(seq: u64) -> Carrier {
    let author = AuthorKey(key(ADMIN).public());
    let replica = ReplicaId([2; 16]);
    Carrier {
        hlc: Timestamp::new(1_700_000_000_000, 0),
        chain: ChainId { author, replica },
        seq,
        commit: CommitId([0; 32]),
    }
}
