//! Authors, certified or not, who write what no honest engine writes.

use super::{Cell, CommitId, Mallory, Role, Scene, Tip, encode, entry, json, part, record};
use medsync_core::ledger::certificate::{Certificate, Subject, Terms};
use medsync_core::ledger::entry::ItemKind;
use medsync_core::model::json::Json;
use medsync_core::vault::Draft;

#[test]
fn a_place_far_ahead_costs_nothing() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    mallory.tip = Tip {
        seq: i64::MAX as u64 - 1,
        id: CommitId([7; 32]),
        hlc: Mallory::now(),
    };
    let part = mallory.fresh("far", "code", "x");
    let batch = mallory.one(&scene, &[part]);
    scene.put_key(&mallory);
    scene.put(1, &[batch]);
    scene.exchange();
    scene.vault.status().expect("a status");
    let revoked = scene.vault.revoke(&mallory.person.public(), "hostile");
    revoked.expect("revokes");
    scene.exchange();
    scene.assert_sound();
}

#[test]
fn a_place_far_ahead_keeps_no_authority_after_a_revocation() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    let mut ahead = mallory.elsewhere(1);
    ahead.replica = mallory.replica;
    ahead.tip = Tip {
        seq: 1 << 40,
        id: CommitId([7; 32]),
        hlc: Mallory::now(),
    };
    let part = ahead.fresh("far", "code", "x");
    let far = ahead.one(&scene, &[part]);
    scene.put_key(&mallory);
    scene.put(1, &[far]);
    scene.exchange();
    scene
        .vault
        .revoke(&mallory.person.public(), "stolen")
        .expect("revokes");
    let part = mallory.fresh("late", "code", "by a thief");
    let late = mallory.one(&scene, &[part]);
    scene.put(2, &[late]);
    scene.exchange();
    let late = scene
        .vault
        .history(&record("late"), None)
        .expect("a history");
    assert!(
        late.iter().all(|event| !event.candidate.confirmed),
        "{late:?}"
    );
}

#[test]
fn an_entry_of_a_newer_engine_stops_nothing() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    let part = mallory.fresh("a", "code", "x");
    let (change, id) = encode(&part.change);
    // One entry that this engine knows and one of a type that it does not.
    let entry = super::ChangeEntry {
        record: part.record.clone(),
        patient: None,
        seen: None,
        change: id,
        because: None,
        source: None,
    };
    let known = entry::Entry::Change(entry).to_bytes().expect("an entry");
    let newer = vec![0x82, 0x07, 0x01];
    let commit = mallory.sealed(part.change.hlc, &[(known, change), (newer, Vec::new())]);
    let batch = mallory.batch(&scene, vec![commit]);
    scene.put_key(&mallory);
    scene.put(1, &[batch]);
    scene.exchange();
    assert!(scene.shows("a").is_some());
    scene.write("a", "code", "another");
    scene
        .vault
        .revoke(&mallory.person.public(), "gone")
        .expect("revokes");
    scene.vault.history(&record("a"), None).expect("a history");
    scene.assert_sound();
}

#[test]
fn items_of_a_commit_that_is_not_visible_have_no_effect() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Admin, Role::Clinician]);
    let friend = Mallory::new();
    let subject = Subject::Person(friend.chain().author);
    let terms = Terms::new(
        scene.workspace,
        subject,
        "Friend",
        [Role::Clinician],
        Mallory::now(),
    );
    let certificate = Certificate::issue(&mallory.person, &terms).expect("a certificate");
    let item = (ItemKind::CERTIFICATE, certificate.bytes().to_vec());
    let absent = mallory.fresh("absent", "code", "never sent");
    let waits = mallory.change(2, &[&absent.change], &[("code", Cell::put(&json("1")))]);
    let waits = mallory.commit(&[part("absent", waits)], &[item]);
    let malformed = mallory.commit(&[], &[(ItemKind::CERTIFICATE, vec![1, 2, 3])]);
    let junk = mallory.junk_item();
    let batch = mallory.batch(&scene, vec![waits, malformed, junk]);
    scene.put_key(&mallory);
    scene.put(1, &[batch]);
    scene.exchange();
    let known = |scene: &Scene| {
        let people = scene.vault.people().expect("people");
        people.iter().any(|p| p.key == friend.chain().author)
    };
    assert!(!known(&scene));
    scene.assert_sound();
    assert!(!known(&scene));
    assert_eq!(
        (
            scene.pending(),
            scene.vault.status().expect("a status").quarantine
        ),
        (1, 1)
    );
}

#[test]
fn what_waits_is_woken_by_its_cause_and_not_by_all() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    // Each commit makes a record and edits that of the commit after it.
    const LONG: usize = 1200;
    let now = Mallory::now();
    let first = |n: usize| {
        let mut part = mallory.fresh(&format!("r{n}"), "code", "x");
        part.change.hlc = now;
        part
    };
    let firsts: Vec<_> = (0..=LONG).map(first).collect();
    let mut parts: Vec<Vec<super::Part>> = Vec::new();
    for (own, after) in firsts.iter().zip(&firsts[1..]) {
        let cell = Cell::put(&json("1"));
        let mut next = mallory.change(2, &[&after.change], &[("note", cell)]);
        next.hlc = now;
        let next = super::Part {
            change: next,
            ..after.clone()
        };
        parts.push(vec![own.clone(), next]);
    }
    let commits: Vec<_> = parts.iter().map(|p| mallory.commit(p, &[])).collect();
    let waiting = mallory.batch(&scene, commits);
    let last = mallory.one(&scene, &firsts[LONG..]);
    scene.put_key(&mallory);
    scene.put(1, &[waiting]);
    scene.exchange();
    assert_eq!(scene.pending(), LONG as u64);
    scene.put(2, &[last]);
    scene.exchange();
    assert_eq!(scene.pending(), 0);
}

#[test]
fn a_long_fork_is_proved_once() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    let mut twin = mallory.elsewhere(1);
    twin.replica = mallory.replica;
    let item = |n: u32| vec![(ItemKind(9), n.to_be_bytes().to_vec())];
    let a: Vec<_> = (0..3000).map(|n| mallory.commit(&[], &item(n))).collect();
    let b: Vec<_> = (0..3000).map(|n| twin.commit(&[], &item(n + 1))).collect();
    let (a, b) = (mallory.batch(&scene, a), twin.batch(&scene, b));
    scene.put(1, &[a]);
    scene.exchange();
    scene.put(2, &[b]);
    let report = scene.exchange();
    assert_eq!(report.received.commits, 3000, "both are kept: {report:?}");
    assert_eq!(report.received.equivocations, 1, "{report:?}");
    assert_eq!(scene.vault.status().expect("a status").equivocations, 1);
    scene.assert_sound();
}

#[test]
fn many_certificates_are_judged_together() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::new();
    let friend = Subject::Person(Mallory::new().chain().author);
    let commits: Vec<_> = (0..1500)
        .map(|n| {
            let name = format!("Friend {n}");
            let hlc = Mallory::now();
            let terms = Terms::new(scene.workspace, friend, &name, [Role::Admin], hlc);
            let issued = Certificate::issue(&mallory.person, &terms).expect("a certificate");
            mallory.commit(&[], &[(ItemKind::CERTIFICATE, issued.bytes().to_vec())])
        })
        .collect();
    let batch = mallory.batch(&scene, commits);
    scene.put(1, &[batch]);
    scene.exchange();
    scene.assert_sound();
}

#[test]
fn many_heads_by_a_stranger_do_not_freeze_a_record() {
    let mut scene = Scene::new();
    scene.write("a", "code", "ours");
    let mallory = Mallory::new();
    let batches: Vec<_> = (0..230)
        .map(|n| {
            let mut other = mallory.elsewhere(n);
            let part = other.fresh("a", "code", &format!("theirs {n}"));
            other.one(&scene, &[part])
        })
        .collect();
    scene.put_key(&mallory);
    scene.put(1, &batches);
    scene.exchange();
    scene.write("a", "note", "can still be written");
    scene.write("a", "code", "and this too");
    let mut stopped: Draft = scene.vault.draft(&record("a")).expect("a draft");
    stopped.remove("note").because("no use");
    scene.vault.commit(vec![stopped]).expect("commits");
    scene.assert_sound();
}

#[test]
fn items_of_many_names_do_not_make_a_giant_of_a_record() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    let order = medsync_core::model::order::Order::nth(0);
    let keys: Vec<String> = (0..6000).map(|n| format!("item/{n:05}")).collect();
    let cells: Vec<(&str, Cell)> = keys
        .iter()
        .enumerate()
        .map(|(n, key)| {
            let object = json(&format!("{{\"m{n}\":1}}"));
            let atom = medsync_core::model::cell::Atom::members(&object).expect("an atom");
            (
                key.as_str(),
                Cell::Put {
                    atom,
                    order: Some(order.clone()),
                },
            )
        })
        .collect();
    let change = mallory.change(1, &[], &cells);
    let batch = mallory.one(&scene, &[part("bomb", change)]);
    scene.put_key(&mallory);
    scene.put(1, &[batch]);
    scene.exchange();
    let shown = scene.shows("bomb").expect("a view");
    assert!(shown.len() < 4 << 20, "{} bytes", shown.len());
    scene.write("bomb", "note", "can be written");
    scene.assert_sound();
}

#[test]
fn nothing_clinical_shows_in_debug() {
    const CANARY: &str = "CANARY";
    let mut scene = Scene::new();
    scene.write("a", "code", CANARY);
    let mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    let mut other = mallory.elsewhere(3);
    let part = other.fresh("a", "code", "CANARY 2");
    let batch = other.one(&scene, &[part]);
    scene.put_key(&mallory);
    scene.put(1, &[batch]);
    scene.exchange();
    let mut draft = scene.vault.draft(&record("b")).expect("a draft");
    draft.set(CANARY, Json::string(CANARY)).because(CANARY);
    draft.retract("identifier/urn:CANARY|1");
    let open = scene.vault.escalations().expect("questions");
    assert_eq!(open.len(), 1);
    let history = scene.vault.history(&record("a"), None).expect("a history");
    let decision = medsync_core::vault::Decision::Replace(Json::string(CANARY));
    for text in [
        format!("{draft:?}"),
        format!("{open:?}"),
        format!("{history:?}"),
        format!("{decision:?}"),
        format!("{:?}", scene.vault.record(&record("a"))),
    ] {
        assert!(!text.contains(CANARY), "{text}");
    }
}
