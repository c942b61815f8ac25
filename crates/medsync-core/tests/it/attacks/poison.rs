//! Packs, certificates, revocations and values that are made to harm whoever reads them.

use super::{ItemKind, Mallory, Role, Scene, entry, env, poisons, record};
use medsync_core::ids::AuthorKey;
use medsync_core::ledger::certificate::{Certificate, Subject, Terms};
use medsync_core::ledger::commit::ITEMS_MAX;
use medsync_core::ledger::commit::{Commit, Header};
use medsync_core::ledger::wire::{WireCommit, WireLeaf};
use medsync_core::time::Timestamp;

/// A pack under which a note is anybody's to overwrite, or worse.
const POISON: &str = r#"{"format":1,"name":"poison","version":9,"kinds":{
    "Observation":{"fields":{"code":{"policy":"lww"}}}}}"#;

fn deliver(scene: &mut Scene, mallory: &mut Mallory, no: u8, items: &[(ItemKind, Vec<u8>)]) {
    let commit = mallory.commit(&[], items);
    let batch = mallory.batch(scene, vec![commit]);
    scene.put(no, &[batch]);
    scene.exchange();
}

fn pack_in_force(scene: &Scene) -> u32 {
    scene.vault.status().expect("a status").pack.1
}

#[test]
fn a_pack_of_who_is_no_admin_never_comes_into_force() {
    for roles in [
        &[][..],
        &[Role::Clinician, Role::Reviewer, Role::Pharmacist],
    ] {
        let mut scene = Scene::new();
        let mut mallory = match roles {
            [] => Mallory::new(),
            roles => Mallory::admitted(&mut scene, roles),
        };
        deliver(
            &mut scene,
            &mut mallory,
            1,
            &[(ItemKind::PACK, POISON.as_bytes().to_vec())],
        );
        assert_eq!(pack_in_force(&scene), 1);
        scene.write("a", "code", "goes on");
        scene.assert_sound();
    }
}

#[test]
fn a_malformed_huge_or_unknown_pack_of_an_admin_changes_nothing() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Admin]);
    let huge = format!(
        r#"{{"format":1,"name":"{}","version":9,"kinds":{{}}}}"#,
        "x".repeat(900_000)
    );
    let packs = [
        "[".repeat(90_000),
        String::new(),
        "{}".to_owned(),
        huge,
        POISON.replace("lww", "whoever comes last"),
        POISON.replace(
            r#""policy":"lww""#,
            r#""policy":{"set":{"contest-edits":7}}"#,
        ),
        POISON.replace(r#""version":9"#, r#""version":-9"#),
        POISON.replace(r#""version":9"#, r#""version":99999999999"#),
        POISON.replace(r#""format":1"#, r#""format":9"#),
        format!("{POISON} "),
    ];
    for (no, pack) in (1u8..).zip(&packs) {
        let item = (ItemKind::PACK, pack.as_bytes().to_vec());
        deliver(&mut scene, &mut mallory, no, &[item]);
        let in_force = pack_in_force(&scene);
        let shown: String = pack.chars().take(80).collect();
        // A blank behind a pack is no harm; all else is none.
        assert_eq!(in_force, if no == 10 { 9 } else { 1 }, "{shown}");
    }
    scene.write("a", "code", "goes on");
    scene.assert_sound();
}

/// A certificate of Mallory's for a friend, and whether the friend is somebody now.
fn admits(scene: &mut Scene, mallory: &mut Mallory, change: impl Fn(&mut Terms)) -> bool {
    let friend = Mallory::new();
    let key = friend.chain().author;
    let mut terms = Terms::new(
        scene.workspace,
        Subject::Person(key),
        "Friend",
        [Role::Clinician],
        Mallory::now(),
    );
    change(&mut terms);
    let issued = Certificate::issue(&mallory.person, &terms).expect("a certificate");
    let no = scene.files as u8;
    let item = (ItemKind::CERTIFICATE, issued.bytes().to_vec());
    deliver(scene, mallory, no, &[item]);
    is_member(scene, key)
}

fn is_member(scene: &Scene, key: AuthorKey) -> bool {
    let people = scene.vault.people().expect("people");
    people.iter().any(|person| person.key == key)
}

#[test]
fn certificates_of_another_workspace_or_by_nobody_admit_nobody() {
    let mut scene = Scene::new();
    let mut stranger = Mallory::new();
    let mut clinician = Mallory::admitted(&mut scene, &[Role::Clinician]);
    let mut admin = Mallory::admitted(&mut scene, &[Role::Admin]);
    assert!(!admits(&mut scene, &mut stranger, |_| {}));
    assert!(!admits(&mut scene, &mut clinician, |_| {}));
    assert!(!admits(&mut scene, &mut admin, |terms| terms
        .workspace
        .0[0] ^= 1));
    assert!(admits(&mut scene, &mut admin, |_| {}), "an admin's does");
    scene.assert_sound();
}

#[test]
fn certificates_that_ended_or_come_from_the_far_future_stop_nobody() {
    let mut scene = Scene::new();
    let mut admin = Mallory::admitted(&mut scene, &[Role::Admin]);
    let far = Timestamp::new(env().now_ms() + 10 * 365 * 24 * 3_600_000, 0);
    for change in [
        &(|terms: &mut Terms| terms.expires_ms = Some(1000)) as &dyn Fn(&mut Terms),
        &move |terms| terms.issued = far,
        &|terms| terms.issued = Timestamp(0),
        &|terms| terms.issued = Timestamp(i64::MAX),
    ] {
        admits(&mut scene, &mut admin, change);
        scene.write("a", "code", "goes on");
    }
    // A date in a certificate moves nobody's clock.
    let now = env().now_ms();
    let status = scene.vault.status().expect("a status");
    assert_eq!(status.quarantine, 0);
    let history = scene.vault.history(&record("a"), None).expect("a history");
    assert!(
        history
            .iter()
            .all(|event| event.candidate.time.ms() <= now + 60_000)
    );
    scene.assert_sound();
}

#[test]
fn admins_in_a_ring_who_certify_only_each_other_are_nobody() {
    let mut scene = Scene::new();
    let mut ring: Vec<Mallory> = (0..40).map(|_| Mallory::new()).collect();
    for at in 0..ring.len() {
        let next = ring[(at + 1) % ring.len()].chain().author;
        let terms = Terms::new(
            scene.workspace,
            Subject::Person(next),
            "Ring",
            [Role::Admin],
            Mallory::now(),
        );
        let issued = Certificate::issue(&ring[at].person, &terms).expect("a certificate");
        let item = (ItemKind::CERTIFICATE, issued.bytes().to_vec());
        deliver(&mut scene, &mut ring[at], at as u8, &[item]);
    }
    for member in &ring {
        assert!(!is_member(&scene, member.chain().author));
    }
    scene.assert_sound();
}

/// A commit of these leaves, which no builder makes.
fn of_items(mallory: &mut Mallory, count: usize) -> (Commit, WireCommit) {
    let leaves: Vec<Vec<u8>> = (0..count)
        .map(|n| {
            let bytes = (n as u32).to_be_bytes().to_vec();
            let item = entry::Entry::Item {
                kind: ItemKind(9),
                bytes,
            };
            item.to_bytes().expect("an item")
        })
        .collect();
    let hashes: Vec<_> = leaves
        .iter()
        .map(|bytes| entry::leaf(&entry::NO_SALT, bytes))
        .collect();
    let bytes = mallory.header(Mallory::now().max(mallory.tip.hlc), &hashes);
    let header = Header::parse(&bytes).expect("a header");
    mallory.tip = header.tip();
    let wire = WireCommit {
        header: bytes,
        leaves: leaves.into_iter().map(WireLeaf::Item).collect(),
    };
    let entries = Vec::new();
    (Commit { header, entries }, wire)
}

#[test]
fn a_commit_of_too_many_items_is_quarantined() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    let commits = [ITEMS_MAX, ITEMS_MAX + 1].map(|count| of_items(&mut mallory, count));
    let batch = mallory.batch(&scene, commits.into());
    scene.put(1, &[batch]);
    scene.exchange();
    let status = scene.vault.status().expect("a status");
    assert_eq!((status.quarantine, status.not_understood), (1, 1));
    scene.assert_sound();
}

#[test]
fn deep_values_and_nested_reviews_are_quarantined() {
    for (cell, poison) in poisons() {
        let mut scene = Scene::new();
        let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician, Role::Reviewer]);
        let commit = mallory.written_over("a", cell, &poison);
        let batch = mallory.batch(&scene, vec![commit]);
        scene.put_key(&mallory);
        scene.put(1, &[batch]);
        scene.exchange();
        assert_eq!(scene.vault.status().expect("a status").quarantine, 1);
        scene.write("b", "code", "goes on");
        scene.assert_sound();
    }
}
