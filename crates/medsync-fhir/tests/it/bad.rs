//! What goes wrong: each time a clear word about it, and nothing lost.

mod places;

use crate::world::{
    DAY, Device, PASSPHRASE, SENIOR, World, allergy, diagnosis, files, id, json, new_vault, patient,
};
use medsync_core::crypto::Kdf;
use medsync_core::error::Error;
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::model::pack::{PolicyPack, PolicyRow};
use medsync_core::store::Unlock;
use medsync_core::store::fault::SeededEnv;
use medsync_core::vault::exchange::{Disk, Folder, Outgoing};
use medsync_core::vault::{Decision, Unit, Vault, Version};
use medsync_fhir::read::{Options, Reader, Reject, Unit as Read};
use std::io::{self, BufReader, Cursor, ErrorKind, Read as _};
use std::path::Path;

/// One device with a patient.
fn desk() -> World {
    let mut world = World::alone();
    world.devices[0].put(&patient("p"));
    world
}

/// Does what fails, and holds it to changing nothing.
fn refused<T: std::fmt::Debug>(
    device: &mut Device,
    job: impl FnOnce(&mut Vault) -> Result<T, Error>,
) -> Error {
    let before = device.digests();
    let error = job(&mut device.vault).expect_err("it is refused");
    assert_eq!(device.digests(), before, "{error}");
    error
}

/// Imports a stream; why what was refused was refused.
fn import(device: &mut Device, input: impl io::Read + 'static) -> Vec<Reject> {
    let mut rejects = Vec::new();
    let stream = Box::new(BufReader::new(input));
    let units = Reader::stream("input", stream, Options::default()).filter_map(|item| {
        let unit = item.outcome.map_err(|reject| rejects.push(reject)).ok()?;
        let (resources, atomic) = match unit {
            Read::Resource(one) => (vec![one], false),
            Read::Transaction(all) => (all, true),
        };
        let resources = resources.into_iter().map(|r| (item.line, r.id, r.json));
        Some(Unit {
            resources: resources.collect(),
            atomic,
        })
    });
    let report = device
        .vault
        .import("file", units, &mut |_| {})
        .expect("an import");
    assert_eq!((report.imported, report.rejected.len()), (1, 0));
    rejects
}

#[test]
fn bad_lines_are_refused_and_the_good_one_among_them_is_kept() {
    let good = patient("good").replace('\n', "");
    let deep = "[".repeat(100) + &"]".repeat(100);
    let cases: [(Vec<u8>, Reject); 4] = [
        (
            format!(r#"{{"resourceType":"Patient","id":"x","a":{deep}}}"#).into(),
            Reject::TooDeep,
        ),
        (
            b"{\"resourceType\":\"Patient\",\"id\":\"x\",\"gender\":\"\xff\"}".to_vec(),
            Reject::NotUtf8,
        ),
        (
            br#"{"resourceType":"Patient","id":"x","gender":"male","gender":"female"}"#.to_vec(),
            Reject::DuplicateMember,
        ),
        (
            good.as_bytes().split_at(good.len() / 2).0.into(),
            Reject::NotJson,
        ),
    ];
    let mut world = desk();
    let mut input = good.clone().into_bytes();
    for (line, _) in &cases {
        input.push(b'\n');
        input.extend(line);
    }
    let device = &mut world.devices[0];
    let rejects = import(device, Cursor::new(input));
    assert_eq!(rejects, cases.map(|(_, reject)| reject));
    assert_eq!(device.view("Patient/good"), json(&good));
    assert_eq!(device.vault.read(&id("Patient/x")), Ok(None));
    device.assert_sound();
}

#[test]
fn a_resource_of_100_mb_is_passed_over_and_the_next_one_kept() {
    let mut world = desk();
    let head = Cursor::new(r#"{"resourceType":"Binary","id":"x","data":""#);
    let tail = Cursor::new(format!("\"}}\n{}\n", patient("good").replace('\n', "")));
    let input = head.chain(io::repeat(b'A').take(100 << 20)).chain(tail);
    assert_eq!(import(&mut world.devices[0], input), [Reject::TooLarge]);
    world.devices[0].assert_sound();
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_past_the_reader_too() {
    let mut world = desk();
    let device = &mut world.devices[0];
    let deep = (0..200).fold(Json::Null, |inner, _| Json::Array(vec![inner]));
    let large = Json::string(&"A".repeat(300 * 1024));
    for value in [deep, large] {
        let version = device.version("Patient/p");
        let error = refused(device, |vault| {
            let set =
                |draft: &mut medsync_core::vault::Draft| _ = draft.set("photo", value.clone());
            vault.edit(&id("Patient/p"), version, set)
        });
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        let mut resource = json(&patient("x"));
        resource.set("photo", value);
        let resources = vec![(7, id("Patient/x"), resource)];
        let unit = Unit {
            resources,
            atomic: false,
        };
        let report = device
            .vault
            .import("file", std::iter::once(unit), &mut |_| {});
        let rejected = report.expect("an import").rejected;
        assert!(
            matches!(&rejected[..], [(7, Error::Invalid { .. })]),
            "{rejected:?}"
        );
    }
    assert_eq!(device.vault.read(&id("Patient/x")), Ok(None));
    device.assert_sound();
}

#[test]
fn the_same_id_under_another_kind_is_another_record() {
    let mut world = World::of(&["Bala"]);
    let person = r#"{"resourceType":"Practitioner","id":"p","name":[{"family":"Das"}]}"#;
    world.devices[0].put(&patient("p"));
    world.devices[1].import("file", &[person, &patient("q")]);
    world.converge();
    for device in &world.devices {
        assert_eq!(device.view("Practitioner/p"), json(person));
        assert_eq!(device.view("Patient/p"), json(&patient("p")));
        assert_eq!(device.asked(), [""; 0]);
    }
}

#[test]
fn a_pack_that_cannot_be_read_is_refused_by_its_line_and_never_installed() {
    let text = String::from_utf8(medsync_fhir::pack::CLINICAL_JSON.to_vec()).expect("text");
    let bad = text.replacen(r#"{"policy": "lww","#, r#"{"policy": "newest","#, 1);
    let error = PolicyPack::from_json(bad.as_bytes()).expect_err("no such policy");
    assert!(error.to_string().contains("unknown policy"), "{error}");
    assert!(error.to_string().contains("line 6"), "{error}");
    let mut world = desk();
    let mut pack = medsync_fhir::pack::clinical();
    pack.version += 1;
    let fields = &mut pack
        .kinds
        .get_mut("MedicationRequest")
        .expect("a kind")
        .fields;
    if let PolicyRow::Lattice(lattice) = &mut fields.get_mut("status").expect("a field").policy {
        lattice.terminal.push("gone".to_owned());
    }
    let error = refused(&mut world.devices[0], |vault| vault.install_pack(&pack));
    assert!(
        error.to_string().contains("MedicationRequest.status"),
        "{error}"
    );
    let old = medsync_fhir::pack::clinical();
    let error = refused(&mut world.devices[0], |vault| vault.install_pack(&old));
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let dir = world.home.path().join("other");
    let env = std::sync::Arc::new(SeededEnv::new(9));
    let created = Vault::create(&dir, env, &new_vault("Dev", "tablet"), "Other", &pack);
    assert!(created.is_err() && !dir.exists());
}

/// A resource with equal items, and numbers whose zeros say how exact they are.
fn exact() -> String {
    r#"{"resourceType":"Observation","id":"o","status":"final",
        "subject":{"reference":"Patient/p"},"note":[{"text":"same"},{"text":"same"}],
        "component":[{"valueQuantity":{"value":1.00}},{"valueQuantity":{"value":1.00}}],
        "valueQuantity":{"value":5.40,"unit":"mmol/L"},
        "extension":[{"url":"urn:x","valueDecimal":1E-22},{"url":"urn:x","valueDecimal":1E-22}]}"#
        .to_owned()
}

#[test]
fn equal_items_and_trailing_zeros_survive_import_edit_exchange_and_export() {
    let mut world = World::of(&["Bala"]);
    let o = "Observation/o";
    world.devices[0].import("lab", &[&exact()]);
    world.converge();
    world.devices[1].set(o, "issued", r#""2026-01-02T03:04:05.600Z""#);
    world.converge();
    let mut expected = json(&exact());
    expected.set("issued", json(r#""2026-01-02T03:04:05.600Z""#));
    for device in &mut world.devices {
        let mut texts = Vec::new();
        let each = |_: &medsync_core::ids::RecordId, text: &str| {
            texts.push(Ok(text.to_owned()));
            Ok(true)
        };
        device
            .vault
            .for_each("Observation", None, &mut { each })
            .expect("reads");
        let mut out = Vec::new();
        medsync_fhir::write::write(&mut out, Default::default(), texts).expect("writes");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            expected.text() + "\n"
        );
    }
    // The same file again, after the edit: nothing to do, and the edit stays.
    assert_eq!(world.devices[1].import("lab", &[&exact()]).unchanged, 1);
    assert_eq!(world.devices[1].view(o), expected);
}

#[test]
fn a_draft_of_a_version_that_never_was_is_refused() {
    let mut world = desk();
    world.devices[0].put(&patient("q"));
    let unknown: Version = "ab".repeat(32).parse().expect("a version");
    let of_another = world.devices[0].version("Patient/q");
    for version in [unknown, of_another] {
        let error = refused(&mut world.devices[0], |vault| {
            vault.edit(&id("Patient/p"), version, |draft| {
                _ = draft.set("gender", json("1"))
            })
        });
        assert!(error.to_string().contains("read it again"), "{error}");
    }
}

#[test]
fn a_grant_of_another_workspace_or_for_another_device_is_refused() {
    let mut world = World::of(&["Bala"]);
    let mut other = World::alone_as(77);
    let (mut first, mut second) = (world.newcomer("Chandra"), world.newcomer("Dev"));
    let request = first.vault.request().expect("a request");
    second.vault.request().expect("a request");
    let grant = world.devices[0]
        .vault
        .admit(&request, &SENIOR)
        .expect("a grant");
    let error = second.vault.join(&grant).expect_err("of another device");
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(second.vault.workspace().is_none());
    // Bala belongs here already, whoever else would have her.
    let request = world.devices[1].vault.request();
    assert!(matches!(request, Err(Error::Refused { .. })), "{request:?}");
    first.vault.join(&grant).expect("joins");
    let again = {
        let mut third = other.newcomer("Esha");
        let request = third.vault.request().expect("a request");
        other.devices[0]
            .vault
            .admit(&request, &SENIOR)
            .expect("a grant")
    };
    let error = refused(&mut first, |vault| vault.join(&again));
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let damaged = grant.replacen('A', "B", 1);
    assert!(second.vault.join(&damaged).is_err());
    first.put(&patient("p"));
    world.devices.push(first);
    world.converge();
}

#[test]
fn an_admin_whose_certificate_ended_is_warned_and_work_goes_on() {
    let mut world = World::of(&["Bala"]);
    world.devices[0].put(&diagnosis("c", "p", "fever"));
    world.converge();
    assert_eq!(world.devices[0].vault.warnings(), []);
    world.pass(380 * DAY);
    let soon = world.devices[0].vault.warnings();
    assert!(soon.len() == 1 && !soon[0].expired, "{soon:?}");
    world.pass(21 * DAY);
    assert!(world.devices[1].vault.warnings()[0].expired);
    // A grant would admit nobody.
    let request = world
        .newcomer("Chandra")
        .vault
        .request()
        .expect("a request");
    let error = refused(&mut world.devices[0], |vault| {
        vault.admit(&request, &SENIOR)
    });
    assert!(error.to_string().contains("24 words"), "{error}");
    // Nor would it keep anybody out, and nobody may believe that it did.
    let bala = world.devices[1].vault.author().expect("a person").0;
    let error = refused(&mut world.devices[0], |vault| vault.revoke(&bala, "left"));
    assert!(error.to_string().contains("no effect"), "{error}");
    let kdf = Kdf::for_tests();
    let error = refused(&mut world.devices[0], |vault| {
        vault.reset_pin("Asha", b"4711", kdf)
    });
    assert!(error.to_string().contains("no effect"), "{error}");
    // Somebody who is added now writes without authority; whoever was here goes on.
    let asha = &mut world.devices[0].vault;
    let added = asha.add_person("Dev", &[Role::Clinician], b"4711", Some(b"0815"), kdf);
    let (dev, owner) = (added.expect("a key"), asha.owner());
    asha.unlock(&dev, Some(b"4711")).expect("unlocks");
    world.devices[0].set("Condition/c", "code", r#"{"text":"malaria"}"#);
    world.devices[1].set("Condition/c", "severity", r#"{"text":"mild"}"#);
    world.converge();
    for device in &world.devices {
        assert_eq!(device.shows("Condition/c", "code.text"), r#""fever""#);
        assert_eq!(device.shows("Condition/c", "severity.text"), r#""mild""#);
        assert!(
            device
                .question("Condition/c", "code")
                .candidates
                .iter()
                .any(|c| !c.confirmed)
        );
    }
    // The authority's words bring another term, and with it what was done meanwhile.
    let strange = World::alone_as(78).authority;
    world.devices[0]
        .vault
        .unlock(&owner, Some(b"0815"))
        .expect("unlocks");
    let error = refused(&mut world.devices[0], |vault| vault.renew_admin(&strange));
    assert!(matches!(error, Error::WrongSecret(_)), "{error:?}");
    world.devices[0]
        .vault
        .renew_admin(&world.authority)
        .expect("renews");
    world.converge();
    for device in &world.devices {
        assert_eq!(device.vault.warnings(), []);
        assert_eq!(device.shows("Condition/c", "code.text"), r#""malaria""#);
        assert_eq!(device.asked(), [""; 0]);
    }
}

#[test]
fn a_question_is_decided_by_a_reviewer_only() {
    let mut world = World::of(&["Bala"]);
    let nurse = world.join("Chandra", &[Role::Clinician]);
    world.devices[0].put(&allergy("a", "p", "91936005"));
    world.converge();
    world.devices[0].set("AllergyIntolerance/a", "criticality", r#""high""#);
    world.devices[nurse].set(
        "AllergyIntolerance/a",
        "criticality",
        r#""unable-to-assess""#,
    );
    world.converge();
    let question = world.devices[nurse].question("AllergyIntolerance/a", "criticality");
    let asked = question.clone();
    let error = refused(&mut world.devices[nurse], |vault| {
        vault.resolve(asked, Decision::Keep(0), "I know")
    });
    assert!(error.to_string().contains("reviewer"), "{error}");
    let error = refused(&mut world.devices[1], |vault| {
        vault.resolve(question.clone(), Decision::Keep(9), "I know")
    });
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    let error = refused(&mut world.devices[1], |vault| {
        vault.resolve(question, Decision::Keep(0), " ")
    });
    assert!(error.to_string().contains("reason"), "{error}");
    // Nor does a nurse admit, revoke or change the pack.
    let vault = &mut world.devices[nurse].vault;
    let pack = medsync_fhir::pack::clinical();
    assert!(matches!(
        vault.install_pack(&pack),
        Err(Error::Refused { .. })
    ));
    assert!(matches!(
        vault.revoke(&[7; 32], "x"),
        Err(Error::Refused { .. })
    ));
}
