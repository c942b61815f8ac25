use super::*;
use crate::error::{Error, Result};
use crate::ids::CommitId;
use crate::ledger::certificate::{Certificate, Role, Subject, Terms};
use crate::ledger::enrol::{Grant, Request};
use crate::ledger::membership::{Carrier, MemberItem, Membership};
use crate::ledger::revocation::{Revocation, RevocationTerms};
use crate::phi::Phi;
use proptest::prelude::*;

const ADMIN: u8 = 1;
const NURSE: u8 = 2;
const TABLET: u8 = 3;
const RECIPIENT: [u8; 32] = [9; 32];

fn request_of(tablet: u8, nurse: u8) -> Request {
    let (tablet, nurse) = (key(tablet), key(nurse));
    Request::new(
        &FixedEnv(3),
        &tablet,
        RECIPIENT,
        &nurse,
        "ward tablet",
        CANARY,
    )
    .unwrap()
}

fn request() -> Request {
    request_of(TABLET, NURSE)
}

fn certified(issuer: &SigningKey, subject: Subject, role: Role, seq: u64) -> (MemberItem, Carrier) {
    let carrier = Carrier {
        hlc: at(1000),
        chain: chain(ADMIN, 7),
        seq,
        commit: CommitId([0; 32]),
    };
    let terms = Terms::new(workspace(), subject, "name", [role], carrier.hlc);
    (
        MemberItem::Certificate(Certificate::issue(issuer, &terms).unwrap()),
        carrier,
    )
}

fn admin_item() -> (MemberItem, Carrier) {
    let admin = Subject::Person(AuthorKey(key(ADMIN).public()));
    certified(&authority(), admin, Role::Admin, 1)
}

fn membership(request: &Request) -> Membership {
    let device = Subject::Device {
        key: request.device(),
        recipient: Some(*request.recipient()),
    };
    let mut membership = Membership::new(authority().public());
    membership.extend([
        admin_item(),
        certified(
            &key(ADMIN),
            Subject::Person(request.person()),
            Role::Clinician,
            2,
        ),
        certified(&key(ADMIN), device, Role::Archive, 3),
    ]);
    membership
}

fn grant(request: &Request) -> String {
    Grant::answer(&key(ADMIN), request, &membership(request), "St. Mary").unwrap()
}

fn refused<T: std::fmt::Debug>(result: Result<T>, about: &str) {
    match result {
        Err(Error::Refused { what, .. }) => assert!(what.contains(about), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_newcomer_joins_by_two_texts() {
    let asked = Request::from_text(&request().to_text()).unwrap();
    assert_eq!(asked, request());
    assert_eq!(asked.person_name().expose(), CANARY);
    assert_eq!(asked.device_name().expose(), "ward tablet");
    let granted = Grant::open(&grant(&asked), &request(), Some(&workspace())).unwrap();
    assert_eq!(granted.workspace_name, "St. Mary");
    assert_eq!(granted.admin.0, key(ADMIN).public());
    assert_eq!(granted.membership, membership(&asked));
    assert!(granted.membership.is_current_device(&request().device()));
}

#[test]
fn a_grant_for_somebody_else_is_refused() {
    let text = grant(&request());
    refused(
        Grant::open(&text, &request_of(TABLET, 8), None),
        "another request",
    );
    refused(
        Grant::open(&text, &request_of(8, NURSE), None),
        "another request",
    );
    let (tablet, nurse) = (key(TABLET), key(NURSE));
    let again = Request::new(
        &FixedEnv(4),
        &tablet,
        RECIPIENT,
        &nurse,
        "ward tablet",
        CANARY,
    )
    .unwrap();
    refused(Grant::open(&text, &again, None), "another request");
    refused(
        Grant::open(&text, &request(), Some(&WorkspaceId([1; 32]))),
        "another workspace",
    );
}

#[test]
fn only_an_admin_grants_and_only_what_is_certified() {
    let request = request();
    let whole = membership(&request);
    refused(
        Grant::answer(&key(NURSE), &request, &whole, "x"),
        "no admin",
    );
    refused(Grant::answer(&key(8), &request, &whole, "x"), "no admin");
    refused(
        Grant::answer(&key(ADMIN), &request_of(TABLET, 8), &whole, "x"),
        "the person",
    );
    refused(
        Grant::answer(&key(ADMIN), &request_of(8, NURSE), &whole, "x"),
        "the device",
    );
    assert!(Grant::answer(&authority(), &request, &whole, "x").is_ok());
    assert!(matches!(
        Grant::answer(&key(ADMIN), &request, &whole, ""),
        Err(Error::Invalid { .. })
    ));
    let mut revoked = whole;
    let terms = RevocationTerms {
        workspace: workspace(),
        subject: key(NURSE).public(),
        cuts: [].into(),
        because: Phi::default(),
        issued: at(1),
    };
    let carrier = Carrier {
        hlc: at(1000),
        chain: chain(ADMIN, 7),
        seq: 4,
        commit: CommitId([0; 32]),
    };
    let item = MemberItem::Revocation(Revocation::issue(&authority(), &terms).unwrap());
    revoked.extend([(item, carrier)]);
    refused(
        Grant::answer(&key(ADMIN), &request, &revoked, "x"),
        "the person",
    );
}

#[test]
fn a_device_with_another_sealing_key_is_not_admitted() {
    // An admin who certified another X25519 key could read what is sealed for the device.
    let request = request();
    let device = Subject::Device {
        key: request.device(),
        recipient: Some([8; 32]),
    };
    let mut other = Membership::new(authority().public());
    other.extend([
        admin_item(),
        certified(
            &key(ADMIN),
            Subject::Person(request.person()),
            Role::Clinician,
            2,
        ),
        certified(&key(ADMIN), device, Role::Archive, 3),
    ]);
    refused(
        Grant::answer(&key(ADMIN), &request, &other, "x"),
        "the device",
    );
}

#[test]
fn the_wrong_text_is_told_from_a_damaged_one() {
    let asked = request().to_text();
    let granted = grant(&request());
    assert!(
        Request::from_text(&granted)
            .unwrap_err()
            .to_string()
            .contains("another kind")
    );
    let opened = Grant::open(&asked, &request(), None);
    assert!(opened.unwrap_err().to_string().contains("another kind"));
    assert!(Request::from_text("").is_err());
}

#[test]
fn every_changed_character_of_either_text_is_refused_or_harmless() {
    let (asked, granted) = (request().to_text(), grant(&request()));
    let swap = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let body = |text: &str| {
        let from = text.find('\n').unwrap() + 1;
        let to = text.find("\n-----END").unwrap();
        (from..to)
            .filter(|at| text.as_bytes()[*at] != b'\n')
            .collect::<Vec<_>>()
    };
    for at in body(&asked) {
        assert!(
            Request::from_text(&swap(&asked, at)).is_err(),
            "request {at}"
        );
    }
    for at in body(&granted).into_iter().step_by(3) {
        assert!(
            Grant::open(&swap(&granted, at), &request(), None).is_err(),
            "grant {at}"
        );
    }
}

#[test]
fn names_do_not_show_in_debug() {
    assert!(!format!("{:?}", request()).contains("canary"));
}

#[test]
fn a_request_with_impossible_names_or_keys_is_not_made() {
    let make = |recipient, device: &str, person: &str| {
        Request::new(
            &FixedEnv(3),
            &key(TABLET),
            recipient,
            &key(NURSE),
            device,
            person,
        )
    };
    for result in [
        make([0; 32], "d", "p"),
        make(RECIPIENT, "", "p"),
        make(RECIPIENT, "d", "\u{7}"),
    ] {
        assert!(matches!(result, Err(Error::Invalid { .. })));
    }
}

proptest! {
    #[test]
    fn foreign_texts_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for label in ["MEDSYNC REQUEST", "MEDSYNC GRANT"] {
            let text = crate::ledger::armor::wrap(label, &bytes);
            prop_assert!(Request::from_text(&text).is_err());
            prop_assert!(Grant::open(&text, &request(), None).is_err());
        }
    }
}
