use super::*;
use crate::error::Error;
use crate::ids::{CommitId, DeviceKey};
use crate::ledger::certificate::{
    ADMIN_TERM_MS, CERTIFICATE_BYTES_MAX, Certificate, NAME_BYTES_MAX, Role, Subject, Terms,
};
use crate::ledger::revocation::{CUTS_MAX, Cut, REVOCATION_BYTES_MAX, Revocation, RevocationTerms};
use crate::ledger::rotation::{Rotation, RotationTerms};
use crate::phi::Phi;
use coset::{CborSerializable as _, CoseSign1};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW_MS: i64 = 1_700_000_000_000;

fn person(roles: &[Role]) -> Terms {
    let subject = Subject::Person(AuthorKey(key(1).public()));
    Terms::new(
        workspace(),
        subject,
        CANARY,
        roles.iter().copied(),
        at(NOW_MS),
    )
}

fn device(recipient: Option<[u8; 32]>) -> Terms {
    let subject = Subject::Device {
        key: DeviceKey(key(2).public()),
        recipient,
    };
    Terms::new(
        workspace(),
        subject,
        "ward tablet",
        [Role::Archive],
        at(NOW_MS),
    )
}

fn revocation(cuts: usize) -> RevocationTerms {
    let replica = |n: usize| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let cut = Cut {
            seq: u64::MAX - n as u64,
            commit: CommitId([0xFF; 32]),
        };
        (ReplicaId(id), [cut].into())
    };
    RevocationTerms {
        workspace: workspace(),
        subject: key(1).public(),
        cuts: (0..cuts).map(replica).collect(),
        because: Phi::new(CANARY.to_owned()),
        issued: at(NOW_MS),
    }
}

#[test]
fn certificates_come_back_as_they_were_issued() {
    for terms in [
        person(&[]),
        person(&[Role::Clinician, Role::Reviewer]),
        device(None),
        device(Some([9; 32])),
    ] {
        let issued = Certificate::issue(&authority(), &terms).unwrap();
        assert_eq!(issued.terms(), &terms);
        assert_eq!(*issued.issuer(), authority().public());
        assert_eq!(Certificate::parse(issued.bytes()), Ok(issued));
    }
}

#[test]
fn an_admin_is_certified_for_four_hundred_days_and_nobody_else_for_a_time() {
    assert_eq!(
        person(&[Role::Admin]).expires_ms,
        Some(NOW_MS + ADMIN_TERM_MS)
    );
    assert_eq!(person(&[Role::Clinician]).expires_ms, None);
    let to_the_second = Terms {
        expires_ms: Some(1_999),
        ..person(&[])
    };
    let issued = Certificate::issue(&authority(), &to_the_second).unwrap();
    assert_eq!(issued.terms().expires_ms, Some(1_000));
}

#[test]
fn roles_names_and_keys_that_cannot_be_are_refused() {
    let refused = |terms: Terms| {
        let issued = Certificate::issue(&authority(), &terms);
        assert!(matches!(issued, Err(Error::Invalid { .. })), "{issued:?}");
    };
    refused(person(&[Role::Archive]));
    refused(Terms {
        roles: [Role::Admin].into(),
        ..device(None)
    });
    refused(device(Some([0; 32])));
    for name in ["", "a\nb", &"x".repeat(NAME_BYTES_MAX + 1)] {
        refused(Terms {
            name: Phi::new(name.to_owned()),
            ..person(&[])
        });
    }
}

/// A vote that keeps so many items.
fn rotation(keeps: u8) -> Rotation {
    let terms = RotationTerms {
        workspace: workspace(),
        from: authority().public(),
        to: [7; 32],
        keeps: (0..keeps).map(|n| [n; 32]).collect(),
        issued: at(NOW_MS),
    };
    Rotation::issue(&authority(), &terms).unwrap()
}

#[test]
fn a_rotation_reads_back_and_keeps_at_most_256_items_in_order() {
    let issued = rotation(200);
    let read = Rotation::parse(issued.bytes()).unwrap();
    assert_eq!(read, issued);
    assert_eq!(read.terms().keeps.len(), 200);
    let over = |keeps: usize, to| {
        let keeps = (0..keeps).map(|n| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_be_bytes());
            hash
        });
        let terms = RotationTerms {
            to,
            keeps: keeps.collect(),
            ..issued.terms().clone()
        };
        Rotation::issue(&authority(), &terms)
    };
    assert!(over(256, [7; 32]).is_ok());
    assert!(matches!(over(257, [7; 32]), Err(Error::Invalid { .. })));
    // Nor does an authority follow itself.
    assert!(over(1, authority().public()).is_err());
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused() {
    let certificate = Certificate::issue(&authority(), &device(Some([9; 32]))).unwrap();
    let revoked = Revocation::issue(&authority(), &revocation(3)).unwrap();
    for (bytes, is_refused) in [
        (
            certificate.bytes(),
            (|b| Certificate::parse(b).is_err()) as fn(&[u8]) -> bool,
        ),
        (revoked.bytes(), |b| Revocation::parse(b).is_err()),
        (rotation(3).bytes(), |b| Rotation::parse(b).is_err()),
    ] {
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1;
            assert!(is_refused(&bad), "byte {at}");
            assert!(is_refused(&bytes[..at]), "cut {at}");
        }
        assert!(is_refused(&[bytes, &[0]].concat()));
    }
}

#[test]
fn the_bytes_of_certificates_never_change() {
    let issued = Certificate::issue(&authority(), &device(Some([9; 32]))).unwrap();
    assert_eq!(
        crate::ids::hex(issued.bytes()),
        include_str!("golden/certificate.hex").trim()
    );
    let revoked = Revocation::issue(&authority(), &revocation(2)).unwrap();
    assert_eq!(
        crate::ids::hex(revoked.bytes()),
        include_str!("golden/revocation.hex").trim()
    );
    assert_eq!(
        crate::ids::hex(rotation(2).bytes()),
        include_str!("golden/rotation.hex").trim()
    );
}

#[test]
fn one_statement_has_one_form() {
    // The unprotected header and the outer encoding are not signed.
    let issued = Certificate::issue(&authority(), &person(&[])).unwrap();
    let mut cose = CoseSign1::from_slice(issued.bytes()).unwrap();
    cose.unprotected.key_id = vec![1];
    assert!(Certificate::parse(&cose.to_vec().unwrap()).is_err());
    let mut longer = issued.bytes().to_vec();
    assert_eq!(longer[0], 0x84);
    longer.splice(0..1, [0x98, 0x04]);
    assert!(Certificate::parse(&longer).is_err());
}

#[test]
fn a_certificate_is_no_revocation_and_neither_is_a_batch() {
    let certificate = Certificate::issue(&authority(), &person(&[])).unwrap();
    assert!(Revocation::parse(certificate.bytes()).is_err());
    let revoked = Revocation::issue(&authority(), &revocation(1)).unwrap();
    assert!(Certificate::parse(revoked.bytes()).is_err());
}

#[test]
fn the_longest_statements_fit_their_limits() {
    let name = Phi::new("x".repeat(NAME_BYTES_MAX));
    let terms = Terms {
        name,
        expires_ms: Some(NOW_MS),
        ..device(Some([9; 32]))
    };
    let longest = Certificate::issue(&authority(), &terms).unwrap();
    assert!(
        longest.bytes().len() < CERTIFICATE_BYTES_MAX / 3 * 2,
        "{}",
        longest.bytes().len()
    );
    let terms = RevocationTerms {
        because: Phi::new("x".repeat(1024)),
        ..revocation(CUTS_MAX)
    };
    let longest = Revocation::issue(&authority(), &terms).unwrap();
    assert_eq!(*longest.terms(), terms);
    assert!(longest.bytes().len() < REVOCATION_BYTES_MAX);
    assert!(Revocation::issue(&authority(), &revocation(CUTS_MAX + 1)).is_err());
    let long = RevocationTerms {
        because: Phi::new("x".repeat(1025)),
        ..revocation(1)
    };
    assert!(Revocation::issue(&authority(), &long).is_err());
}

#[test]
fn names_and_reasons_do_not_show_in_debug() {
    let certificate = Certificate::issue(&authority(), &person(&[])).unwrap();
    let terms = RevocationTerms {
        cuts: BTreeMap::new(),
        ..revocation(0)
    };
    let revoked = Revocation::issue(&authority(), &terms).unwrap();
    let text = format!("{:?} {:?}", certificate.terms(), revoked.terms());
    assert!(!text.contains("canary"), "{text}");
    let whole = format!("{certificate:?} {revoked:?}");
    let bytes = format!("{:?}", CANARY.as_bytes());
    assert!(!whole.contains("canary") && !whole.contains(bytes.trim_matches(['[', ']'])));
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Certificate::parse(&bytes).is_err());
        prop_assert!(Revocation::parse(&bytes).is_err());
    }

    #[test]
    fn signed_nonsense_never_panics(at in 0usize..1000, byte: u8, cut in 0usize..3000) {
        // A member may sign anything: the claims are foreign bytes even under a good signature.
        let issued = Certificate::issue(&key(1), &device(Some([9; 32]))).unwrap();
        let mut cose = CoseSign1::from_slice(issued.bytes()).unwrap();
        let mut payload = cose.payload.take().unwrap();
        let place = at % payload.len();
        payload[place] = byte;
        payload.truncate(cut.max(1));
        cose.payload = Some(payload);
        let context = crate::ledger::certificate::CERTIFICATE_CONTEXT.as_bytes();
        cose.signature = key(1).sign_bare(&cose.tbs_data(context)).to_vec();
        let bytes = cose.to_vec().unwrap();
        if let Ok(parsed) = Certificate::parse(&bytes) {
            prop_assert_eq!(parsed.bytes(), &bytes[..]);
        }
    }
}
