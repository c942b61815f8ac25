//! A word that stands wherever a clinical value can: no file holds it, nothing prints it.

use crate::world::{Device, SENIOR, World, files, id, json, new_vault};
use medsync_core::crypto::Kdf;
use medsync_core::error::Error;
use medsync_core::ids::RecordId;
use medsync_core::ledger::certificate::Role;
use medsync_core::model::pack::PolicyPack;
use medsync_core::vault::{Decision, Draft, Unit, Version};
use medsync_fhir::read::{Options, Reader};
use std::fmt::Debug;
use std::io::Cursor;
use std::path::Path;

const CANARY: &str = "Kanarie7c";

fn has(bytes: &[u8]) -> bool {
    let spoken = |w: &[u8]| w.eq_ignore_ascii_case(CANARY.as_bytes());
    bytes.windows(CANARY.len()).any(spoken)
}

/// What a log would get of a value.
fn printed(value: &impl Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!has(text.as_bytes()), "{text}");
    }
}

fn failed<T: Debug>(result: Result<T, Error>) {
    let error = result.expect_err("this fails");
    assert!(!has(error.to_string().as_bytes()), "{error}");
    printed(&error);
}

fn silent_files(dir: &Path) {
    let all = files(dir);
    assert!(!all.is_empty());
    for (path, bytes) in all {
        assert!(!has(path.to_string_lossy().as_bytes()));
        assert!(!has(&bytes), "{path:?}");
    }
}

/// A patient who is nothing but canaries: numbers, names, notes, codes, unknown elements.
fn patient() -> String {
    let item = format!(r#"{{"id":"{CANARY}-1","url":"urn:{CANARY}","valueString":"{CANARY}"}}"#);
    format!(
        r#"{{"resourceType":"Patient","id":"{CANARY}",
            "identifier":[{{"id":"{CANARY}-2","system":"urn:{CANARY}","value":"{CANARY}"}}],
            "name":[{{"family":"{CANARY}","given":["{CANARY}"]}}],"gender":"{CANARY}",
            "birthDate":"{CANARY}","address":[{{"city":"{CANARY}"}}],
            "telecom":[{{"id":"{CANARY}-3","system":"phone","value":"{CANARY}"}}],
            "text":{{"div":"{CANARY}"}},"extension":[{item}],"newer":"{CANARY}"}}"#
    )
}

fn condition(id: &str) -> String {
    format!(
        r#"{{"resourceType":"Condition","id":"{id}","subject":{{"reference":"Patient/{CANARY}"}},
            "code":{{"coding":[{{"system":"urn:{CANARY}","code":"{CANARY}"}}],"text":"{CANARY}"}},
            "note":[{{"id":"{CANARY}-4","text":"{CANARY}"}}]}}"#
    )
}

fn subject() -> String {
    format!("Patient/{CANARY}")
}

/// Two devices of people called like the canary, who wrote, removed, imported and disagreed.
fn world() -> World {
    let mut world = World::alone();
    world.join(CANARY, &SENIOR);
    let second = format!(
        r#"{{"resourceType":"Patient","id":"{CANARY}-b",
        "identifier":[{{"system":"urn:{CANARY}","value":"{CANARY}"}}]}}"#
    );
    world.devices[0].import("registry", &[&patient(), &condition("c")]);
    world.devices[1].put(&second);
    world.converge();
    let retract = |draft: &mut Draft| {
        draft
            .retract(&format!("telecom/{CANARY}-3"))
            .because(CANARY);
    };
    let seen = world.devices[0].version(&subject());
    let done = world.devices[0].vault.edit(&id(&subject()), seen, retract);
    done.expect("retracts").expect("a change");
    for (no, device) in world.devices.iter_mut().enumerate() {
        let code = format!(r#"{{"text":"{CANARY} {no}"}}"#);
        device.set("Condition/c", "code", &code);
        let version = device.version("Condition/c");
        let item = json(&format!(r#"{{"id":"{CANARY}-4","text":"{CANARY} {no}"}}"#));
        let note = |draft: &mut Draft| {
            draft
                .set_element(&format!("note/{CANARY}-4"), item)
                .because(CANARY);
            draft.set("encounter", json(&format!(r#"{{"display":"{CANARY}"}}"#)));
        };
        let done = device.vault.edit(&id("Condition/c"), version, note);
        done.expect("an edit").expect("a change");
    }
    world.converge();
    world
}

fn decide(world: &mut World) {
    let question = world.devices[0].question("Condition/c", "code");
    let decision = Decision::Replace(json(&format!(r#"{{"text":"{CANARY} decided"}}"#)));
    printed(&decision);
    printed(&question);
    let outdated = question.clone();
    let done = world.devices[0].vault.resolve(question, decision, CANARY);
    printed(&done.expect("a decision"));
    failed(
        world.devices[0]
            .vault
            .resolve(outdated, Decision::Remove, CANARY),
    );
}

/// Everything that reading gives.
fn read_all(device: &mut Device) {
    let vault = &mut device.vault;
    printed(vault);
    let records = [
        id(&subject()),
        id("Condition/c"),
        id(&format!("Patient/{CANARY}-b")),
    ];
    for record in &records {
        printed(record);
        printed(&vault.read(record).expect("reads").expect("is here"));
        let whole = vault.record(record).expect("reads").expect("is here");
        printed(&whole);
        printed(&whole.version);
        printed(&vault.history(record, None).expect("a history"));
        printed(&vault.draft(record).expect("a draft"));
    }
    let findings = vault.findings(99).expect("findings");
    assert!(findings.iter().any(|f| f.rule == "identifier-shared"));
    printed(&findings);
    printed(&vault.escalations().expect("questions"));
    printed(&vault.status().expect("a status"));
    printed(&vault.people().expect("people"));
    printed(&vault.devices().collect::<Vec<_>>());
    printed(&vault.search(CANARY, 9).expect("finds"));
    printed(&vault.find("identifier", CANARY, 9).expect("finds"));
    printed(&vault.chart(&records[0], 9).expect("finds"));
    printed(&vault.verify(true, &mut |_, _| {}).expect("verifies"));
    printed(&vault.seal().expect("seals"));
}

#[test]
fn no_file_holds_a_clinical_value_and_nothing_that_is_read_prints_one() {
    let mut world = world();
    let asked: Vec<String> = world.devices[0].asked();
    assert_eq!(asked.len(), 2, "a code and a note");
    world.devices.iter_mut().for_each(read_all);
    decide(&mut world);
    world.devices.iter_mut().for_each(read_all);
    let stick = tempfile::tempdir().expect("a folder");
    for no in [0, 1, 0] {
        printed(&world.devices[no].exchange(stick.path()));
    }
    silent_files(stick.path());
    for device in &world.devices {
        silent_files(&device.dir);
    }
    let key = world.devices[1].vault.author().expect("a person").0;
    world.devices[0]
        .vault
        .revoke(&key, CANARY)
        .expect("revokes");
    printed(&world.devices[0].exchange(stick.path()));
    printed(&world.devices[0].vault.people().expect("people"));
    silent_files(stick.path());
    silent_files(&world.devices[0].dir);
}

#[test]
fn nothing_that_is_written_prints_a_clinical_value() {
    let mut world = world();
    let vault = &mut world.devices[0].vault;
    let record = id(&subject());
    let mut draft = vault.draft(&record).expect("a draft");
    let value = || json(&format!(r#"{{"text":"{CANARY}"}}"#));
    draft
        .set("maritalStatus", value())
        .add("telecom", value())
        .set_element(&format!("telecom/{CANARY}-3"), value())
        .retract(&format!("telecom/{CANARY}-3"))
        .remove("birthDate")
        .replace(json(&patient()))
        .because(CANARY);
    printed(&draft);
    let resources = vec![(1, record, json(&patient()))];
    printed(&Unit {
        resources,
        atomic: true,
    });
    let report = vault.import("registry", std::iter::empty(), &mut |_| {});
    printed(&report.expect("an import"));
    let text = patient().replace('\n', "") + "\n{\"" + CANARY;
    let input = Box::new(Cursor::new(text));
    let items: Vec<_> = Reader::stream("input", input, Options::default()).collect();
    assert_eq!(items.len(), 2);
    printed(&items);
    printed(&new_vault(CANARY, CANARY));
    let mut new = new_vault("Dev", "tablet");
    new.passphrase = CANARY;
    printed(&new);
}

/// Edits that do not fit, each with the canary in it.
fn bad_edits(now: &Version) -> Vec<Draft> {
    let value = || json(&format!(r#""{CANARY}""#));
    let unknown: Version = "ab".repeat(32).parse().expect("a version");
    let element = format!("telecom/{CANARY}");
    let draft = |seen: &Version, write: &dyn Fn(&mut Draft)| {
        let mut draft = Draft::new(id(&subject()), seen.clone());
        write(&mut draft);
        draft
    };
    let edits: [&dyn Fn(&mut Draft); 7] = [
        &|d| _ = d.set("id", value()),
        &|d| _ = d.set_element(&element, value()),
        &|d| _ = d.retract(&element).because(CANARY),
        &|d| _ = d.retract(&element),
        &|d| _ = d.add("gender", value()),
        &|d| _ = d.replace(value()).set("resourceType", value()),
        &|d| _ = d.count("gender", 1),
    ];
    let mut drafts: Vec<Draft> = edits.iter().map(|write| draft(now, write)).collect();
    drafts.push(draft(&unknown, &|d| _ = d.set("gender", value())));
    drafts
}

#[test]
fn no_error_tells_a_clinical_value() {
    let mut world = world();
    let before = world.devices[0].digests();
    let now = world.devices[0].version(&subject());
    let vault = &mut world.devices[0].vault;
    for draft in bad_edits(&now) {
        failed(vault.commit(vec![draft]));
    }
    let mut draft = Draft::new(id(&subject()), now);
    draft.set("gender", json("1"));
    failed(vault.commit(vec![draft.clone(), draft]));
    failed(RecordId::new("Patient", &format!("{CANARY} {CANARY}")));
    failed(CANARY.parse::<Version>());
    failed(vault.history(&id(&format!("Patient/{CANARY}-none")), Some(CANARY)));
    failed(vault.escalation(CANARY));
    failed(vault.person_here(CANARY));
    failed(vault.admit(CANARY, &SENIOR));
    failed(vault.join(CANARY));
    failed(vault.request());
    failed(vault.reset_pin(CANARY, b"1234", Kdf::for_tests()));
    let long = CANARY.repeat(99);
    failed(vault.add_person(
        &long,
        &[Role::Clinician],
        b"1234",
        Some(b"5"),
        Kdf::for_tests(),
    ));
    failed(vault.revoke(&[7; 32], &long.repeat(9)));
    let owner = vault.owner();
    failed(vault.unlock(&owner, Some(CANARY.as_bytes())));
    failed(PolicyPack::from_json(
        format!(r#"{{"{CANARY}":1}}"#).as_bytes(),
    ));
    let bad = format!(r#"{{"resourceType":"Patient","id":"x","{CANARY}/":"{CANARY}"}}"#);
    let report = world.devices[0].import(CANARY, &[&bad]);
    assert_eq!(report.rejected.len(), 1);
    printed(&report);
    assert_eq!(world.devices[0].digests(), before);
}
